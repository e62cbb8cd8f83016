"""Folders as trainers look at them."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor.remote import entries_of


def names_in(folder: Path) -> list[str]:
    """The names in a folder; none of what is not a folder, or may not be listed."""
    try:
        with entries_of(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []
