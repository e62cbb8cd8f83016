"""One version and one page: of the package, its changelog and its metadata."""

from __future__ import annotations

import re
from pathlib import Path

from ckpt_doctor.version import HOME

ROOT = Path(__file__).parents[1]


def test_the_page_is_the_one_that_the_metadata_name() -> None:
    assert f'Homepage = "{HOME}"' in (ROOT / "pyproject.toml").read_text()


def test_the_version_is_the_changelogs_newest() -> None:
    from ckpt_doctor import __version__

    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert __version__ == newest[1]
