"""Persistent ids: how a torch pickle names the bytes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.dtypes import STORAGE_DTYPES, item_size, of_storage_class
from ckpt_doctor.inert.pickle_machine import Persistent, Reading, shown
from ckpt_doctor.types import Damage, Global, Opaque, StorageInfo

_NUMBER = 8
"""Bytes of the longest real number."""


def torch_storage(
    offsets: Mapping[str, int] | None = None,
    folder: str = "",
    *,
    sizes: Mapping[str, int] | None = None,
    only: bool = False,
    read: Callable[[int, int], bytes] | None = None,
) -> Persistent:
    """The meaning of persistent ids in a torch file: `("storage", type, key, location, numel[, view_metadata])`.

    `offsets` maps keys to where their bytes start in the file, `sizes` to how many there are: behind a record that is
    too short lies another one, so a storage gets no offset then. `folder` goes before each key. Anything else than a
    storage stays a recorded call, and is damage where a storage is the `only` thing that the loader takes. `read` gives
    bytes of the file, where they cost nothing.
    Source: torch/serialization.py, `persistent_load` of `_load` and of `_legacy_load`.
    """
    offsets = offsets or {}

    def load(reading: Reading, pid: object) -> object:
        value = named(reading, pid)
        if type(value) is Opaque:
            module = type(pid) is tuple and pid[:1] == ("module",)  # with its source code, in streams before 1.0
            if not module and len(reading.damage) < limits.MAX_DAMAGE:
                message = "the pickle describes a storage in a way that torch does not know; loading raises"
                reading.damage.append(Damage("malformed-pickle", message))
        return value

    def named(reading: Reading, pid: object) -> object:
        if type(pid) is not tuple or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
            return Opaque(None, pid, via="persid")
        kind, key, location, numel = pid[1:5]
        if type(key) is bytes:
            key = key.decode("latin-1")
        if type(key) is not str:
            key = str(key) if type(key) is int and key.bit_length() < 128 else "?"
        key = folder + key
        if type(location) is bytes:
            location = location.decode("latin-1")
        if type(numel) is not int or not 0 <= numel < 1 << 63 or type(location) is not str:
            return Opaque(None, pid, via="persid")
        view = pid[5] if len(pid) > 5 else None
        if view is not None:
            return _view(reading, offsets, key, location, kind, numel, view, pid)
        known = reading.storages.get(key)
        if type(kind) is not Global:
            return Opaque(None, pid, via="persid")
        dtype = of_storage_class(kind.name)
        if kind.name not in STORAGE_DTYPES and known is None and len(reading.damage) < limits.MAX_DAMAGE:
            message = f"a tensor's storage is said to be a {shown(kind)}, which torch does not have; loading raises"
            reading.damage.append(Damage("malformed-pickle", message, where=f"storage {shown(key)}"))
        if known is not None and (known.dtype, known.numel, known.location) == (dtype, numel, location):
            return known
        nbytes = numel * item_size(dtype)
        offset = offsets.get(key) if sizes is None or nbytes <= sizes.get(key, 0) else None
        raw = read(offset, nbytes) if read is not None and offset is not None and nbytes <= _NUMBER else None
        storage = StorageInfo(key, dtype, location, numel, nbytes, offset, raw)
        if known is None or known.nbytes < storage.nbytes:
            reading.storages[key] = storage
        return storage

    return load if only else named


def _view(
    reading: Reading,
    offsets: Mapping[str, int],
    key: str,
    location: str,
    kind: object,
    numel: int,
    view: object,
    pid: object,
) -> object:
    # Legacy streams before 1.5: (view_key, offset, view_size) cuts a part out of the root storage, in elements
    dtype = of_storage_class(kind.name) if type(kind) is Global else "uint8"
    size = item_size(dtype)
    reading.has_views = True
    whole = StorageInfo(key, dtype, location, numel, numel * size, offsets.get(key))
    reading.storages.setdefault(key, whole)
    if type(view) is not tuple or len(view) != 3:
        return Opaque(None, pid, via="persid")
    start, length = view[1], view[2]
    if type(start) is not int or type(length) is not int or min(start, length) < 0 or start + length > numel:
        return Opaque(None, pid, via="persid")
    offset = None if whole.offset is None else whole.offset + start * size
    return StorageInfo(key, dtype, location, length, length * size, offset)
