"""`<name>.ckpt-doctor-undo`: the way back for files whose program cannot be replaced by appending.

It has one generation per migration, oldest first: the bytes that the new ones replaced, and hashes that show whether
the file is still the migrated one. It is durable before the file changes, so after a crash its last generation may be
one that was never applied; and a trainer may have saved a new checkpoint over the file. Both are recognised by the
bytes of the file, never by dates.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.inert.hashing import sha256
from ckpt_doctor.writer import copying
from ckpt_doctor.writer import generations as generations_of
from ckpt_doctor.writer.files import opened, publish, sync_folder, temporary_file
from ckpt_doctor.writer.splice import Splice, digest, to_json

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Generation:
    """One migration of a file and its way back."""

    record: Mapping[str, Any]
    start: int
    old: str
    """The replaced bytes: zlib, then base64."""
    new_length: int
    new_sha256: str
    """Of the bytes that replaced them."""
    old_size: int
    new_size: int
    old_file_sha256: str
    """Of the whole file as it was: what undo must give back."""

    @classmethod
    def of(cls, fd: int, size: int, splice: Splice, record: Mapping[str, Any]) -> Generation:
        """The way back from `splice`, taken from the file before it is applied. Reads the whole file once."""
        old = os.pread(fd, splice.length, splice.start)
        return cls(
            record={**record, "previous_size": size},
            start=splice.start,
            old=base64.b64encode(zlib.compress(old, 6)).decode(),
            new_length=len(splice.data),
            new_sha256=sha256([splice.data]),
            old_size=size,
            new_size=splice.new_size(size),
            old_file_sha256=digest(fd, 0, size),
        )

    @property
    def old_length(self) -> int:
        """Number of the replaced bytes."""
        return self.old_size - self.new_size + self.new_length

    def back(self) -> Splice:
        """The splice that undoes this migration. Raises `WriteRefused` when the old bytes cannot be had."""
        unpacker = zlib.decompressobj()
        try:
            old = unpacker.decompress(base64.b64decode(self.old), self.old_length + 1)
        except (ValueError, zlib.error):
            old = b""
        if len(old) != self.old_length or not unpacker.eof:
            raise WriteRefused("the undo file is damaged: the old bytes in it do not unpack")
        return Splice(self.start, self.new_length, old, appended=False)

    def is_applied(self, fd: int) -> bool:
        """Whether the file is as this migration left it."""
        if os.fstat(fd).st_size != self.new_size:
            return False
        return digest(fd, self.start, self.start + self.new_length) == self.new_sha256

    def is_undone(self, fd: int) -> bool:
        """Whether the file is as it was before this migration."""
        if os.fstat(fd).st_size != self.old_size:
            return False
        old = self.back().data
        return os.pread(fd, len(old), self.start) == old


def load(target: Path, fd: int) -> list[Generation]:
    """The generations that led to the file as it is, oldest first.

    Empty where there is no sidecar, or one of a file that stood here before. Raises `WriteRefused` for a sidecar that
    does not parse or that a newer version wrote: it is somebody's only way back, so it is not written over.
    """
    generations = _read(target, os.fstat(fd).st_size)
    if generations and not generations[-1].is_applied(fd):
        generations.pop()
    return generations if generations and generations[-1].is_applied(fd) else []


def pending(target: Path, fd: int) -> bool:
    """Whether the last generation was never applied, or was undone, and the file is as its predecessor left it."""
    generations = _read(target, os.fstat(fd).st_size)
    return bool(generations) and not generations[-1].is_applied(fd) and generations[-1].is_undone(fd)


def history(path: Path) -> list[Mapping[str, Any]]:
    """The records of the migrations of a file or unit, oldest first, from what lies beside it; empty without any."""
    target = path.resolve()
    if target.is_dir():
        return generations_of.history(target)
    if not os.path.lexists(names.undo_file(target)):
        return []
    with opened(target) as fd:
        return [generation.record for generation in load(target, fd)]


def ensure_whole(target: Path, fd: int) -> None:
    """Raise `WriteRefused` unless the generations give back, one after the other, what was there before them."""
    generations = load(target, fd)
    backs = [generation.back() for generation in generations]
    if generations:
        last, back, size = generations[-1], backs[-1], os.fstat(fd).st_size
        parts = (copying.pieces(fd, 0, back.start), [back.data], copying.pieces(fd, back.start + back.length, size))
        if sha256(chain.from_iterable(parts)) != last.old_file_sha256:
            raise WriteRefused("the file, or the old bytes in its undo file, changed since the migration")


def _longest(size: int) -> int:
    """Bytes of the undo data of a file of `size` bytes: several generations of a program that is all of it."""
    return (64 << 20) + 3 * size


def _read(target: Path, size: int) -> list[Generation]:
    path = names.undo_file(target)
    try:
        content = json.loads(names.read(path, _longest(size)))
        if content["format"] != FORMAT:
            raise WriteRefused(f"{path} was written by a newer version")
        if content.get("sha256") not in (None, _hash(content["generations"])):  # None: of an older version
            raise ValueError("not what was written")
        generations = [Generation(**item) for item in content["generations"]]
        if not all(_is_sound(generation) for generation in generations):
            raise ValueError("a field of another type")
        return generations
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WriteRefused(f"{path} is damaged; without it {target.name} cannot be undone") from error


def _hash(generations: list[dict[str, Any]]) -> str:
    return sha256([to_json({"generations": generations})])


def _is_sound(generation: Generation) -> bool:
    numbers = (generation.start, generation.new_length, generation.old_size, generation.new_size)
    texts = (generation.old, generation.new_sha256, generation.old_file_sha256)
    return (
        isinstance(generation.record, dict)
        and all(type(number) is int and 0 <= number < 1 << 62 for number in numbers)
        and generation.start + generation.new_length <= generation.new_size
        and generation.old_length >= 0
        and all(isinstance(text, str) for text in texts)
    )


def store(target: Path, generations: list[Generation]) -> None:
    """Make these the generations beside `target`, durably; none at all removes the sidecar."""
    path = names.undo_file(target)
    if not generations:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
        return
    items = [asdict(item) for item in generations]
    data = to_json({"format": FORMAT, "file": target.name, "sha256": _hash(items), "generations": items})
    last = generations[-1]
    if len(data) > _longest(min(last.old_size, last.new_size)):
        raise WriteRefused(f"{target.name} has been migrated too often for its undo data: undo some of it first")
    temporary = names.undo_temporary(target)
    with temporary_file(temporary) as fd:
        copying.write_all(fd, data, 0)
        # Old values must not be more widely readable than the checkpoint they came from.
        os.fchmod(fd, stat.S_IMODE(target.stat().st_mode) & 0o666 | stat.S_IWUSR if target.exists() else 0o600)
        os.fsync(fd)
        publish(temporary, path)
