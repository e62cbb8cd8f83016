"""Weights that are stored quantized: which tensors of a file hold their codes, which the tables to decode them.

By name and shape alone, as the libraries lay them out:

- bitsandbytes, 4 bits: `W` holds two codes a byte, in any dtype (`bnb_4bit_quant_storage`); beside it lie `W.absmax`,
  `W.quant_map` of 16 numbers, `W.nested_*` and `W.quant_state.bitsandbytes__nf4`. In a pickled `Params4bit` they are
  attributes of `W.quant_state`, where the 16 numbers are called `code`.
- bitsandbytes, 8 bits: `weight` of int8 with `SCB`, one number a row, and `weight_format`.
- GPTQ and AWQ: `qweight` and `qzeros` of int32, packed with one number of bits; `scales` and `qzeros` have a column for
  each output, so that their widths tell the bits; `g_idx`.
- PyTorch's own `float4_e2m1fn_x2`, two values in each element.

Source: bitsandbytes/functional.py, `QuantState.as_dict`; bitsandbytes/nn/modules.py, `Linear8bitLt`;
auto_gptq/nn_modules/qlinear; awq/modules/linear/gemm.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ckpt_doctor.types import KeyPath, TensorInfo

_TABLES = (
    "absmax",
    "code",
    "quant_map",
    "nested_absmax",
    "nested_quant_map",
    "SCB",
    "weight_format",
    "qzeros",
    "scales",
    "g_idx",
)
_MARKS = ("quant_map", "code", "SCB", "qweight")
"""How the name of a tensor ends by which quantized weights are found."""
_PAIRS = "float4_e2m1fn_x2"
_MOST_IN_A_BLOCK = 1 << 16
"""Values with one `absmax`; bitsandbytes has blocks of 32 to 4,096."""


def quantized_values(tensors: Iterable[TensorInfo]) -> dict[KeyPath, int]:
    """Path -> how many values of a weight the tensor holds, for the tensors of quantized weights; 0 for a table.

    A byte of 4-bit codes counts as two. Where the last one is not full, that is up to 7 too many (one in a uint8).
    """
    tensors = list(tensors)
    if not any(map(_is_mark, tensors)):  # as in nearly every file
        return {}
    by_name = {tensor.name: tensor for tensor in tensors}
    values: dict[str, int] = {}
    for name, tensor in by_name.items():
        head, _, last = name.rpartition(".")
        if tensor.dtype == _PAIRS:
            values[name] = 2 * _count(tensor)
        elif last == "quant_map" or name.endswith(".quant_state.code"):
            values |= _four_bits(by_name, head.removesuffix(".quant_state"), name, f"{head}.absmax")
        elif last == "SCB":
            values |= _eight_bits(by_name, head.removesuffix(".weight") + ".weight", name)
        elif last == "qweight":
            values |= _packed_integers(by_name, head, name)
    for name in by_name:
        owner, state, _ = name.partition(".quant_state.")
        head, _, last = name.rpartition(".")
        if not state and last in _TABLES:
            owner, state = head, last
        if state and any(values.get(place) for place in (owner, f"{owner}.weight", f"{owner}.qweight")):
            values[name] = 0
    return {by_name[name].path: count for name, count in values.items()}


def _is_mark(tensor: TensorInfo) -> bool:
    return tensor.dtype == _PAIRS or (bool(tensor.path) and str(tensor.path[-1]).endswith(_MARKS))


def _four_bits(by_name: Mapping[str, TensorInfo], weight: str, codebook: str, absmax: str) -> dict[str, int]:
    packed, blocks = by_name.get(weight), by_name.get(absmax)
    if packed is None or blocks is None or _count(by_name[codebook]) != 16 or packed.shape[-1:] != (1,):
        return {}
    if weight.rpartition(".")[2] in _TABLES:
        return {}
    values = 2 * packed.nbytes
    return {weight: values} if _count(blocks) <= values <= _count(blocks) * _MOST_IN_A_BLOCK else {}


def _eight_bits(by_name: Mapping[str, TensorInfo], weight: str, scales: str) -> dict[str, int]:
    codes = by_name.get(weight)
    if codes is None or codes.dtype != "int8" or codes.shape[:1] != (_count(by_name[scales]),):
        return {}
    return {weight: _count(codes)}


def _packed_integers(by_name: Mapping[str, TensorInfo], module: str, weight: str) -> dict[str, int]:
    codes, zeros, scales = by_name[weight], by_name.get(f"{module}.qzeros"), by_name.get(f"{module}.scales")
    if zeros is None or scales is None or {codes.dtype, zeros.dtype} != {"int32"}:
        return {}
    if not len(codes.shape) == len(zeros.shape) == len(scales.shape) == 2 or not scales.shape[1]:
        return {}
    bits, rest = divmod(32 * zeros.shape[1], scales.shape[1])
    return {weight: 32 * _count(codes) // bits} if not rest and bits in (2, 3, 4, 8) else {}


def _count(tensor: TensorInfo) -> int:
    return math.prod(tensor.shape)
