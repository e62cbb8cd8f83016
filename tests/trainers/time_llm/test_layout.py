"""What Time-LLM's trainer writes where, and which checkpoints can be its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.trainers.time_llm import layout
from ckpt_doctor.types import Checkpoint
from tests.trainers.time_llm.members import RUN, best, scheduled, step_file

NAMED = Path("checkpoints/long_term_forecast_ETTh1_24_8_DLinear_ETTh1_ftM_sl24_ll12_pl8_dm8_Exp_0-x")
PARTS = {f"module.{part}weight": 0 for part in layout.MODEL_PARTS}


def checkpoint(path: Path, root: object, layout_: Any = "training", container: Any = "torch-zip") -> Checkpoint:
    return Checkpoint(path, 0, container, layout_, root)


KEYS: dict[str, Any] = {
    "model": {"linear.weight": 0},
    "optimizer": {},
    "scheduler": scheduled(step_file(15, 1), "TST", 15).checkpoint.root["scheduler"],
    "epoch": 1,
    "global_step": 15,
}
STOPPING = {"best_score": -0.4, "val_loss_min": 0.4, "counter": 0}


@pytest.mark.parametrize(
    ("path", "role", "step"),
    [
        ("run/checkpoint", "best", None),
        ("run/checkpoint_step_24/checkpoint.pt", "step", 24),
        ("run/checkpoint_step_24/checkpoint", "step", 24),
        ("run/checkpoint_step_24/other.pt", None, 24),
        ("run/checkpoint_step_24 (1)/checkpoint.pt", None, None),
        ("run/model.pt", None, None),
        (f"run/checkpoint_step_{'9' * 30}/checkpoint.pt", None, None),
    ],
)
def test_the_place_of_a_file_says_which_save_wrote_it(path: str, role: str | None, step: int | None) -> None:
    assert (role, step) == (layout.role_of(Path(path)), layout.named_step(Path(path)))


def test_the_run_is_above_a_step_folder_also_of_a_copy_by_a_file_manager() -> None:
    for name in ("checkpoint_step_24", "checkpoint_step_24 (1)", "Copy of checkpoint_step_24"):
        assert Path("run") == layout.run_folder(Path("run") / name / "checkpoint.pt")
    assert layout.run_of(Path("run/checkpoint")) is None
    assert Path("run") == layout.run_folder(Path("run/checkpoint"))


def test_a_folder_has_these_siblings_and_is_resumed_from_this_file(tmp_path: Path) -> None:
    for name in ("checkpoint", "checkpoint_step_5/checkpoint.pt", "checkpoint_step_9/checkpoint", "other.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "checkpoint_step_x").mkdir()
    assert {tmp_path / "checkpoint_step_5": 5, tmp_path / "checkpoint_step_9": 9} == dict(layout.prunable(tmp_path))
    assert ["checkpoint", "checkpoint", "checkpoint.pt"] == sorted(path.name for path in layout.siblings(tmp_path))
    assert tmp_path / "checkpoint" == layout.resume_target(tmp_path)
    assert tmp_path / "checkpoint_step_5/checkpoint.pt" == layout.resume_target(tmp_path / "checkpoint_step_5")
    assert layout.resume_target(tmp_path / "checkpoint_step_x") is None


@pytest.mark.parametrize(
    ("changes", "reads"),
    [
        ({}, True),
        ({"best_score": -0.4, "rng_state": {}}, True),
        ({"args": {"lr": 0.01}}, True),
        ({"scheduler": {"T_0": 5, "foreign": 1}}, False),
        ({"scheduler": {}}, True),
        ({"model": [1]}, False),
        ({"optimizer": ...}, True),
        ({"optimizer": ..., "args": {}}, False),
        ({"optimizer": ..., "scheduler": ..., "epoch": ...}, False),
        ({"optimizer": ..., "scheduler": ..., "epoch": ..., "model": PARTS}, True),
    ],
)
def test_a_file_can_be_read_as_the_trainers_by_its_keys_and_its_schedule(changes: dict[str, Any], reads: bool) -> None:
    root = {key: value for key, value in (KEYS | changes).items() if value is not ...}
    assert reads is layout.reads(checkpoint(RUN / "checkpoint", root))


def test_bare_weights_fit_by_their_place_or_their_submodules() -> None:
    weights = {"linear.weight": 0}
    assert layout.fits(checkpoint(RUN / "checkpoint", weights, "state-dict"))
    assert not layout.fits(checkpoint(RUN / "model.pt", weights, "state-dict"))
    assert layout.fits(checkpoint(RUN / "model.pt", PARTS, "state-dict"))
    assert not layout.reads(checkpoint(RUN / "model.safetensors", weights, "state-dict", "safetensors"))


@pytest.mark.parametrize(
    ("path", "root", "signed"),
    [
        (NAMED / "checkpoint", KEYS, True),
        (NAMED / "checkpoint_step_15/checkpoint.pt", KEYS, True),
        (NAMED / "checkpoint.pth", KEYS, False),
        (Path("exp/last.pt"), KEYS, False),
        (Path("exp/last.pt"), KEYS | STOPPING, True),
        (Path("exp/last.pt"), KEYS | {"best_score": 0.9}, False),
        (Path("exp/last.pt"), KEYS | {"model": PARTS}, True),
        (Path("exp/last.pt"), KEYS | {"model": dict(list(PARTS.items())[:2])}, False),
        (Path("exp/last.pt"), 7, False),
    ],
)
def test_one_sign_that_no_other_project_carries_is_asked_for(path: Path, root: object, signed: bool) -> None:
    assert signed is layout.is_signed(checkpoint(path, root))


def test_a_member_has_the_state_of_its_places_and_the_name_that_it_should_have() -> None:
    path = Path("run/checkpoint_step_24/checkpoint.pt")
    member = layout.member_of(checkpoint(path, KEYS | STOPPING), lambda _part, tensors: [None] * len(tensors))
    assert ("step", 24, "checkpoint_step_15") == (member.role, member.named_step, member.right_name)
    assert (1, 15, 50, -0.4) == (
        member.state.epoch,
        member.state.global_step,
        member.state.total_steps,
        member.state.best_score,
    )
    assert "checkpoint_step_24" == member.label


def test_prefixes_of_wrapping_modules_are_no_part_of_a_key() -> None:
    assert "llm_model.weight" == layout.unwrapped("module._orig_mod.llm_model.weight")
    assert "llm_model.module.weight" == layout.unwrapped("llm_model.module.weight")


def test_a_scaler_that_is_off_skips_no_step() -> None:
    assert not layout.uses_amp(best(20, 2))
    assert not layout.uses_amp(best(20, 2, root={"scaler": {}}))
    assert layout.uses_amp(best(20, 2, root={"scaler": {"scale": 1.0}}))
    assert layout.uses_amp(replace(best(20, 2, root={"scaler": {"scale": 1.0}}), role=None))
