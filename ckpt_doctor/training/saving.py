"""`torch.save` that never leaves half a checkpoint: what the trainer calls in its place."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from ckpt_doctor.errors import VerificationFailed, WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.writer.files import publish, temporary_file
from ckpt_doctor.writer.locking import DEFAULT_TIMEOUT, run_lock
from ckpt_doctor.writer.recover import remove_leftovers
from ckpt_doctor.writer.signals import orderly_exit

NOT_WHOLE = (
    "unreadable-file",
    "vanished-file",
    "empty-file",
    "truncated-archive",
    "missing-record",
    "malformed-pickle",
    "corrupt-record",
    "corrupt-note",
)
"""Damage that a disk does. What a trainer saves (numpy's random state, its own classes) is its own affair, and the
temporary name says nothing of the file."""


def atomic_save(obj: object, path: str | os.PathLike[str], *, timeout: float = DEFAULT_TIMEOUT) -> None:
    """Save as `torch.save(obj, path)` does, so that the path has the previous checkpoint or the new one, whole.

    The bytes go to a temporary file beside `path`, are read back without loading them, made durable and renamed, under
    the run folder's lock. The folder is made when it is missing. A previous file's mode is kept, a symbolic link stays.

    Args:
        obj: what to save.
        path: the checkpoint.
        timeout: seconds to wait for the run folder's lock.

    Raises:
        WriteRefused: the previous checkpoint is untouched; `LockTimeout` after `timeout` seconds, `VerificationFailed`
            when the new file does not read back. What cannot be pickled raises as in `torch.save`.

    Example:
        >>> atomic_save({"model": model.state_dict(), "epoch": epoch}, "checkpoints/run/checkpoint")
    """
    target = Path(path).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with run_lock(target, timeout) as lock, orderly_exit():
        temporary = names.temporary(target)
        try:
            remove_leftovers(target, certain=lock.exclusive)
            with temporary_file(temporary, 0o666) as fd:
                _save(obj, fd)
                _ensure_whole(temporary)
                if target.exists():
                    os.fchmod(fd, stat.S_IMODE(target.stat().st_mode))
                os.fsync(fd)
                publish(temporary, target)
        except OSError as error:
            reason = error.strerror or error
            raise WriteRefused(f"{target} could not be saved and holds what it held before: {reason}") from error
        # What led back, or forward, from the checkpoint that was just replaced. If it stays, its hashes tell.
        for stale in (names.undo_file(target), names.journal(target)):
            with suppress(OSError):
                stale.unlink(missing_ok=True)


class _Stream:
    """What torch.save writes to. Remembers why the system refused, which torch tells as a bare RuntimeError."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.refusal: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.refusal = error
            raise

    def flush(self) -> None:
        self.file.flush()


def _save(obj: object, fd: int) -> None:
    import torch

    with os.fdopen(os.dup(fd), "wb") as file:
        stream = _Stream(file)
        try:
            torch.save(obj, cast("IO[bytes]", stream))
        except RuntimeError as error:
            if stream.refusal is None:  # of an object that cannot be pickled
                raise
            raise stream.refusal from error


def _ensure_whole(path: Path) -> None:
    for damage in open_checkpoint(path).damage:
        if damage.kind in NOT_WHOLE:
            raise VerificationFailed(f"the saved file does not read back: {damage.message}")
