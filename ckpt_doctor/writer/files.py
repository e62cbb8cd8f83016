"""Durable files: temporary copies that leave nothing behind, attributes, renames that survive a power cut."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.types import FileStamp, stamp_of

READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags to open a file that may have become a named pipe: opening does not wait for the pipe's other end."""
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


@contextmanager
def opened(path: Path, flags: int = READ, mode: int = 0o600) -> Iterator[int]:
    """The descriptor of a file, closed at the end; `mode` is for one that is made. Raises OSError."""
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def ensure_unchanged(path: Path, stamp: FileStamp, *, at: Path | None = None) -> None:
    """Raise `WriteRefused` when the file at `path`, or now `at` another path, changed since it was read."""
    try:
        now = stamp_of((at or path).lstat())
    except FileNotFoundError:
        raise WriteRefused(f"{path} was removed while it was being migrated") from None
    if now != stamp:
        raise WriteRefused(f"{path} changed since it was read ({stamp.size:,} -> {now.size:,} bytes): left alone")


@contextmanager
def temporary_file(path: Path, mode: int = 0o600) -> Iterator[int]:
    """A new file at `path`, open for reading and writing; removed at the end unless it was renamed."""
    with opened(path, CREATE, mode) as fd:
        try:
            yield fd
        finally:
            # After the rename there is nothing to remove, or another file; and a faulty disk must not turn success into
            # an error. Where it does not even let us remove the file, the next run will.
            with suppress(OSError):
                if is_named(path, fd):
                    path.unlink()


def is_named(path: Path, fd: int) -> bool:
    """Whether the path leads to the open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def exchange(one: Path, other: Path) -> bool:
    """Give each of two files the other's name, in one step; False where the system or the file system cannot."""
    import ctypes  # by nobody else

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
        return False
    raise OSError(number, os.strerror(number), str(other))


@contextmanager
def alone(fd: int) -> Iterator[bool]:
    """A context in which other processes that open the file wait. False where the system refuses (fcntl(2), "Leases").

    It refuses where another descriptor of the file is open. The signal that somebody waits is ignored.
    """
    try:
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # ignored by default, unlike SIGIO
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except (ImportError, AttributeError, OSError):
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def copy_attributes(source: os.stat_result, source_fd: int, target_fd: int) -> list[str]:
    """Give `target_fd` the owner, mode, extended attributes and times of the source; returns notes of what was lost."""
    notes = []
    own = os.fstat(target_fd)
    if (own.st_uid, own.st_gid) != (source.st_uid, source.st_gid):
        try:
            os.fchown(target_fd, source.st_uid, source.st_gid)
        except PermissionError:
            notes.append("the owner could not be kept: only root may give files away")
    notes += _copy_xattrs(source_fd, target_fd)
    with suppress(PermissionError):
        os.fchmod(target_fd, stat.S_IMODE(source.st_mode))
    restore_times(target_fd, source)
    return notes


def restore_times(fd: int, source: os.stat_result) -> None:
    """A repair is not a new save: tools that sort by time must find the checkpoint where it was."""
    with suppress(OSError):
        os.utime(fd, ns=(source.st_atime_ns, source.st_mtime_ns))


def _copy_xattrs(source_fd: int, target_fd: int) -> list[str]:
    if not hasattr(os, "listxattr"):
        return []
    try:
        names = os.listxattr(source_fd)
    except OSError:
        return []
    lost = []
    for name in names:
        try:
            os.setxattr(target_fd, name, os.getxattr(source_fd, name))
        except OSError:
            # security.* is the system's own labelling, set anew for every file.
            if not name.startswith("security."):
                lost.append(name)
    return [f"extended attributes not kept: {', '.join(lost)}"] if lost else []


def publish(temporary: Path, target: Path) -> None:
    """Rename onto the target and make the rename durable, where the file system lets it."""
    temporary.replace(target)
    sync_folder(target.parent)


def place(temporary: Path, output: Path) -> None:
    """Give the file its name; unlike a rename, a link fails where something has taken the place meanwhile."""
    try:
        os.link(temporary, output)
    except FileExistsError:
        raise WriteRefused(f"{output} exists already and is not written over") from None
    except OSError:  # no hard links here (FAT, a mounted Drive)
        if os.path.lexists(output):
            raise WriteRefused(f"{output} exists already and is not written over") from None
        temporary.rename(output)


def write_new(output: Path, write: Callable[[IO[bytes]], Callable[[Path], None] | None]) -> int:
    """Make a new file, under a temporary name beside its place until it is whole, verified and on the disk.

    `write` writes its content and returns what verifies it. Returns its size; raises `WriteRefused` where something has
    the name already.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = names.temporary(output)
    try:
        with temporary_file(temporary, 0o666) as fd:
            with os.fdopen(os.dup(fd), "w+b") as file:
                verify = write(file)
                size = file.tell()
            os.fsync(fd)
            if verify is not None:
                verify(temporary)
            place(temporary, output)
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(output)) from error  # a full disk does not name the file
    sync_folder(output.parent)
    return size


def sync_folder(folder: Path) -> list[str]:
    """Make what was renamed, created or removed in `folder` durable; a note where the file system refuses."""
    try:
        with opened(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)) as fd:
            return sync_visible(fd, folder)
    except PermissionError:
        return []


def sync_visible(fd: int, path: Path) -> list[str]:
    """Make durable what can no longer be taken back; a note where that fails."""
    try:
        os.fsync(fd)
    except OSError as error:
        # EINVAL: folders cannot be synced here (some FUSE file systems). Anything else is worth a word.
        if error.errno != errno.EINVAL:
            return [f"{path}: the change is made, but may not survive a power cut ({error.strerror})"]
    return []


def free_space(folder: Path) -> int | None:
    """Bytes that this user may still write in `folder`; None where the file system does not know."""
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize if status.f_blocks else None
