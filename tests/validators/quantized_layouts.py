"""A weight as the libraries that quantize it save it, by name and shape; the codes themselves mean nothing.

Every byte of codes is 0xFF: read as floating-point numbers they are all NaN.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import torch

State = dict[str, Any]
Layout = Callable[[State, str], None]


def codes(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A tensor of nothing but ones, in bits."""
    count = torch.Size(shape).numel() * dtype.itemsize
    return torch.full((count,), 0xFF, dtype=torch.uint8).view(dtype).reshape(shape)


def bitsandbytes_4bit(
    state: State, name: str, kind: str = "nf4", nested: bool = False, storage: torch.dtype = torch.uint8
) -> None:
    """bitsandbytes' Linear4bit, saved by transformers: `QuantState.as_dict(packed=True)` beside the packed weight."""
    shape = state[name].shape
    blocks = -(-shape.numel() // 64)
    state[name] = codes((-(-shape.numel() // (2 * storage.itemsize)), 1), storage)
    about = {"quant_type": kind, "blocksize": 64, "dtype": "float32", "shape": list(shape)}
    state[f"{name}.absmax"] = torch.ones(blocks, dtype=torch.uint8 if nested else torch.float32)
    state[f"{name}.quant_map"] = torch.linspace(-1, 1, 16)
    if nested:
        state[f"{name}.nested_absmax"] = torch.ones(-(-blocks // 256))
        state[f"{name}.nested_quant_map"] = torch.linspace(-1, 1, 256)
        about |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.04}
    text = json.dumps(about).encode()
    state[f"{name}.quant_state.bitsandbytes__{kind}"] = torch.tensor(list(text), dtype=torch.uint8)


def bitsandbytes_8bit(state: State, name: str) -> None:
    """bitsandbytes' Linear8bitLt without fp16 weights."""
    module = name.removesuffix("weight")
    state[name] = codes(tuple(state[name].shape), torch.int8)
    state[f"{module}SCB"] = torch.ones(len(state[name]))
    state[f"{module}weight_format"] = torch.tensor(0, dtype=torch.uint8)


def gptq(state: State, name: str, bits: int = 4) -> None:
    """auto_gptq's QuantLinear, groups of 32: the codes of a column are packed."""
    module, (outputs, inputs) = name.removesuffix("weight"), state.pop(name).shape
    state[f"{module}qweight"] = codes((inputs * bits // 32, outputs), torch.int32)
    state[f"{module}qzeros"] = codes((inputs // 32, outputs * bits // 32), torch.int32)
    state[f"{module}scales"] = torch.ones(inputs // 32, outputs, dtype=torch.float16)
    state[f"{module}g_idx"] = torch.arange(inputs, dtype=torch.int32) // 32


def awq(state: State, name: str) -> None:
    """AutoAWQ's WQLinear_GEMM, 4 bits, groups of 32: the codes of a row are packed."""
    module, (outputs, inputs) = name.removesuffix("weight"), state.pop(name).shape
    state[f"{module}qweight"] = codes((inputs, outputs // 8), torch.int32)
    state[f"{module}qzeros"] = codes((inputs // 32, outputs // 8), torch.int32)
    state[f"{module}scales"] = torch.ones(inputs // 32, outputs, dtype=torch.float16)


def fp8(state: State, name: str) -> None:
    """An 8-bit float for each value and a scale for each block."""
    state[name] = torch.ones(state[name].shape).to(torch.float8_e4m3fn)
    state[f"{name}_scale_inv"] = torch.ones(1)


LAYOUTS: dict[str, Layout] = {
    "nf4": bitsandbytes_4bit,
    "nf4-nested": functools.partial(bitsandbytes_4bit, nested=True),
    "fp4": functools.partial(bitsandbytes_4bit, kind="fp4"),
    "nf4-in-bfloat16": functools.partial(bitsandbytes_4bit, storage=torch.bfloat16),
    "nf4-nested-in-float32": functools.partial(bitsandbytes_4bit, nested=True, storage=torch.float32),
    "int8": bitsandbytes_8bit,
    "gptq": gptq,
    "gptq-8": functools.partial(gptq, bits=8),
    "gptq-3": functools.partial(gptq, bits=3),
    "awq": awq,
}
"""Layouts of which the number of values is known."""


def adam_8bit(optimizer: dict[str, Any]) -> None:
    """The moments of an optimizer's state as bitsandbytes' Adam8bit keeps them; all share their codebooks."""
    qmaps = {f"qmap{i}": torch.linspace(-1, 1, 256) for i in (1, 2)}
    for index, moments in optimizer["state"].items():
        count = moments["exp_avg"].numel()
        optimizer["state"][index] = {
            "step": int(moments["step"]),
            **{f"state{i}": codes(tuple(moments["exp_avg"].shape), torch.uint8) for i in (1, 2)},
            **qmaps,
            **{f"absmax{i}": torch.ones(-(-count // 256)) for i in (1, 2)},
        }
