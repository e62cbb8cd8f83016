"""Reads the bytes of single tensors on demand: Adam's `step`, the state of a random generator."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from ckpt_doctor.inert.dtypes import STRUCT_CODES, item_size
from ckpt_doctor.inert.tensor_list import is_contiguous
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.views import open_view
from ckpt_doctor.types import CPU_GENERATOR, Checkpoint, TensorInfo, TensorRef


def byte_order(checkpoint: Checkpoint) -> str:
    """`<` or `>`: the order in which the file says its numbers are written."""
    if checkpoint.container == "safetensors":  # always little, whatever its own metadata say
        return "<"
    return ">" if checkpoint.metadata.get("byteorder") == "big" else "<"


def read_tensors(checkpoint: Checkpoint, tensors: Sequence[TensorInfo | TensorRef], limit: int) -> list[bytes | None]:
    """The elements of tensors in order, as stored in the file, which is opened once.

    None where they cannot be had: no such record, a file that has changed since it was read, a tensor that needs more
    than `limit` bytes, or one whose elements do not lie one behind the other.
    """
    try:
        with open_view(checkpoint.path) as view:
            if checkpoint.stamp is not None and view.stamp != checkpoint.stamp:
                return [None] * len(tensors)
            if view.far:
                return _read_far(view, tensors, limit)
            return [_read(view, tensor, limit) for tensor in tensors]
    except OSError:
        return [None] * len(tensors)


def _read_far(view: FileView, tensors: Sequence[TensorInfo | TensorRef], limit: int) -> list[bytes | None]:
    """The same through few requests: of many tensors only some are read, the first, the last and others between."""
    from ckpt_doctor.readers.remote_view import sampled  # most files are here

    places = [(tensor.storage.offset, tensor.storage.nbytes) for tensor in tensors]
    known = [(at, count) for at, count in places if at is not None and count <= limit]
    view.plan(sampled([place for place in known if not view.has(*place)], view.size))
    here = [at is not None and view.has(at, count) for at, count in places]
    return [_read(view, tensor, limit) if ready else None for tensor, ready in zip(tensors, here, strict=True)]


def _read(view: FileView, tensor: TensorInfo | TensorRef, limit: int) -> bytes | None:
    size = item_size(tensor.dtype)
    nbytes, start = math.prod(tensor.shape) * size, tensor.storage_offset * size
    if tensor.storage.offset is None or nbytes > limit or not is_contiguous(tensor):
        return None
    if start + nbytes > tensor.storage.nbytes:
        return None
    try:
        raw = view.read_at(tensor.storage.offset + start, nbytes)
    except OSError:
        return None
    return raw if len(raw) == nbytes else None


Value = int | float | bool | bytes | None


def read_scalars(checkpoint: Checkpoint, tensors: Sequence[TensorInfo | TensorRef]) -> list[Value]:
    """The values of tensors of one element, of a random state its bytes; None where bytes or type cannot be read."""
    held = list(map(_held, tensors))
    order, read = byte_order(checkpoint), read_tensors(checkpoint, tensors, CPU_GENERATOR) if None in held else held
    pairs = zip(tensors, read, strict=True)
    return [_scalar(tensor.dtype, raw, order) if raw is not None else None for tensor, raw in pairs]


def _held(tensor: TensorInfo | TensorRef) -> bytes | None:
    """The bytes of a number that reading its file has brought along."""
    raw, size = tensor.storage.raw, item_size(tensor.dtype)
    found = raw[tensor.storage_offset * size :][:size] if raw and math.prod(tensor.shape) == 1 else b""
    return found if found and len(found) == size else None


def _scalar(dtype: str, raw: bytes, order: str) -> Value:
    if (dtype, len(raw)) == ("uint8", CPU_GENERATOR):
        return raw
    if dtype == "bfloat16" and len(raw) == 2:  # the upper half of a float32
        raw, dtype = (raw + b"\0\0" if order == ">" else b"\0\0" + raw), "float32"
    code = STRUCT_CODES.get(dtype)
    if code is None or struct.calcsize(order + code) != len(raw):
        return None
    value: int | float | bool = struct.unpack(order + code, raw)[0]
    return value
