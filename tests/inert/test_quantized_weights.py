"""Codes of quantized weights count as what they stand for and are not read as numbers; what only looks so is."""

from __future__ import annotations

import math

import pytest
import torch

from ckpt_doctor.inert.counting import parameters
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from tests.validators.foreign_files import like, save
from tests.validators.quantized_layouts import LAYOUTS, bitsandbytes_4bit, codes


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bare_state_dict_counts_what_its_codes_stand_for(tmp_path, layout, container):
    """In every container; a bias counts, tables do not, and codes that two names share count once."""
    state = {"a.weight": torch.zeros(64, 96), "a.bias": torch.zeros(64)}
    LAYOUTS[layout](state, "a.weight")
    path = tmp_path / f"model.{container}"
    if container == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        state |= {f"tied{name[1:]}": tensor for name, tensor in state.items()}
        torch.save(state, path, _use_new_zipfile_serialization=container == "zip")
    checkpoint = deep_check(open_checkpoint(path))
    assert 64 * 96 + 64 == parameters(checkpoint)
    assert {} == checkpoint.deep.non_finite


def test_an_element_of_two_values_counts_as_two(tmp_path):
    """torch.float4_e2m1fn_x2, as its name says."""
    torch.save({"weight": codes((64, 48), torch.float4_e2m1fn_x2)}, tmp_path / "model.pt")
    assert 64 * 96 == parameters(open_checkpoint(tmp_path / "model.pt"))


@pytest.mark.parametrize("storage", [torch.uint8, torch.bfloat16])
def test_a_pickled_params4bit_is_a_quantized_weight(tmp_path, storage):
    """`torch.save(model)`: the tables hang on the parameter, and on its module, as attributes of a QuantState."""
    tables = {"absmax": torch.ones(96), "code": torch.linspace(-1, 1, 16), "state2": None}
    state = like("bitsandbytes.functional", "QuantState", tables)
    weight = torch.nn.Parameter(codes((3072 // storage.itemsize, 1), storage), requires_grad=False)
    weight.quant_state = state
    module = torch.nn.Linear(2, 2)
    module.weight, module.quant_state = weight, state
    save(torch.nn.Sequential(module), tmp_path / "model.pt")
    checkpoint = deep_check(open_checkpoint(tmp_path / "model.pt"))
    assert 64 * 96 + 2 == parameters(checkpoint)
    assert {} == checkpoint.deep.non_finite


def with_namesake(state: dict) -> None:
    """Of two tensors that are both shown as `m.w` one is quantized."""
    twin = {f"m.{name}": tensor.clone() for name, tensor in state.items()}
    state |= {**twin, "m.w": torch.tensor(math.nan), "m": {"w": twin["m.w"]}}


SPOILED = {
    "absmax left out": lambda state: state.pop("w.absmax"),
    "a NaN in absmax": lambda state: state["w.absmax"].__setitem__(0, math.nan),
    "a codebook of 256": lambda state: state.update({"w.quant_map": torch.zeros(256)}),
    "a weight of two columns": lambda state: state.update({"w": state["w"].reshape(-1, 2)}),
    "a NaN in the codebook, which has one itself": lambda state: state.update(
        {
            "w.quant_map": torch.full((16, 1), math.nan),
            "w.quant_map.quant_map": torch.zeros(16),
            "w.quant_map.absmax": torch.ones(1),
        }
    ),
    "another tensor of the same name": with_namesake,
    "too few blocks": lambda state: state.update({"w": codes((1 << 17, 1), torch.bfloat16), "w.absmax": torch.ones(1)}),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_what_only_looks_quantized_is_read_for_nan(tmp_path, spoil):
    """Names alone hide no NaN: the shapes have to fit, and the tables themselves are read."""
    state = {"w": torch.zeros(64, 96)}
    bitsandbytes_4bit(state, "w", storage=torch.bfloat16)
    spoil(state)
    torch.save(state, tmp_path / "model.pt")
    assert deep_check(open_checkpoint(tmp_path / "model.pt")).deep.nan


@pytest.mark.parametrize("names", [["quant_map"], ["w.SCB"], ["w.qweight"], ["w.qweight", "w.qzeros", "w.scales"]])
@pytest.mark.parametrize("shape", [(), (0,), (16,), (4, 4), (2, 0), (2, 2, 4)])
def test_stray_names_count_as_they_are(tmp_path, names, shape):
    """Tensors that are named as tables and belong to nothing, of any shape."""
    torch.save({name: torch.zeros(shape, dtype=torch.int32) for name in names}, tmp_path / "model.pt")
    assert len(names) * math.prod(shape) == parameters(open_checkpoint(tmp_path / "model.pt"))
