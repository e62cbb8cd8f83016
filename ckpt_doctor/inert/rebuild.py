"""What the calls in a checkpoint's pickle stand for: tensors, dict subclasses, numpy scalars. Nothing is called.

`HANDLERS` maps the name of a callable to a function from the recorded call to the value it stands for. A handler that
meets arguments it does not understand returns the call itself: an `Opaque` is always a correct answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.dtypes import ALIASES, ITEM_SIZES
from ckpt_doctor.inert.numpy_values import numpy_scalar
from ckpt_doctor.types import Global, InertDict, Opaque, StorageInfo, TensorRef

Handler = Callable[[Opaque], object]

_MAX_SIZE = 1 << 63
_NO_STORAGE = StorageInfo(key="", dtype="uint8", location="cpu", numel=0, nbytes=0)
_PARAMETER = {"Parameter", "Buffer", "UninitializedParameter"}


def dims(value: object) -> tuple[int, ...] | None:
    """A shape or stride: a tuple of sizes, also as `torch.Size`. None when it is anything else."""
    if type(value) is not tuple:
        if type(value) is Opaque and str(value.callee) == "torch.Size" and type(value.args) is tuple and value.args:
            value = value.args[0]
        if not isinstance(value, (tuple, list)):
            return None
    if len(value) > limits.MAX_DIMENSIONS:
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


_TAKES = {
    "_rebuild_tensor": (4,),
    "_rebuild_tensor_v2": (6, 7),
    "_rebuild_tensor_v3": (7, 8),
    "_rebuild_qtensor": (7,),
    "_rebuild_parameter": (3,),
    "_rebuild_parameter_with_state": (4,),
    "OrderedDict": (0, 1),
}
"""How many arguments the functions of torch/_utils.py take, and the call that stands in every state_dict."""


def does_not_take(name: str, args: tuple[object, ...], made: object) -> bool:
    """Whether a call of one of these functions raises: by the number of its arguments, or by a tensor's geometry.

    `made` is what the call stands for: a tensor's geometry is sound where one could be made of it. What another call
    returns may be anything.
    """
    takes = _TAKES.get(name)
    if takes is None:
        return False
    if len(args) not in takes:
        return True
    if type(made) is TensorRef or not name.startswith(("_rebuild_tensor", "_rebuild_qtensor")):
        return False
    storage, offset, *sizes = args[:4]
    wrong = any(dims(size) is None and type(size) is not Opaque for size in sizes)
    return wrong or type(storage) not in (StorageInfo, Opaque) or type(offset) not in (int, Opaque)


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
    storage = replace(_NO_STORAGE, dtype=name, location=device)
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
    return _wrapped(call, least=3)


def _from_numpy(call: Opaque) -> object:
    # `_rebuild_device_tensor_from_numpy(data, dtype, device, requires_grad)`, once `_rebuild_xla_tensor`
    args = _args(call, 3)
    if not args or type(args[0]) is not Opaque or not args[0].states:
        return call
    state = args[0].states[0]  # numpy: (version, shape, dtype, is_fortran, data)
    shape = dims(state[1]) if type(state) is tuple and len(state) > 1 else None
    return call if shape is None else _without_storage(args[1], shape, contiguous(shape), _device(args[2]), call)


@lru_cache(1024)
def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a tensor laid out in C order."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _wrapped(call: Opaque, *, is_parameter: bool = False, least: int = 1) -> object:
    # `_rebuild_nested_tensor(buffer, sizes, strides, storage_offsets)`: its shape is data, so the buffer's is given
    args = _args(call, least)
    if not args or type(args[0]) is not TensorRef:
        return call
    data = args[0]
    return TensorRef(data.storage, data.dtype, data.shape, data.stride, data.storage_offset, is_parameter, call)


def _parameter(call: Opaque) -> object:
    # `_rebuild_parameter(data, requires_grad, backward_hooks)`, `_with_state(..., state)`; before 0.4 also
    # `torch.nn.parameter.Parameter(data)` and BUILD
    return _wrapped(call, is_parameter=True)


def _uninitialized(call: Opaque) -> object:
    # torch/nn/parameter.py, `UninitializedTensorMixin.__reduce_ex__`: of a lazy module, before its first batch
    storage = replace(_NO_STORAGE, dtype="float32")
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


_TENSOR_CLASSES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")

_FOLLOWED: Mapping[Handler, str] = {
    _tensor: "torch._utils._rebuild_tensor torch._utils._rebuild_tensor_v2 torch._utils._rebuild_qtensor",
    _tensor_v3: "torch._utils._rebuild_tensor_v3",
    _parameter: """
        torch._utils._rebuild_parameter torch._utils._rebuild_parameter_with_state torch.nn.parameter.Parameter
        torch.nn.Parameter torch.nn.parameter.Buffer""",
    _uninitialized: "torch.nn.parameter.UninitializedParameter torch.nn.parameter.UninitializedBuffer",
    _wrapped: "torch.autograd.variable.Variable torch._utils._rebuild_nested_tensor",
    _sparse: "torch._utils._rebuild_sparse_tensor torch._utils._rebuild_sparse_csr_tensor",
    _meta: "torch._utils._rebuild_meta_tensor_no_storage",
    _wrapper_subclass: "torch._utils._rebuild_wrapper_subclass",
    _from_cpu_tensor: "torch._utils._rebuild_device_tensor_from_cpu_tensor",
    _from_numpy: "torch._utils._rebuild_device_tensor_from_numpy torch._utils._rebuild_xla_tensor",
    _from_type: """
        torch._tensor._rebuild_from_type_v2 torch._tensor._rebuild_from_type torch.tensor._rebuild_from_type""",
    _old_tensor: " ".join(f"torch.{name}Tensor torch.cuda.{name}Tensor" for name in _TENSOR_CLASSES),
    _mapping: "collections.OrderedDict collections.Counter",
    _defaultdict: "collections.defaultdict",
    _set: "builtins.set",
    _frozenset: "builtins.frozenset",
    _complex: "builtins.complex",
    _bytes: "builtins.bytes",
    _encode: "_codecs.encode",
    numpy_scalar: "numpy.core.multiarray.scalar numpy._core.multiarray.scalar",
}
HANDLERS: Mapping[str, Handler] = {name: handler for handler, names in _FOLLOWED.items() for name in names.split()}

VIEW = _tensor
"""The handler that makes nearly all tensors: of its arguments, which are numbers, none has attributes."""
COPYING = frozenset({_mapping, _set, _frozenset, _encode})
"""Handlers whose cost is the size of their argument, which a memo can hand to them again and again."""
