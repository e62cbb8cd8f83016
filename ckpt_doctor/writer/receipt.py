"""What a write, an undo and a recovery tell about themselves, and what a write will cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["replace", "in-place", "output"]
Proof = Literal["file", "rest", "checksums", "none"]
"""What showed that an undo gives back the old bytes: a hash of the whole file; one of everything but the tensors, which
no migration touches; their stored checksums, where an older version kept no hash; nothing."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Extra disk space of a write, in bytes, told before anything is written."""

    during: int
    """At the peak. Where the file system shares blocks between the old file and its copy it is less."""
    after: int
    """Once it is done: what undo needs included. Negative when the new program is the smaller one."""
    free: int | None
    """Bytes that this user may still write there; None where the file system does not say."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A finished write."""

    path: Path
    """The file that now holds the result (a symbolic link resolved)."""
    mode: Mode
    previous_size: int
    new_size: int
    bytes_copied: int
    """Bytes that had to be copied; 0 after a clone and in place."""
    cloned: bool
    """The copy shares its blocks with the original (reflink)."""
    disk_cost: int
    """Extra bytes on disk from now on, the undo data included."""
    undo_file: Path | None = None
    """The sidecar that undo needs; None where the file itself holds all (torch zip)."""
    notes: tuple[str, ...] = ()
    """What the user should know, one sentence each (a hard link broken, an attribute not kept)."""


@dataclass(frozen=True, slots=True)
class UndoReceipt:
    """A migration taken back."""

    path: Path
    previous_size: int
    """Size before the undo."""
    new_size: int
    left: int
    """Migrations that can still be undone."""
    proof: Proof = "none"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the next run did about a write that was cut off."""

    path: Path
    action: Literal["rolled-back", "cleaned"]
    """`rolled-back`: bytes of an unfinished migration were cut off again. `cleaned`: the path was whole, and only what
    lay beside it (journal, pending undo data) was removed."""
    size: int
