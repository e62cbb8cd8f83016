"""Reads the tar archives of `torch.save` before 0.1.10.

Members `sys_info`, `pickle`, `tensors`, `storages`; tensors are persistent ids of `pickle`, views of numbered storages.
Source: torch/serialization.py, `_legacy_load.legacy_load`, which runs the pickles of all but `sys_info`.
"""

from __future__ import annotations

import struct

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.dtypes import item_size, of_storage_class
from ckpt_doctor.inert.pickle_machine import Persistent, Reading, shown
from ckpt_doctor.readers.assemble import Content, checkpoint
from ckpt_doctor.readers.detect import is_tar_header
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.neighbours import not_a_checkpoint
from ckpt_doctor.readers.payloads import file_programs
from ckpt_doctor.readers.programs import Programs, growing, read_program
from ckpt_doctor.readers.zip_inside import archive_inside, take_tree
from ckpt_doctor.types import Checkpoint, Damage, Global, NotChecked, Opaque, Program, StorageInfo, TensorRef

_MEMBERS = ("storages", "tensors", "pickle")
_NEMO = "model_weights.ckpt"
"""nemo/core/connectors/save_restore_connector.py, `SaveRestoreConnector.save_to`: beside `model_config.yaml`."""
_BLOCK = 512


class _Broken(Exception):
    """A member does not contain what it must contain."""


def open_tar(view: FileView) -> Checkpoint:
    """Read a file that begins with a tar header; never raises for its content."""
    members, broken_off = _members(view)
    content = Content("torch-tar")
    whole = all(name in members for name in _MEMBERS)
    ends = (at + _in_blocks(size) for at, size in members.values())
    complete = whole and "sys_info" in members and max(ends) <= view.size
    if broken_off and not complete and (whole or members.keys() <= {"sys_info", *_MEMBERS}):
        content.damage.append(Damage("truncated-archive", f"{broken_off}; torch.load raises", found=view.size))
    if not whole:
        if content.damage:
            return checkpoint(view, content)
        if "model_config.yaml" in members:
            return _nemo(view, content, members.get(_NEMO), broken_off)
        content.container = "unknown"
        first = next(iter(members), "")
        content.damage.append(not_a_checkpoint(f"a tar archive that begins with {shown(first)!r}: unpack it first"))
        return checkpoint(view, content)
    programs = file_programs()
    storages: dict[object, StorageInfo] = {}
    tensors: dict[object, object] = {}
    try:
        _storages(_Member(view, *members["storages"]), programs, storages)
        _tensors(_Member(view, *members["tensors"]), programs, storages, tensors)
    except _Broken as broken:
        if not broken_off:
            content.damage.append(Damage("missing-record", str(broken)))
    except (struct.error, IndexError):
        if not broken_off:
            content.damage.append(
                Damage("missing-record", "a member is shorter than what it must hold; torch.load raises")
            )
    offset, size = members["pickle"]
    data = view.read_at(offset, min(size, limits.MAX_PROGRAM_BYTES))
    reading = read_program(programs, data, 0, _persistent(tensors, storages), "pickle")
    content.add(reading, programs)
    if reading.finished and len(data) == size:
        content.program = Program(offset, size, "pickle")
    return checkpoint(view, content)


def _nemo(view: FileView, content: Content, weights: tuple[int, int] | None, broken_off: str) -> Checkpoint:
    """A model of NeMo, where it is not compressed: its weights, in an archive of `torch.save`."""
    content.container, programs = "nemo-tar", file_programs()
    if broken_off:
        content.damage.append(Damage("truncated-archive", f"{broken_off}; loading raises", found=view.size))
    if weights is not None:
        take_tree(content, archive_inside(view, *weights, _NEMO, content, programs))
    elif not broken_off:
        why = "an archive of NeMo whose weights are not in one file"
        content.not_checked.append(NotChecked("the model", why, "its parts, unpacked"))
    content.take_names(programs)
    content.damage += programs.damage
    return checkpoint(view, content)


def _members(view: FileView) -> tuple[dict[str, tuple[int, int]], str]:
    """Name -> (offset, size) of the regular members up to where the archive ends or breaks, and what broke it."""
    members: dict[str, tuple[int, int]] = {}
    at = 0
    while at + _BLOCK <= view.size and len(members) < 1000:
        header = view.read_at(at, _BLOCK)
        if not any(header):
            return members, ""
        size = _number(header[124:136])
        if size is None or not is_tar_header(header):
            return members, f"the header of the tar member at byte {at:,} does not match its checksum"
        name = header[:100].split(b"\0")[0].decode("utf-8", "backslashreplace").removeprefix("./").rstrip("/")
        if header[156:157] in (b"0", b"\0"):
            members.setdefault(name, (at + _BLOCK, size))
        at += _BLOCK + _in_blocks(size)
    return members, "the tar archive is cut off"


def _in_blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _number(field: bytes) -> int | None:
    """A size field: octal digits, or base 256 with the highest bit set (GNU, more than 8 GiB)."""
    if field[0] & 0x80:
        return int.from_bytes(field, "big") & ((1 << 88) - 1)
    digits = field.strip(b"\0 ")
    return int(digits or b"0", 8) if all(48 <= digit < 56 for digit in digits) else None


class _Member:
    """One member, read from front to back."""

    def __init__(self, view: FileView, offset: int, size: int) -> None:
        self.view = view
        self.at = offset
        self.end = min(offset + size, view.size)

    def pickle(self, programs: Programs, where: str) -> Reading:
        """The next pickle."""
        for data in growing(lambda count: self.view.read_at(self.at, min(count, self.end - self.at)), 1 << 12):
            trial = file_programs()
            reading = read_program(trial, data, 0, None, where, trailing=False)
            if not reading.ran_out:
                break
        programs.take_names(trial)
        programs.damage += trial.damage
        if not reading.finished:
            raise _Broken(f"member {where!r} ends within a pickle")
        self.at += reading.end
        return reading

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if self.at + count > self.end:
            raise _Broken("a member is shorter than what it must hold; torch.load raises")
        raw = self.view.read_at(self.at, count)
        self.at += count
        return raw


def _count(reading: Reading) -> int:
    if type(reading.root) is not int or not 0 <= reading.root <= limits.MAX_ENTRIES:
        raise _Broken("the number of entries is not a number")
    return reading.root


def _key(value: object) -> object:
    return value if type(value) in (str, int) else None


def _storages(member: _Member, programs: Programs, found: dict[object, StorageInfo]) -> None:
    for _ in range(_count(member.pickle(programs, "storages"))):
        entry = member.pickle(programs, "storages").root
        if type(entry) is not tuple or len(entry) != 3 or type(entry[2]) is not Global:
            raise _Broken("a storage is described in an unknown way")
        dtype = of_storage_class(entry[2].name)
        numel = int.from_bytes(member.take(8), "little", signed=True)
        nbytes = numel * item_size(dtype)
        location = entry[1] if type(entry[1]) is str else "cpu"
        if numel < 0 or member.at + nbytes > member.end:
            raise _Broken(f"storage {shown(entry[0])} of {numel:,} elements reaches beyond the end of the file")
        found[_key(entry[0])] = StorageInfo(shown(entry[0]), dtype, location, numel, nbytes, member.at)
        member.at += nbytes
    views = member.pickle(programs, "storages").root
    if not isinstance(views, (list, tuple)):
        raise _Broken("the views of storages are not a list; torch.load raises")
    for view in views:
        if type(view) is not tuple or len(view) != 4:
            raise _Broken("a view of a storage is described in an unknown way")
        target, root, offset, numel = view
        whole = found.get(_key(root))
        if (
            whole is None
            or type(offset) is not int
            or type(numel) is not int
            or not 0 <= offset <= offset + numel <= whole.numel
        ):
            raise _Broken("a view of a storage reaches beyond it")
        size = item_size(whole.dtype)
        place = None if whole.offset is None else whole.offset + offset * size
        found[_key(target)] = StorageInfo(whole.key, whole.dtype, whole.location, numel, numel * size, place)


def _tensors(
    member: _Member, programs: Programs, storages: dict[object, StorageInfo], found: dict[object, object]
) -> None:
    for _ in range(_count(member.pickle(programs, "tensors"))):
        entry = member.pickle(programs, "tensors").root
        if type(entry) is not tuple or len(entry) != 3:
            raise _Broken("a tensor is described in an unknown way")
        (ndim,) = struct.unpack("<i4x", member.take(8))
        if not 0 <= ndim <= limits.MAX_DIMENSIONS:
            raise _Broken(f"a tensor of {ndim} dimensions")
        shape = struct.unpack(f"<{ndim}q", member.take(8 * ndim))
        stride = struct.unpack(f"<{ndim}q", member.take(8 * ndim))
        (offset,) = struct.unpack("<q", member.take(8))
        storage = storages.get(_key(entry[1]))
        if storage is None or min((0, offset, *shape, *stride)) < 0:
            raise _Broken("a tensor refers to no storage")
        source = Opaque(entry[2], (), via="persid")
        found[_key(entry[0])] = TensorRef(storage, storage.dtype, shape, stride, offset, False, source)


def _persistent(tensors: dict[object, object], storages: dict[object, StorageInfo]) -> Persistent:
    def load(reading: Reading, pid: object) -> object:
        if type(pid) is tuple:  # a module's class, with its source code
            return pid[0] if pid and type(pid[0]) is Global else Opaque(None, pid, via="persid")
        key: object = pid
        if type(pid) is str:
            key = int(pid) if pid.isascii() and pid.isdigit() and len(pid) < 32 else pid
        for known in (key, pid):
            if type(known) in (str, int):
                value = tensors.get(known, storages.get(known))
                if isinstance(value, TensorRef):
                    value.source.args = pid  # as the pickle spells it, to be written again
                if value is not None:
                    return value
        message = "the pickle refers to a tensor that the archive does not hold; torch.load raises"
        if len(reading.damage) < limits.MAX_DAMAGE:
            reading.damage.append(Damage("missing-record", message, where=f"tensor {shown(pid)}"))
        return Opaque(None, pid, via="persid")

    return load
