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


def number_behind(prefix: str, name: str) -> int | None:
    """The number, of up to 18 digits, that follows a prefix and ends a name; None of any other name."""
    digits = name.removeprefix(prefix)
    return int(digits) if digits != name and digits.isdecimal() and len(digits) < 19 else None


def numbered_in(folder: Path, prefix: str) -> list[tuple[Path, int]]:
    """What lies in a folder under such names, each with its number."""
    found = ((name, number_behind(prefix, name)) for name in names_in(folder))
    return [(folder / name, number) for name, number in found if number is not None]
