"""Makes the page for the package index: the README, whose relative links lead nowhere there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = re.compile(r"(!?)\[([^\]]+)\]\((?!\w+:|#)([^)\s]+)\)")


def page(text: str, source: str | None) -> str:
    """The text with absolute links into the repository; without an address of it, with the words of the links alone."""
    return RELATIVE.sub(lambda m: f"{m[1]}[{m[2]}]({source.rstrip('/')}/{m[3]})" if source else m[2], text)


class IndexPage(MetadataHookInterface):
    """Sets `project.readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling for each build."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {"content-type": "text/markdown", "text": page(text, source)}
