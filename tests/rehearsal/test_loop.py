"""What one trace shows of the loop that made it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ckpt_doctor.cli.main import app
from ckpt_doctor.rehearsal.loop import describe
from tests.rehearsal.loops import STEPS, Habits, recorded

EPOCH_LOOPS = [
    Habits(schedule, save, label=label)
    for schedule, save, label in itertools.product(("step", "epoch"), ("before", "after"), (0, 1))
]
STEP_LOOPS = [
    Habits(schedule, save, every=4) for schedule, save in itertools.product(("step", "epoch"), ("before", "after"))
]
OTHERS = [
    Habits(accumulate=2),
    Habits(shuffle=False, optimizer=torch.optim.SGD),
    Habits(buffer=True),
    Habits(fetch_ahead=True),
]


def _name(habits: Habits) -> str:
    return f"{habits.schedule}-{habits.save}-every{habits.every}-label{habits.label}-{'shuffled' * habits.shuffle}"


@pytest.mark.parametrize("habits", EPOCH_LOOPS + OTHERS, ids=_name)
def test_a_loop_that_saves_at_epoch_ends_is_described(habits: Habits, tmp_path: Path) -> None:
    loop = describe(recorded(habits, tmp_path))
    assert loop.steps == habits.epochs * STEPS
    assert [habit.every for habit in loop.schedules] == [habits.schedule]
    assert loop.save_moments == {"epoch end"}
    if habits.schedule == "epoch" or habits.save == "after":
        assert loop.save_order == {habits.save}
    else:
        assert loop.save_order == {"after"}, "at an epoch's end the step's schedule has stepped"
    assert loop.label == ("label" if habits.label else "label+1")
    assert loop.steps_per_epoch == STEPS
    assert loop.own_order is habits.shuffle
    unshuffled = () if habits.shuffle else ("--no-shuffle",)
    assert loop.options == ("--resume-epoch", loop.label, "--steps-per-epoch", str(STEPS), *unshuffled)
    assert len(loop.open) == habits.shuffle, "whether the order is seeded by the epoch one run cannot show"


@pytest.mark.parametrize("habits", [*EPOCH_LOOPS, Habits(shuffle=False), *OTHERS[:1], *OTHERS[2:]], ids=_name)
def test_what_is_printed_makes_check_right(habits: Habits, tmp_path: Path) -> None:
    """`check` says where a resume begins, and the resume begins there."""
    loop = describe(recorded(habits, tmp_path))
    path = tmp_path / "epoch1.pt"
    command = ["check", str(path), "--format", "json"]
    codes, _ = _checked(command)
    assert "P412" in codes
    codes, plan = _checked([*command, *loop.options])
    assert "P412" not in codes
    resumed = recorded(habits, tmp_path, "resumed.trace", resume=path)
    assert len(resumed.steps[0]) == (habits.epochs - plan["start_epoch"]) * STEPS
    assert ("R501" in codes) == (habits.schedule == "epoch" and habits.save == "before")


def _checked(command: list[str]) -> tuple[set[str], dict[str, Any]]:
    answer = json.loads(CliRunner().invoke(app, command).stdout)
    (file,) = answer["files"]
    return {finding["code"] for finding in file["findings"]}, answer["plan"]


@pytest.mark.parametrize("habits", STEP_LOOPS, ids=_name)
def test_a_loop_that_saves_by_steps_is_described(habits: Habits, tmp_path: Path) -> None:
    loop = describe(recorded(habits, tmp_path))
    assert "mid-epoch" in loop.save_moments
    assert [habit.every for habit in loop.schedules] == [habits.schedule]
    if habits.schedule == "step":
        assert loop.save_order == {habits.save}
    assert loop.steps_per_epoch == STEPS


def test_what_one_epoch_cannot_show_is_named(tmp_path: Path) -> None:
    loop = describe(recorded(Habits(epochs=1), tmp_path))
    assert loop.steps_per_epoch is None
    assert loop.own_order is None
    assert not loop.label
    assert len(loop.open) == 3


def test_one_label_may_be_a_constant(tmp_path: Path) -> None:
    loop = describe(recorded(Habits(epochs=2), tmp_path, until=STEPS + 2))
    assert not loop.label
    assert any("only one value" in sentence for sentence in loop.open)


def test_the_labels_of_a_resumed_run_are_not_counted_from_its_own_beginning(tmp_path: Path) -> None:
    recorded(Habits(), tmp_path, "first.trace")
    loop = describe(recorded(Habits(), tmp_path, "second.trace", resume=tmp_path / "epoch1.pt"))
    assert not loop.label
    assert loop.loaded == (str(tmp_path / "epoch1.pt"),)
    assert loop.restored == ("model", "optimizer", "scheduler")
