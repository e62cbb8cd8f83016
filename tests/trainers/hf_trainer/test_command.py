"""The saved training command, and what a changed one does to a resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ckpt_doctor.cli.main import app
from ckpt_doctor.trainers.hf_trainer.command import Command, command_in
from ckpt_doctor.types import Global, Opaque
from tests.trainers.hf_trainer import values as made
from tests.trainers.hf_trainer.runs import ARGUMENTS, TOTAL, change_state, judged, save_arguments, told

CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "epochs": ({"num_train_epochs": 6}, "0.00633333 instead of 0.0045"),
    "steps": ({"max_steps": 20}, "nothing is trained"),
    "batch": ({"per_device_train_batch_size": 8}, "nothing is trained"),
    "accumulation": ({"gradient_accumulation_steps": 2}, "nothing is trained"),
    "rate": ({"learning_rate": 0.1}, "ignores the new rate"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_changed_command_is_told_with_what_follows(run: Path, what: str) -> None:
    given, follows = CHANGED[what]
    found = judged(run / "checkpoint-21", **given)
    assert {"R512"} <= told(found)
    assert follows in next(f.message for f in found.findings if f.code == "R512")


def test_the_same_command_is_no_change(run: Path) -> None:
    same = {"num_train_epochs": 4.0, "max_steps": TOTAL, "learning_rate": 0.01, "per_device_train_batch_size": 4}
    assert set() == told(judged(run / "checkpoint-21", **same))


def test_the_token_is_never_printed(run: Path) -> None:
    for command in (["scan", "-v"], ["scan", "--format", "json"], ["scan", "--format", "html"], ["check"]):
        path = run / "checkpoint-21" if command == ["check"] else run
        assert "hf_secret" not in CliRunner().invoke(app, [*command, str(path)]).output
    save_arguments(run / "checkpoint-14", {**ARGUMENTS, "hub_token": "hf_other"})
    for names in (["7", "14"], ["14", "7"]):
        printed = CliRunner().invoke(app, ["diff", *(str(run / f"checkpoint-{name}") for name in names)]).output
        assert "hub_token" in printed and "hf_secret" not in printed and "hf_other" not in printed


def test_only_what_is_looked_at_is_taken_out_of_the_saved_command() -> None:
    """Enums by their value, numpy's numbers by what they are; a token is left where it is."""
    kind = Opaque(Global("transformers.trainer_utils", "SchedulerType"), ("linear",))
    found = command_in(made.unit(arguments=made.command(lr_scheduler_type=kind, max_steps=5, hub_token="hf_secret")))
    assert {"lr_scheduler_type": "linear", "max_steps": 5} == dict(found.values)
    for odd in (None, 7, {"max_steps": 5}, Opaque(Global("a", "b"), ())):
        assert {} == dict(command_in(made.unit(arguments=odd)).values)


def test_a_number_that_no_command_has_is_none() -> None:
    for odd in (None, "5", True, math.nan, math.inf, 10**30):
        held = Command({"max_steps": odd})
        assert held.number("max_steps") is None
        assert held.count("max_steps") is None
    assert (-1, None) == (Command({"max_steps": -1}).number("max_steps"), Command({"max_steps": -1}).count("max_steps"))
    assert 1 == Command({"gradient_accumulation_steps": 0}).accumulation


def test_a_metric_is_one_of_evaluation_and_a_loss_is_better_where_it_is_lower() -> None:
    for name, key, greater in (("loss", "eval_loss", False), ("eval_f1", "eval_f1", True), (None, "", None)):
        held = Command({"metric_for_best_model": name})
        assert (key, greater) == (held.metric, held.is_greater_better)
    assert Command({"metric_for_best_model": "loss", "greater_is_better": True}).is_greater_better


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({"warmup_steps": 5}, 5),
        ({"warmup_steps": 0}, 0),
        ({"warmup_steps": 0.1}, 4),
        ({"warmup_steps": 0, "warmup_ratio": 0.06}, 3),
        ({"warmup_steps": 5, "warmup_ratio": 0.5}, 5),
        ({}, None),
    ],
)
def test_warm_up_is_in_steps_or_a_share_of_all(values: dict[str, Any], steps: int | None) -> None:
    """Of 40; a share is rounded up."""
    assert steps == Command(values).warmup(40)


def test_an_epoch_is_evaluated_after_its_save_where_only_the_save_goes_by_steps() -> None:
    assert Command({"evaluation_strategy": "epoch", "save_strategy": "steps"}).evaluates_after
    assert not Command({"eval_strategy": "epoch", "save_strategy": "epoch"}).evaluates_after


def test_data_that_has_come_to_its_end_before_begins_anew(run: Path) -> None:
    """At the end itself the resume is right, unless batches of a shorter step were left over."""
    folder = run / "checkpoint-21"
    for epoch, resume in ((1 + 5 / 40, "differs"), (2 + 7 / 40, "identical")):
        change_state(folder, epoch=epoch, num_train_epochs=2**63 - 1)
        found = judged(folder)
        assert (resume, {"P410"} if resume == "differs" else set()) == (found.resume, told(found))
    save_arguments(folder, {**ARGUMENTS, "gradient_accumulation_steps": 3})
    change_state(folder, epoch=2 + 21 / 120)
    found = judged(folder)
    assert "open" == found.resume and "the place in the data" in {one.what for one in found.not_checked}


def test_what_is_open_is_named(run: Path) -> None:
    for folder in run.iterdir():
        change_state(folder, epoch=0.1234567, max_steps=39)
    found = judged(run / "checkpoint-21")
    assert "open" == found.resume and "the place in the data" in {one.what for one in found.not_checked}


@pytest.mark.parametrize(
    ("arguments", "resume"),
    [
        ({"train_sampling_strategy": "group_by_length"}, "differs"),
        ({"group_by_length": True}, "differs"),
        ({"accelerator_config": {"use_seedable_sampler": False}}, "differs"),
        ({"accelerator_config": {"use_seedable_sampler": True}}, "identical"),
        (
            {"train_sampling_strategy": "sequential", "accelerator_config": {"use_seedable_sampler": False}},
            "identical",
        ),
    ],
)
def test_an_order_without_a_seed_is_another_one_after_a_resume_within_an_epoch(
    run: Path, arguments: dict[str, Any], resume: str
) -> None:
    """Measured: in epoch 0 the seed of the whole run deals it again, and between epochs the state is restored first."""
    for folder in run.iterdir():
        save_arguments(folder, {**ARGUMENTS, **arguments})
    found = {name: judged(run / f"checkpoint-{name}") for name in (7, 14)}
    assert {7: "identical", 14: resume} == {name: file.resume for name, file in found.items()}
    assert ({"P410"} if resume == "differs" else set()) == told(found[14])


def test_a_config_inside_the_command_is_read_by_its_fields() -> None:
    config = Opaque(Global("transformers.trainer_pt_utils", "AcceleratorConfig"), ())
    config.states.append({"use_seedable_sampler": False})
    found = command_in(made.unit(arguments=made.command(accelerator_config=config)))
    assert "use_seedable_sampler=False" == found.unseeded_order
