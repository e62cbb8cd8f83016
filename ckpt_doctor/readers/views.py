"""A path -> a view of what is there: of a file on this machine, or of an object behind a URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.remote import RemotePath, Replaced, is_url
from ckpt_doctor.types import Damage

_TOGETHER = 32
"""Fewer than a store keeps the first looks of."""


def open_view(path: Path) -> FileView:
    """The open file, or what stands for one at a URL. Raises OSError."""
    if isinstance(path, RemotePath):
        from ckpt_doctor.readers.remote_view import RemoteView  # most files are here

        return RemoteView(path)
    return FileView(path)


def in_reach(paths: Sequence[Path]) -> Iterator[Path]:
    """The paths in their order. Of those behind URLs, some are looked at together before the first of them is given."""
    for at in range(0, len(paths), _TOGETHER):
        some = paths[at : at + _TOGETHER]
        if urls := [path for path in some if isinstance(path, RemotePath)]:
            from ckpt_doctor.readers.remote_view import look_ahead  # most files are here

            look_ahead(urls)
        yield from some


def size_of(path: Path) -> int:
    """The size of a file that cannot be read; 0 where none is there."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def unreadable(error: OSError, what: str = "the file") -> Damage:
    """The damage of a file whose bytes cannot be had."""
    if isinstance(error, Replaced):
        return Damage("vanished-file", str(error.strerror))
    if isinstance(error, FileNotFoundError) and not Path(error.filename or ".").is_symlink():
        return Damage("vanished-file", "is not there any more: it was deleted or moved meanwhile")
    if isinstance(error, FileNotFoundError):
        return Damage("unreadable-file", _leads_nowhere(Path(str(error.filename))))
    who = "the system refuses to read" if error.filename is None or not is_url(error.filename) else "cannot read"
    return Damage("unreadable-file", f"{who} {what}: {error.strerror or error}")


def _leads_nowhere(link: Path) -> str:
    """What is said of a link whose target is gone: moved with an absolute path in it, or pruned."""
    target = link.readlink()
    beside = target.name != link.name and link.with_name(target.name).exists()
    found = f"; {shown(target.name)} lies beside it" if beside else ""
    return f"it is a link to {shown(str(target))}, where nothing is{found}"
