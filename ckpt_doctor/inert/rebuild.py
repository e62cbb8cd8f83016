"""What the calls in a checkpoint's pickle stand for: tensors, dict subclasses, numpy scalars. Nothing is called.

`HANDLERS` maps the name of a callable to a function from the recorded call to the value it stands for. A handler that
meets arguments it does not understand returns the call itself: an `Opaque` is always a correct answer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.dtypes import ALIASES, ITEM_SIZES
from ckpt_doctor.types import Global, InertDict, NumpyScalar, Opaque, StorageInfo, TensorRef

Handler = Callable[[Opaque], object]

_MAX_SIZE = 1 << 63
_NO_STORAGE = StorageInfo(key="", dtype="uint8", location="cpu", numel=0, nbytes=0)
_PARAMETER = {"Parameter", "Buffer", "UninitializedParameter"}


def dims(value: object) -> tuple[int, ...] | None:
    """A shape or stride: a tuple of sizes, also as `torch.Size`. None when it is anything else."""
    if type(value) is Opaque and str(value.callee) == "torch.Size" and type(value.args) is tuple and value.args:
        value = value.args[0]
    if not isinstance(value, (tuple, list)) or len(value) > limits.MAX_DIMENSIONS:
        return None
    for size in value:
        if type(size) is not int or not 0 <= size < _MAX_SIZE:
            return None
    return tuple(value)


def dtype_name(value: object) -> str | None:
    """`torch.float16` (a GLOBAL) -> `float16`."""
    if type(value) is not Global or value.module != "torch":
        return None
    name = ALIASES.get(value.name, value.name)
    return name if name in ITEM_SIZES else None


def _args(call: Opaque, least: int) -> Sequence[object] | None:
    return call.args if type(call.args) is tuple and len(call.args) >= least else None


def _tensor(call: Opaque) -> object:
    # torch/_utils.py, `_rebuild_tensor(storage, storage_offset, size, stride)`; `_v2` and `_rebuild_qtensor` go on
    # with what matters to autograd and quantization only
    args = call.args
    if type(args) is not tuple or len(args) < 4:
        return call
    storage, offset = args[0], args[1]
    shape, stride = dims(args[2]), dims(args[3])
    if shape is None or stride is None or len(shape) != len(stride):
        return call
    if type(storage) is not StorageInfo or type(offset) is not int or not 0 <= offset < _MAX_SIZE:
        return call
    return TensorRef(storage, storage.dtype, shape, stride, offset, False, call)


def _tensor_v3(call: Opaque) -> object:
    # `_rebuild_tensor_v3(storage, storage_offset, size, stride, requires_grad, backward_hooks, dtype, metadata=None)`
    args = _args(call, 7)
    tensor = _tensor(call)
    name = dtype_name(args[6]) if args else None
    if type(tensor) is not TensorRef or name is None:
        return call
    tensor.dtype = name
    return tensor


def _sparse(call: Opaque) -> object:
    # `_rebuild_sparse_tensor(layout, data)`: COO (indices, values, size[, is_coalesced]);
    # CSR and kin (compressed_indices, plain_indices, values, size)
    args = _args(call, 2)
    data = args[1] if args else None
    if type(data) is not tuple or len(data) < 3:
        return call
    parts = [part for part in data if type(part) is TensorRef]
    sizes = [shape for shape in map(dims, data) if shape is not None]
    if not parts or not sizes:
        return call
    values = parts[-1]
    return TensorRef(values.storage, values.dtype, sizes[-1], (), values.storage_offset, False, call)


def _without_storage(dtype: object, size: object, stride: object, device: str, call: Opaque) -> object:
    name, shape, strides = dtype_name(dtype), dims(size), dims(stride)
    if name is None or shape is None or strides is None:
        return call
    storage = StorageInfo(key="", dtype=name, location=device, numel=0, nbytes=0)
    return TensorRef(storage, name, shape, strides, 0, False, call)


def _meta(call: Opaque) -> object:
    # `_rebuild_meta_tensor_no_storage(dtype, size, stride, requires_grad)`
    args = _args(call, 3)
    return _without_storage(args[0], args[1], args[2], "meta", call) if args else call


def _wrapper_subclass(call: Opaque) -> object:
    # `_rebuild_wrapper_subclass(cls, dtype, size, stride, storage_offset, layout, device, requires_grad)`
    args = _args(call, 7)
    return _without_storage(args[1], args[2], args[3], _device(args[6]), call) if args else call


def _device(value: object) -> str:
    if type(value) is Opaque and type(value.args) is tuple:  # torch.device(type[, index])
        return ":".join(str(part) for part in value.args if type(part) in (str, int))
    return value if type(value) is str else ""


def _from_cpu_tensor(call: Opaque) -> object:
    # `_rebuild_device_tensor_from_cpu_tensor(data, dtype, device, requires_grad)`
    args = _args(call, 3)
    if not args or type(args[0]) is not TensorRef:
        return call
    data = args[0]
    return TensorRef(data.storage, data.dtype, data.shape, data.stride, data.storage_offset, False, call)


def _from_numpy(call: Opaque) -> object:
    # `_rebuild_device_tensor_from_numpy(data, dtype, device, requires_grad)`, once `_rebuild_xla_tensor`
    args = _args(call, 3)
    if not args or type(args[0]) is not Opaque or not args[0].states:
        return call
    state = args[0].states[0]  # numpy: (version, shape, dtype, is_fortran, data)
    shape, name = dims(state[1]) if type(state) is tuple and len(state) > 1 else None, dtype_name(args[1])
    if shape is None or name is None:
        return call
    storage = StorageInfo(key="", dtype=name, location=_device(args[2]), numel=0, nbytes=0)
    return TensorRef(storage, name, shape, contiguous(shape), 0, False, call)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a tensor laid out in C order."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _nested(call: Opaque) -> object:
    # `_rebuild_nested_tensor(buffer, sizes, strides, storage_offsets)`: its shape is data, so the buffer's is given
    return _wrapped(call, False)


def _wrapped(call: Opaque, is_parameter: bool) -> object:
    args = _args(call, 1)
    if not args or type(args[0]) is not TensorRef:
        return call
    data = args[0]
    return TensorRef(data.storage, data.dtype, data.shape, data.stride, data.storage_offset, is_parameter, call)


def _parameter(call: Opaque) -> object:
    # `_rebuild_parameter(data, requires_grad, backward_hooks)`, `_with_state(..., state)`; before 0.4 also
    # `torch.nn.parameter.Parameter(data)` and BUILD
    return _wrapped(call, True)


def _uninitialized(call: Opaque) -> object:
    # torch/nn/parameter.py, `UninitializedTensorMixin.__reduce_ex__`: of a lazy module, before its first batch
    storage = StorageInfo(key="", dtype="float32", location="cpu", numel=0, nbytes=0)
    return TensorRef(storage, "float32", (0,), (1,), 0, not str(call.callee).endswith("Buffer"), call)


def _from_type(call: Opaque) -> object:
    # torch/_tensor.py, `_rebuild_from_type_v2(func, new_type, args, state)`; `_rebuild_from_type` is its predecessor
    args = _args(call, 3)
    if not args or type(args[0]) is not Global:
        return call
    handler = HANDLERS.get(str(args[0]))
    inner = handler(Opaque(args[0], args[2])) if handler is not None and handler is not _from_type else None
    if type(inner) is not TensorRef:
        return call
    named = args[1].name if type(args[1]) is Global else ""
    inner.source = call
    inner.is_parameter = inner.is_parameter or named in _PARAMETER
    return inner


def _old_tensor(call: Opaque) -> object:
    # Before 0.4 a tensor is `torch.FloatTensor()` and BUILD with (storage, offset, size, stride): `set_state` fills it
    if call.args != ():
        return call
    return TensorRef(_NO_STORAGE, "uint8", (0,), (1,), 0, False, call)


def set_state(tensor: TensorRef, state: object) -> None:
    """BUILD on a tensor: what `Tensor.__setstate__` takes, with tensors from before 0.4 in mind."""
    if tensor.storage is _NO_STORAGE and type(state) is tuple and len(state) >= 4:
        shown = _tensor(Opaque(tensor.source.callee, state))
        if type(shown) is TensorRef:
            tensor.storage, tensor.dtype = shown.storage, shown.dtype
            tensor.shape, tensor.stride, tensor.storage_offset = shown.shape, shown.stride, shown.storage_offset
    tensor.source.states.append(state)


# --- collections and builtins ----------------------------------------------------------------------------------------


def _mapping(call: Opaque) -> object:
    """OrderedDict, Counter: the items that the constructor is given become items of the result."""
    result = InertDict(call)
    given = call.args
    if given == ():
        return result
    if type(given) is not tuple or len(given) != 1:
        return call
    pairs = given[0]
    if isinstance(pairs, dict):
        result.update(pairs)
    elif type(pairs) is list:  # written by Python 2: [[key, value], ...]
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not _plain_key(pair[0]):
                return call
            result[pair[0]] = pair[1]
    else:
        return call
    call.args = ()
    return result


def _defaultdict(call: Opaque) -> object:
    args = call.args
    return InertDict(call) if type(args) is tuple and len(args) <= 1 else call


def _plain_key(key: object) -> bool:
    return type(key) in (str, bytes, bool, float, type(None)) or (type(key) is int and key.bit_length() < 61)


def _set(call: Opaque) -> object:
    if call.args == ():
        return set()
    args = _args(call, 1)
    if not args or type(args[0]) is not list or not all(map(_plain_key, args[0])):
        return call
    return set(args[0])


def _frozenset(call: Opaque) -> object:
    value = _set(call)
    return frozenset(value) if type(value) is set else call


def _complex(call: Opaque) -> object:
    args = _args(call, 2)
    if not args or not all(type(part) in (int, float) for part in args[:2]):
        return call
    try:
        return complex(*args[:2])  # type: ignore[call-overload]
    except OverflowError:
        return call


def _encode(call: Opaque) -> object:
    # How protocol 2 spells bytes: `_codecs.encode(text, "latin1")`
    args = _args(call, 2)
    if not args or type(args[0]) is not str or args[1] not in ("latin1", "latin-1"):
        return call
    try:
        return args[0].encode("latin-1")
    except UnicodeEncodeError:
        return call


def _bytes(call: Opaque) -> object:
    # Empty bytes in protocol 2 are `bytes()`
    return b"" if call.args == () else call


# --- numpy -----------------------------------------------------------------------------------------------------------

# numpy type code -> (struct code, name)
_SCALARS: Mapping[str, tuple[str, str]] = {
    "f8": ("d", "float64"),
    "f4": ("f", "float32"),
    "f2": ("e", "float16"),
    "i8": ("q", "int64"),
    "i4": ("i", "int32"),
    "i2": ("h", "int16"),
    "i1": ("b", "int8"),
    "u8": ("Q", "uint64"),
    "u4": ("I", "uint32"),
    "u2": ("H", "uint16"),
    "u1": ("B", "uint8"),
    "b1": ("?", "bool"),
    "c16": ("dd", "complex128"),
    "c8": ("ff", "complex64"),
}


def _numpy_scalar(call: Opaque) -> object:
    # numpy/_core/src/multiarray/multiarraymodule.c, `array_scalar(dtype, bytes)`
    args = _args(call, 2)
    if not args or type(args[0]) is not Opaque or type(args[0].args) is not tuple or not args[0].args:
        return call
    dtype, raw = args[0], args[1]
    code = args[0].args[0]
    if str(dtype.callee) != "numpy.dtype" or type(code) is not str:
        return call
    known = _SCALARS.get(code.lstrip("<>=|"))
    if known is not None and type(raw) is str:
        raw = _bytes_of_python_2(raw, struct.calcsize("<" + known[0]))
    if known is None or type(raw) is not bytes:
        return call
    order = code[0] if code[0] in "<>" else "<"
    state = dtype.states[0] if dtype.states else None
    if type(state) is tuple and len(state) > 1 and state[1] in ("<", ">"):
        order = state[1]
    if struct.calcsize(order + known[0]) != len(raw):
        return call
    parts = struct.unpack(order + known[0], raw)
    return NumpyScalar(complex(*parts) if len(parts) == 2 else parts[0], known[1], call)


def _bytes_of_python_2(text: str, size: int) -> bytes | None:
    """The bytes of a Python 2 string, which was read as UTF-8 where it could be and as latin-1 where not."""
    for encoding in ("utf-8", "latin-1"):
        try:
            raw = text.encode(encoding)
        except UnicodeEncodeError:
            continue
        if len(raw) == size:
            return raw
    return None


_TENSOR_CLASSES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")

HANDLERS: Mapping[str, Handler] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.nn.Parameter": _parameter,
    "torch.nn.parameter.Buffer": _parameter,
    "torch.nn.parameter.UninitializedParameter": _uninitialized,
    "torch.nn.parameter.UninitializedBuffer": _uninitialized,
    "torch.autograd.variable.Variable": _nested,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_wrapper_subclass": _wrapper_subclass,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_cpu_tensor,
    "torch._utils._rebuild_device_tensor_from_numpy": _from_numpy,
    "torch._utils._rebuild_xla_tensor": _from_numpy,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch.tensor._rebuild_from_type": _from_type,
    **{f"torch.{name}Tensor": _old_tensor for name in _TENSOR_CLASSES},
    **{f"torch.cuda.{name}Tensor": _old_tensor for name in _TENSOR_CLASSES},
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,
    "collections.defaultdict": _defaultdict,
    "builtins.set": _set,
    "builtins.frozenset": _frozenset,
    "builtins.complex": _complex,
    "builtins.bytes": _bytes,
    "_codecs.encode": _encode,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}

COPYING = frozenset({_mapping, _set, _frozenset, _encode})
"""Handlers whose cost is the size of their argument, which a memo can hand to them again and again."""
