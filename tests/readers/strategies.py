"""Checkpoint-like values for hypothesis: what `torch.save` may be handed."""

from __future__ import annotations

import warnings
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import torch
from hypothesis import strategies as st

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
    torch.complex64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.complex32,
    torch.complex128,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
    torch.float4_e2m1fn_x2,
]
QUANTIZED = [torch.qint8, torch.quint8, torch.qint32]


class State(OrderedDict):
    """A subclass of OrderedDict, as libraries define them."""


@st.composite
def tensors(draw):
    """Tensors of every kind of element, also empty, 0-d, transposed, sliced, and Parameters."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    count = int(np.prod(shape, dtype=int))
    raw = draw(st.binary(min_size=16 * count, max_size=16 * count))
    size = dtype.itemsize
    if dtype == torch.bool:
        tensor = torch.tensor([b % 2 == 1 for b in raw[:count]], dtype=dtype).reshape(shape)
    else:
        flat = (
            torch.frombuffer(bytearray(raw), dtype=torch.uint8)[: count * size]
            if count
            else torch.empty(0, dtype=torch.uint8)
        )
        tensor = flat.clone().view(dtype).reshape(shape)
    change = draw(st.sampled_from(["none", "transpose", "slice", "every other", "expanded", "parameter", "quantized"]))
    if change == "every other" and tensor.dim() >= 1:
        return tensor[::2]
    if change == "expanded":
        return tensor.expand(2, *tensor.shape)
    if change == "quantized" and dtype == torch.float32:
        scale = draw(st.floats(0.01, 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces that it will drop quantized tensors
            return torch.quantize_per_tensor(torch.zeros(shape), scale, 1, draw(st.sampled_from(QUANTIZED)))
    if change == "transpose" and tensor.dim() >= 2:
        return tensor.transpose(0, 1)
    if change == "slice" and tensor.dim() >= 1 and tensor.shape[0] > 1:
        return tensor[1:]
    if change == "parameter" and dtype.is_floating_point and size > 1:
        return torch.nn.Parameter(tensor)
    return tensor


numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.none(),
    st.complex_numbers(allow_nan=False),
    st.sampled_from([np.float64(0.25), np.float32(1.5), np.int64(-3), np.bool_(True), np.float64("nan"), np.uint8(7)]),
)
plain = st.one_of(numbers, st.text(max_size=8), st.binary(max_size=8))
keys = st.one_of(st.text(max_size=6), st.integers(-5, 5), st.tuples(st.integers(0, 3), st.text(max_size=2)), st.none())
leaves = st.one_of(
    plain,
    tensors(),
    st.sets(st.integers(0, 9), max_size=3),
    st.frozensets(st.text(max_size=2), max_size=3),
    st.sampled_from([torch.float32, torch.Size([2, 3]), torch.device("cpu"), slice(1, 2), bytearray(b"ab"), Ellipsis]),
    st.builds(np.arange, st.integers(0, 4)),
)


def _ordered(pairs):
    return OrderedDict(pairs)


def _default(pairs):
    result = defaultdict(list)
    result.update(pairs)
    return result


def _containers(inner):
    pairs = st.lists(st.tuples(keys, inner), max_size=4)
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        pairs.map(dict),
        pairs.map(_ordered),
        pairs.map(_default),
        pairs.map(State),
        st.lists(st.text(max_size=2), max_size=4).map(Counter),
        # the same object twice
        inner.map(lambda value: [value, value]),
    )


values = st.recursive(leaves, _containers, max_leaves=12)
