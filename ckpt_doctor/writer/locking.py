"""One lock per run folder, held by whoever migrates, undoes, prunes or saves in it.

The lock file `.ckpt-doctor.lock` is in the run folder itself, so that it also binds other users and, on a shared
file system, other hosts. Its holder deletes it before letting go, which is safe: whoever then gets the lock of the
deleted file sees that the file has no name any more and starts over (filelock since 3.21). After a kill the file stays
without meaning anything, and the next holder deletes it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor.errors import LockTimeout, WriteRefused
from ckpt_doctor.inert import names

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK_NAME = names.LOCK
DEFAULT_TIMEOUT = 60.0
"""Seconds to wait for another holder: a trainer that saves some GiB keeps the lock that long."""

_LONGEST_SIGNATURE = 4096
"""Bytes of a lock file that is still read: `_sign` writes fewer."""

_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})
"""What flock raises on network and FUSE file systems without it; filelock itself handles ENOSYS."""

_SAVE_FOLDER = re.compile(
    r"\.?(checkpoint|ckpt|global_step|step|epoch|iter)[a-z_-]*\d+(\.ckpt-doctor-(leaving|removing))?", re.I
)
"""Folders that hold one save of a series (`step_1000`, `epoch-3`): the run is the folder above."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lock while it is held."""

    exclusive: bool
    """Enforced by the kernel, and gone when its process is. False: a file system without `flock` (Google Drive on
    Colab), where the mere existence of the lock file is the lock."""
    note: str = ""
    """One sentence for the user when `exclusive` is False."""


def run_folder(path: Path) -> Path:
    """The folder whose lock protects `path` (a checkpoint, a step folder or the run folder itself), resolved."""
    path = path.resolve()
    folder = path if path.is_dir() else path.parent
    while _SAVE_FOLDER.fullmatch(folder.name) and folder.parent != folder:
        folder = folder.parent
    return folder


@contextmanager
def run_lock(path: Path, timeout: float = DEFAULT_TIMEOUT) -> Iterator[Held]:
    """Hold the lock of the run that `path` belongs to; it may be taken again by the thread that holds it.

    Raises `LockTimeout` when somebody else still holds it after `timeout` seconds, `WriteRefused` when the folder takes
    no lock file (read-only, missing).
    """
    folder = run_folder(path)
    lock_file = folder / LOCK_NAME
    lock = _acquire(lock_file, timeout)
    soft = _is_soft(lock)
    # The descriptor that holds the lock: the name may come to mean another file at any moment.
    own = lock._context.lock_file_fd if lock.lock_counter == 1 and not soft else None
    try:
        if own is not None:
            _ensure_own(lock_file, os.fstat(own))
            _sign(own)
        yield Held(not soft, _SOFT_NOTE if soft else "")
    finally:
        try:
            if own is not None:
                with suppress(OSError):
                    status = os.fstat(own)
                    if status.st_nlink == 1 and os.path.samestat(status, lock_file.lstat()):
                        lock_file.unlink()
        finally:
            lock.release()


_SOFT_NOTE = (
    "this file system has no file locks, so a lock file stands in for them: if a run was killed and nothing else is "
    f"working here, delete {LOCK_NAME}"
)


def _acquire(lock_file: Path, timeout: float) -> BaseFileLock:
    from filelock import FileLock, Timeout  # here: loading it takes longer than a scan

    # filelock would make a missing folder.
    if not lock_file.parent.is_dir():
        raise WriteRefused(f"{lock_file.parent} cannot be locked for writing: there is no such folder")
    with suppress(FileNotFoundError):
        _ensure_own(lock_file, lock_file.lstat())
    # A singleton per path counts how often the same thread took it. filelock itself turns into a SoftFileLock where
    # flock is not implemented, and warns; the note says the same in our words.
    lock: BaseFileLock = FileLock(lock_file, is_singleton=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="flock not supported")
            try:
                lock.acquire(timeout=timeout, poll_interval=0.05)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                lock = _soft_lock(lock_file)
                lock.acquire(timeout=timeout, poll_interval=0.05)
    except Timeout:
        raise LockTimeout(f"{lock_file.parent} is in use{_holder(lock_file)}; waited {timeout:g} s") from None
    except (OSError, NotImplementedError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise WriteRefused(f"{lock_file.parent} cannot be locked for writing: {reason}") from error
    return lock


def _soft_lock(lock_file: Path) -> BaseFileLock:
    """A lock by the existence of its file, where filelock only falls back for ENOSYS."""
    from filelock import SoftFileLock

    with suppress(OSError):
        if lock_file.stat().st_size == 0:  # left by the attempt to lock it; that of a holder says who holds it
            lock_file.unlink()
    return SoftFileLock(lock_file, is_singleton=True)


def _is_soft(lock: BaseFileLock) -> bool:
    """Whether the held lock is the mere existence of its file: up to filelock 3 its class tells, since 4 its state.

    Since 4 a `FileLock` has `is_lock_held_by_us` only where flock is not implemented (filelock/_native/_unix.py).
    """
    from filelock import SoftFileLock

    return isinstance(lock, SoftFileLock) or hasattr(lock, "is_lock_held_by_us")


def _ensure_own(lock_file: Path, status: os.stat_result) -> None:
    """Raise `WriteRefused` for a path that is not a lock file: writing or removing it would damage something else."""
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
        return
    what = "a link to another file" if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) else "not a file"
    raise WriteRefused(f"{lock_file.parent} cannot be locked for writing: {lock_file.name} is {what}; remove it")


def _sign(own: int) -> None:
    """Say in the lock file who holds it. For people only, so a full disk is no reason to stop."""
    import socket

    with suppress(OSError):
        os.ftruncate(own, 0)
        os.pwrite(own, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


def _holder(lock_file: Path) -> str:
    try:
        pid, host = names.read(lock_file, _LONGEST_SIGNATURE).decode().split()[:2]
    except (OSError, ValueError, WriteRefused):
        return ""
    return f" by process {pid} on {host}"
