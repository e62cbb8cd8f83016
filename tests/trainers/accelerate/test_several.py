"""Parts of another moment, or in each other's place, by the other folders of a run."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt_doctor.trainers.accelerate import several
from ckpt_doctor.trainers.accelerate.layout import member_of
from ckpt_doctor.types import Member
from tests.trainers.accelerate.values import unit

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def adam(steps: int, decay: float) -> dict[str, Any]:
    group = {"lr": 0.1 / steps, "weight_decay": decay, "params": [0]}
    return {"state": {0: {"step": steps}}, "param_groups": [group]}


def pair(epoch: int, *more: str, name: str = "", **parts: Any) -> Member:
    """A folder of a generator that makes six steps an epoch, and a discriminator that makes three."""
    held = {
        "optimizer.bin": adam(6 * epoch, 0.1),
        "optimizer_1.bin": adam(3 * epoch, 0.0),
        "scheduler.bin": {"step_size": 2, "last_epoch": 6 * epoch},
        "scheduler_1.bin": {"gamma": 0.9, "last_epoch": 3 * epoch},
        "custom_checkpoint_0.pkl": {"updates": 6 * epoch, "seed": 7},
        **parts,
    }
    return member_of(
        unit(name or f"epoch_{epoch - 1}", *held, *more, **held), lambda _part, tensors: [None] * len(tensors)
    )


def departures(*members: Member) -> list[list[tuple[str, int, int]]]:
    known = several.usual(members, 1)
    return [list(several.departures(member, known, 1)) for member in members]


@pytest.mark.parametrize(
    ("name", "count"), [("optimizer_1.bin", 3), ("scheduler.bin", 6), ("custom_checkpoint_0.pkl", 6)]
)
def test_a_part_of_an_earlier_epoch_departs_from_the_line_of_the_others(name: str, count: int) -> None:
    assert [[], [], []] == departures(*map(pair, (1, 2, 3)))
    odd = pair(2, **{name: pair(1).checkpoint.get(name)})
    found = departures(pair(1), odd, pair(3))
    assert [0, 1, 0] == list(map(len, found))
    assert (count, 2 * count) == found[1][0][1:] and found[1][0][0].startswith(name)


def test_the_last_folder_and_two_alone_prove_nothing() -> None:
    """An optimizer may stop training, and a schedule be at its end."""
    stopped = pair(3, **{"optimizer_1.bin": adam(6, 0.0)})
    assert [[], [], []] == departures(pair(1), pair(2), stopped)
    assert [[], []] == departures(pair(1, **{"optimizer_1.bin": adam(2, 0.0)}), pair(2))


def test_folders_whose_names_count_another_thing_are_not_compared() -> None:
    """`step_6` after one epoch of six batches."""
    assert [[], [], [], []] == departures(pair(1), pair(1, name="step_6"), pair(2), pair(9))


def test_steps_that_amp_may_leave_out_are_not_compared() -> None:
    odd = pair(2, "scaler.pt", **{"optimizer_1.bin": adam(5, 0.0)})
    assert [[], [], []] == departures(pair(1), odd, pair(3))


@pytest.mark.parametrize("part", ["optimizer", "scheduler"])
def test_two_parts_in_each_others_place_are_told_by_what_training_does_not_change(part: str) -> None:
    one, other = f"{part}.bin", f"{part}_1.bin"
    right = pair(2).checkpoint
    odd = pair(2, **{one: right.get(other), other: right.get(one)})
    known = several.usual([pair(1), odd, pair(3)], 1)
    assert {one: other, other: one} == dict(several.exchanged(odd.checkpoint, known))
    assert {} == dict(several.exchanged(pair(3).checkpoint, known))


def test_weights_of_a_hook_are_missing_where_every_other_folder_has_them() -> None:
    cut = pair(2)
    known = several.usual([pair(1, WEIGHTS), cut, pair(3, WEIGHTS)], 1)
    assert [WEIGHTS] == list(several.missing_weights(cut.checkpoint, known))
    known = several.usual([pair(1, "ema/ema-6.pt"), cut], 1)
    assert [] == list(several.missing_weights(cut.checkpoint, known)), "a name that goes with the step"


def test_settings_that_no_other_folder_has() -> None:
    """The last folder may be of a script that was changed."""
    other = {"optimizer.bin": adam(12, 0.5)}
    folders = [pair(1), pair(2, **other), pair(3), pair(4, **{"optimizer.bin": adam(24, 0.7)})]
    assert [[], [], [], []] == [list(several.unlike(one, several.usual(folders, 1), 1)) for one in folders]
    folders = [pair(1), pair(2, **other), pair(3), pair(4)]
    assert [[], ["optimizer.bin"], [], []] == [
        list(several.unlike(one, several.usual(folders, 1), 1)) for one in folders
    ]
