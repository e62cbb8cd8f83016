"""Reads safetensors files: an 8-byte length, a JSON header, the tensors' bytes one behind the other.

Format: https://github.com/huggingface/safetensors (README, section Format); the rules are those of its
`SafeTensors::read_metadata`.
"""

from __future__ import annotations

import json
import math
from typing import Any

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.dtypes import item_size
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.inert.rebuild import contiguous, dims
from ckpt_doctor.inert.tensor_list import find_tensors
from ckpt_doctor.readers.assemble import Content, checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.types import Checkpoint, Damage, Global, Opaque, StorageInfo, TensorRef

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
"""Of the types whose elements are no whole bytes."""


class _Repeated(ValueError):
    """A key stands twice in a JSON object: readers differ in which they take."""


def open_safetensors(view: FileView) -> Checkpoint:
    """Read a file that begins with a length and a brace; never raises for its content."""
    content = Content("safetensors")
    length = int.from_bytes(view.read_at(0, 8), "little")
    if length > limits.MAX_SAFETENSORS_HEADER:
        content.damage.append(Damage("limit-exceeded", f"a header of {length:,} bytes is not read", found=length))
        return checkpoint(view, content)
    raw = view.read_at(8, length)
    if len(raw) < length:
        message = f"the file ends within its header of {length:,} bytes: nothing can be recovered"
        content.damage.append(Damage("truncated-archive", message, found=view.size, expected=8 + length))
        return checkpoint(view, content)
    try:
        header = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        what = str(error) if isinstance(error, _Repeated) else "it is not valid JSON"
        content.damage.append(Damage("missing-record", f"the header is damaged ({shown(what)}); loading raises"))
        return checkpoint(view, content)
    if not isinstance(header, dict):
        content.damage.append(Damage("missing-record", "the header is not a JSON object; loading raises"))
        return checkpoint(view, content)
    said = header.pop("__metadata__", None)
    if isinstance(said, dict):
        content.metadata = {key: value for key, value in said.items() if isinstance(value, str)}
    _tensors(view, content, header, 8 + length)
    return checkpoint(view, content)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise _Repeated("a key stands in it twice")
    return result


def _tensors(view: FileView, content: Content, header: dict[str, Any], start: int) -> None:
    root: dict[object, object] = {}
    spans = []
    for name, about in header.items():
        tensor = _tensor(name, about, start)
        if tensor is None:
            if len(content.damage) < limits.MAX_DAMAGE:
                message = (
                    "the header describes the tensor in an impossible way, or in a type of its own; loading raises"
                )
                content.damage.append(Damage("missing-record", message, shown(name)))
            continue
        root[name] = tensor
        spans.append((tensor.storage.offset or 0, tensor.storage.nbytes, name))
    spans.sort()
    end, cut = start, 0
    for offset, nbytes, name in spans:
        if offset != end and len(content.damage) < limits.MAX_DAMAGE:
            what = "overlaps the one before it" if offset < end else f"leaves {offset - end:,} bytes unused before it"
            content.damage.append(Damage("missing-record", f"the tensor's place {what}; loading raises", shown(name)))
        end = max(end, offset + nbytes)
        cut += offset + nbytes > view.size
    if cut:
        message = f"the file is cut off: {len(spans) - cut:,} of {len(spans):,} tensors are complete; loading raises"
        content.damage.insert(0, Damage("truncated-archive", message, found=view.size, expected=end))
    elif end < view.size and spans:
        message = f"{view.size - end:,} bytes stand behind the last tensor; loading raises"
        content.damage.append(Damage("missing-record", message, f"byte {end}", view.size, end))
    content.root = root
    content.tensors, content.inner, damage = find_tensors(root)
    content.damage += damage


def _tensor(name: str, about: Any, start: int) -> TensorRef | None:
    if not isinstance(about, dict) or not isinstance(about.get("dtype"), str):
        return None
    shape, place = dims(about.get("shape")), dims(about.get("data_offsets"))
    if shape is None or place is None or len(place) != 2 or place[0] > place[1]:
        return None
    nbytes = place[1] - place[0]
    said = about["dtype"]
    bits = _BITS.get(said) or (8 * item_size(_DTYPES[said]) if said in _DTYPES else 0)
    if math.prod(shape) * bits != 8 * nbytes or not bits:
        return None
    dtype = _DTYPES.get(said, said.lower())
    if said == "F4" and shape and shape[-1] % 2 == 0:  # torch counts pairs
        dtype, shape = "float4_e2m1fn_x2", (*shape[:-1], shape[-1] // 2)
    storage = StorageInfo(name, dtype, "cpu", math.prod(shape), nbytes, start + place[0])
    source = Opaque(Global("safetensors", "tensor"), (name,))
    strides = () if dtype == said.lower() and said in _BITS else contiguous(shape)
    return TensorRef(storage, dtype, shape, strides, 0, False, source)
