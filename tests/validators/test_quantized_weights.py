"""A model whose frozen part is quantized is counted, read deeply and repaired as any other."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor.audit import scan
from ckpt_doctor.inert.counting import parameters
from ckpt_doctor.repair import migrate, undo
from tests.validators.healthy_runs import healthy, place, write
from tests.validators.quantized_layouts import LAYOUTS, adam_8bit, fp8
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
