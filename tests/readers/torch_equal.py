"""Compares what `torch.load` gives with what an inert tree says, and two results of `torch.load` with each other."""

from __future__ import annotations

import numpy as np
import torch

from ckpt_doctor.readers.tensor_bytes import read_tensors
from ckpt_doctor.types import Global, InertDict, NumpyScalar, Opaque, TensorRef


def equal(a, b):
    """Whether two loaded values are the same, bit for bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        about = (a.dtype, a.shape, a.stride(), a.storage_offset(), a.requires_grad)
        if about != (b.dtype, b.shape, b.stride(), b.storage_offset(), b.requires_grad):
            return False
        return bits(a) == bits(b)
    if isinstance(a, dict):
        return len(a) == len(b) and all(equal(x, y) and equal(a[x], b[y]) for x, y in zip(a, b, strict=True))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (float, np.generic)):
        return np.asarray(a).tobytes() == np.asarray(b).tobytes()
    return a == b


def bits(tensor):
    """The elements of a tensor as bytes, in order."""
    plain = tensor.detach()
    flat = (plain.int_repr() if plain.is_quantized else plain).clone(memory_format=torch.contiguous_format).reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def read_tensor(checkpoint, tensor, limit=1 << 24):
    """The elements of a tensor that was read inertly as bytes, in order."""
    return read_tensors(checkpoint, [tensor], limit)[0]


def says(inert, loaded):
    """Whether an inert value describes a loaded one."""
    if isinstance(loaded, torch.Tensor):
        return isinstance(inert, TensorRef) and (
            f"torch.{inert.dtype}" == str(loaded.dtype)
            and inert.shape == tuple(loaded.shape)
            and inert.stride == loaded.stride()
            and inert.storage_offset == loaded.storage_offset()
            and inert.is_parameter == isinstance(loaded, torch.nn.Parameter)
            and inert.storage.nbytes == loaded.untyped_storage().nbytes()
            and inert.storage.location == str(loaded.device)
        )
    if isinstance(loaded, np.generic):
        return (
            isinstance(inert, NumpyScalar)
            and inert.dtype == loaded.dtype.name
            and equal(type(loaded)(inert.value), loaded)
        )
    if type(loaded) is dict or isinstance(inert, InertDict):
        if isinstance(inert, InertDict) and str(inert.source.callee) != f"collections.{type(loaded).__name__}":
            return False
        return len(inert) == len(loaded) and all(
            says(x, y) and says(inert[x], loaded[y]) for x, y in zip(inert, loaded, strict=True)
        )
    if type(loaded) in (list, tuple):
        return type(inert) is type(loaded) and len(inert) == len(loaded) and all(map(says, inert, loaded))
    if isinstance(loaded, torch.dtype):
        return inert == Global(*str(loaded).split("."))
    if isinstance(inert, Opaque) and isinstance(loaded, dict):  # a dict subclass of some package
        pairs = list(loaded.items())
        return len(inert.pairs) == len(pairs) and all(map(says, inert.pairs, pairs))
    if isinstance(inert, Opaque):
        return loaded.__class__.__module__.split(".")[0] in ("torch", "numpy", "builtins")
    if isinstance(inert, Global):  # the Ellipsis and types by name
        return inert.module == "builtins"
    return equal(inert, loaded)
