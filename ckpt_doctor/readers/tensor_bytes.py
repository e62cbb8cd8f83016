"""Reads the bytes of single tensors on demand: Adam's `step`, a buffer, a tensor to compare."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ckpt_doctor.inert.dtypes import STRUCT_CODES, item_size
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.views import open_view
from ckpt_doctor.types import CPU_GENERATOR, Checkpoint, TensorInfo, TensorRef


def byte_order(checkpoint: Checkpoint) -> str:
    """`<` or `>`: the order in which the file says its numbers are written."""
    if checkpoint.container == "safetensors":  # always little, whatever its own metadata say
        return "<"
    return ">" if checkpoint.metadata.get("byteorder") == "big" else "<"


def read_tensor(checkpoint: Checkpoint, tensor: TensorInfo | TensorRef, limit: int = 1 << 24) -> bytes | None:
    """The elements of a tensor in order, as stored in the file.

    None when they cannot be had: no such record, a file that has changed since it was read, a tensor that needs more
    than `limit` bytes, or one whose elements do not lie one behind the other.
    """
    found = read_tensors(checkpoint, [tensor], limit)
    return found[0]


def read_tensors(
    checkpoint: Checkpoint,
    tensors: list[TensorInfo] | list[TensorRef] | list[TensorInfo | TensorRef],
    limit: int = 1 << 24,
) -> list[bytes | None]:
    """As `read_tensor` for several tensors, opening the file once."""
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
    count = 1
    for n in tensor.shape:
        count *= n
    if tensor.storage.offset is None or count * size > limit or not _is_contiguous(tensor.shape, tensor.stride):
        return None
    start = tensor.storage_offset * size
    if start + count * size > tensor.storage.nbytes:
        return None
    try:
        raw = view.read_at(tensor.storage.offset + start, count * size)
    except OSError:
        return None
    return raw if len(raw) == count * size else None


def _is_contiguous(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    step = 1
    if len(shape) != len(stride):
        return False
    for size, width in zip(reversed(shape), reversed(stride), strict=True):
        if size != 1 and width != step:
            return False
        step *= size
    return True


def read_scalar(checkpoint: Checkpoint, tensor: TensorInfo | TensorRef) -> int | float | bool | bytes | None:
    """The value of a tensor of one element; None when it has more, or its bytes or its type cannot be read."""
    return read_scalars(checkpoint, [tensor])[0]


def read_scalars(
    checkpoint: Checkpoint, tensors: list[TensorInfo] | list[TensorRef] | list[TensorInfo | TensorRef]
) -> list[int | float | bool | bytes | None]:
    """As `read_scalar` for several tensors, opening the file once; of a random state its bytes."""
    order = byte_order(checkpoint)
    values: list[int | float | bool | bytes | None] = []
    for tensor, raw in zip(tensors, read_tensors(checkpoint, tensors, limit=CPU_GENERATOR), strict=True):
        values.append(_scalar(tensor.dtype, raw, order) if raw is not None else None)
    return values


def _scalar(dtype: str, raw: bytes, order: str) -> int | float | bool | bytes | None:
    if (dtype, len(raw)) == ("uint8", CPU_GENERATOR):
        return raw
    if dtype == "bfloat16" and len(raw) == 2:  # the upper half of a float32
        raw, dtype = (raw + b"\0\0" if order == ">" else b"\0\0" + raw), "float32"
    code = STRUCT_CODES.get(dtype)
    if code is None or struct.calcsize(order + code) != len(raw):
        return None
    value: int | float | bool = struct.unpack(order + code, raw)[0]
    return value
