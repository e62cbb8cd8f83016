"""A model whose frozen part is quantized is counted, read deeply and repaired as any other."""

from __future__ import annotations

import math

import pytest
import torch

from ckpt_doctor.audit import scan
from ckpt_doctor.inert.counting import parameters
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from ckpt_doctor.repair import migrate, undo
from tests.validators.foreign_files import like, save
from tests.validators.healthy_runs import healthy, place, write
from tests.validators.quantized_layouts import LAYOUTS, adam_8bit, bitsandbytes_4bit, codes, fp8
from tests.validators.spoiling import BEST, STEP

WEIGHT = "llm_model.weight"
BACKBONE = {**LAYOUTS, "fp8": fp8}


def quantized_run(layout: str, mode: str = "TST") -> dict:
    """A healthy run whose frozen language model has 64 x 96 weights in this layout."""
    run = healthy(mode)
    for payload in run.values():
        payload["model"][WEIGHT] = torch.zeros(64, 96)
        BACKBONE[layout](payload["model"], WEIGHT)
    return run


@pytest.mark.parametrize("layout", BACKBONE)
def test_healthy_runs_with_a_quantized_backbone_are_ok(tmp_path, layout):
    """Nothing is said of any of their files, read deeply, and they have as many parameters as in full precision."""
    plain = healthy()
    for payload in plain.values():
        payload["model"][WEIGHT] = torch.zeros(64, 96)
    write(plain, tmp_path / "plain")
    (counted,) = {parameters(file.checkpoint) for file in scan([tmp_path / "plain"]).files}
    report = scan([write(quantized_run(layout), tmp_path)], deep=True)
    assert [] == [(f.code, f.message) for f in report.findings]
    assert {"ok"} == {file.verdict for file in report.files}
    scales = {"fp8": 1}  # not a table of a layout that is known
    assert {counted + scales.get(layout, 0)} == {parameters(file.checkpoint) for file in report.files}


def test_a_run_with_an_8_bit_adam_is_ok(tmp_path):
    """Its state has other parts than Adam's; only `step` is the same."""
    run = healthy()
    for payload in run.values():
        adam_8bit(payload["optimizer"])
    assert [] == [(f.code, f.message) for f in scan([write(run, tmp_path)], deep=True).findings]


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


def content(tensor: torch.Tensor) -> tuple:
    """What a tensor is, to the last bit."""
    return tensor.dtype, tensor.shape, tensor.reshape(-1).view(torch.uint8).tolist()


@pytest.mark.parametrize("in_place", [False, True], ids=["replace", "in-place"])
@pytest.mark.parametrize("layout", ["nf4-nested", "nf4-in-bfloat16", "int8"])
def test_a_quantized_run_is_repaired_and_taken_back(tmp_path, layout, in_place):
    """EarlyStopping, schedule and prefix are mended beside packed weights, whose bytes stay; undo brings all back."""
    run = quantized_run(layout)
    step = run[STEP]
    expected = step["scheduler"]["last_epoch"], step["best_score"]
    step["model"] = {f"module.{name}": tensor for name, tensor in step["model"].items()}
    step["scheduler"]["last_epoch"] -= 1
    step["scheduler"]["_step_count"] -= 1
    step["best_score"] = None
    path = place(write(run, tmp_path), STEP)
    before, saved = path.read_bytes(), torch.load(path, weights_only=False)["model"]
    (result,) = migrate([path], in_place=in_place)
    assert "migrated" == result.status, result.message
    after = torch.load(path, weights_only=False)
    assert expected == (after["scheduler"]["last_epoch"], after["best_score"])
    assert [name.removeprefix("module.") for name in saved] == list(after["model"])
    assert list(map(content, saved.values())) == list(map(content, after["model"].values()))
    assert ["undone"] == [result.status for result in undo([path])]
    assert before == path.read_bytes()


@pytest.mark.parametrize("layout", ["nf4-nested", "nf4-in-bfloat16", "int8"])
def test_a_quantized_legacy_file_is_upgraded_from_its_sibling(tmp_path, layout):
    """The sibling is known by the same weights, packed as they are; all that it has comes over."""
    run = quantized_run(layout)
    folder = write({STEP: run[STEP], BEST: run[STEP]["model"]}, tmp_path)
    (result,) = migrate([folder / BEST], fixes=["upgrade"])
    assert "migrated" == result.status, result.message
    upgraded = torch.load(folder / BEST, weights_only=False)
    assert list(run[STEP]["model"]) == list(upgraded["model"])
    assert run[STEP]["optimizer"]["param_groups"] == upgraded["optimizer"]["param_groups"]
