"""Reads safetensors files: an 8-byte length, a JSON header, the tensors' bytes one behind the other.

Format: https://github.com/huggingface/safetensors (README, section Format); the rules are those of its
`SafeTensors::read_metadata`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Any, NoReturn

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.dtypes import item_size
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.inert.rebuild import contiguous
from ckpt_doctor.inert.tensor_list import find_tensors
from ckpt_doctor.readers.assemble import Content, checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.types import Checkpoint, Damage, Global, Opaque, StorageInfo, TensorInfo, TensorRef

_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "I16": "int16",
    "U16": "uint16",
    "F16": "float16",
    "BF16": "bfloat16",
    "I32": "int32",
    "U32": "uint32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
}
"""In the order of the library's `Dtype`: its writer puts the last first."""
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})
_NO_64 = 1 << 64
_TENSOR = Global("safetensors", "tensor")
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
"""Of the types whose elements are no whole bytes."""
_CODES = {name: code for code, name in _DTYPES.items()}
_PLACES = ("bool", "float4_e2m1fn_x2", *tuple(_CODES)[1:])


class _Refused(ValueError):
    """Python's json takes it, the library does not."""


class _Object(dict[str, Any]):
    """A JSON object. Of a repeated key the last value counts, as in a Rust map; in a struct it is an error."""

    earlier: Sequence[tuple[str, Any]] = ()
    """The other values of repeated keys."""


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
        whole: dict[str, Any] = {"parse_int": _integer} if b"-0" in raw else {}
        header = json.loads(raw.decode(), object_pairs_hook=_object, parse_constant=_no_number, **whole)
        if not isinstance(header, _Object):
            raise _Refused("it is not a JSON object")
        content.metadata = _metadata(header)
    except (ValueError, RecursionError) as error:
        what = str(error) if isinstance(error, _Refused) else "it is not valid JSON"
        content.damage.append(Damage("missing-record", f"the header is damaged ({shown(what)}); loading raises"))
        return checkpoint(view, content)
    _tensors(view, content, header, 8 + length)
    return checkpoint(view, content)


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    result = _Object(pairs)
    if len(result) < len(pairs):
        last = {key: index for index, (key, _) in enumerate(pairs)}
        result.earlier = [pair for index, pair in enumerate(pairs) if index != last[pair[0]]]
    try:
        "".join(result).encode()
    except UnicodeEncodeError:
        raise _Refused("it contains half of a surrogate pair") from None
    return result


def _integer(text: str) -> int:
    return _no_number(text) if text == "-0" else int(text)


def _no_number(text: str) -> NoReturn:
    raise _Refused(f"it contains {text}")


def _metadata(header: _Object) -> dict[str, str]:
    """What the file says of itself, taken out of its header."""
    said = header.pop("__metadata__", None)
    if "__metadata__" in dict(header.earlier):
        raise _Refused("it has __metadata__ twice")
    if said is None:
        return {}
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise _Refused("__metadata__ holds a value that is not text")
    return dict(said)


def _sizes(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list):
        return None
    for size in value:
        if type(size) is not int or not 0 <= size < _NO_64:
            return None
    return tuple(value)


def _tensors(view: FileView, content: Content, header: _Object, start: int) -> None:
    root: dict[object, object] = {}
    spans = []
    unspelled = {name for name, about in header.earlier if _fields(about) is None}
    for name, about in header.items():
        tensor = _tensor(name, about, start)
        if tensor is None or name in unspelled:
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
    elif end < view.size and (spans or not content.damage):
        message = f"{view.size - end:,} bytes follow the last tensor; loading raises"
        content.damage.append(Damage("missing-record", message, f"byte {end}", view.size, end))
    content.root = root
    content.tensors, content.inner, damage = find_tensors(root)
    content.damage += damage


def has_type(dtype: str) -> bool:
    """Whether the format has an element type."""
    return dtype in _PLACES


def place_of(tensor: TensorInfo) -> tuple[int, str]:
    """Sort key: where the library's writer puts a tensor (`prepare` in safetensors/src/tensor.rs)."""
    return -_PLACES.index(tensor.dtype), tensor.name


def as_spelled(tensor: TensorInfo) -> tuple[str, tuple[int, ...]]:
    """A tensor's type and shape as a header gives them."""
    if tensor.dtype == "float4_e2m1fn_x2":
        return "F4", (*tensor.shape[:-1], 2 * tensor.shape[-1])
    return _CODES.get(tensor.dtype, tensor.dtype.upper()), tensor.shape


def _fields(about: Any) -> tuple[str, tuple[int, ...], tuple[int, ...]] | None:
    """Type, shape and place of a tensor, where each is spelled as the library spells it."""
    if not isinstance(about, _Object) or (about.earlier and _FIELDS & dict(about.earlier).keys()):
        return None
    dtype, shape, place = about.get("dtype"), _sizes(about.get("shape")), _sizes(about.get("data_offsets"))
    if not isinstance(dtype, str) or (dtype not in _DTYPES and dtype not in _BITS):
        return None
    return (dtype, shape, place) if shape is not None and place and len(place) == 2 else None


def _tensor(name: str, about: Any, start: int) -> TensorRef | None:
    fields = _fields(about)
    if fields is None:
        return None
    said, shape, place = fields
    nbytes = place[1] - place[0]
    bits = _BITS.get(said) or 8 * item_size(_DTYPES[said])
    count = math.prod(shape)
    if count * bits != 8 * nbytes or count * bits >= _NO_64:
        return None
    if not count and not all(step < _NO_64 for step in accumulate(shape, mul, initial=bits)):
        return None  # the library multiplies from left to right, and raises although a 0 may follow
    dtype = _DTYPES.get(said, said.lower())
    if said == "F4" and shape and shape[-1] % 2 == 0:  # torch counts pairs
        dtype, shape = "float4_e2m1fn_x2", (*shape[:-1], shape[-1] // 2)
        count //= 2
    storage = StorageInfo(name, dtype, "cpu", count, nbytes, start + place[0])
    source = Opaque(_TENSOR, (name,))
    strides = () if dtype == said.lower() and said in _BITS else contiguous(shape)
    return TensorRef(storage, dtype, shape, strides, 0, False, source)
