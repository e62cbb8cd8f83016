"""Folders as trainers look at them."""

from __future__ import annotations

from pathlib import Path


def names_in(folder: Path) -> list[str]:
    """The names in a folder; none of what is not a folder, or may not be listed."""
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []
