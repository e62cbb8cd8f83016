"""The training state is read from the places that a trainer names, and what cannot be a state is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.trainers import state
from ckpt_doctor.types import (
    Checkpoint,
    Damage,
    Global,
    Member,
    MigrationRecord,
    Opaque,
    Places,
    StorageInfo,
    TensorRef,
    TrainingState,
)

PLACES: Places = {
    "model": ("net",),
    "optimizer": ("opt",),
    "scheduler": ("sched",),
    "step": ("done",),
    "epoch": ("round",),
    "best": ("top",),
    "patience": ("waited",),
}
ROOT: dict[str, Any] = {
    "net": {},
    "opt": {
        "state": {0: {"step": 20}, 1: {"step": 20}},
        "param_groups": [{"lr": 0.01, "initial_lr": 0.1, "betas": (0.9, 0.999)}, {"lr": 0.02, "initial_lr": 0.2}],
    },
    "sched": {"gamma": 0.5, "base_lrs": [0.1, 0.2], "last_epoch": 2, "_step_count": 3, "_last_lr": [0.01, 0.02]},
    "done": 20,
    "round": 2,
    "top": -0.5,
    "waited": 1,
}


def checkpoint(**changes: Any) -> Checkpoint:
    return Checkpoint(Path("a.pt"), 0, "torch-zip", "training", ROOT | changes)


def unread(_part: Checkpoint, tensors: Sequence[TensorRef]) -> list[None]:
    return [None] * len(tensors)


def read(**changes: Any) -> TrainingState:
    return state.training_state(checkpoint(**changes), PLACES, unread)


def member(**changes: Any) -> Member:
    return Member(checkpoint(**changes), TrainingState(), None, places=PLACES)


def tensor(numel: int = 1) -> TensorRef:
    storage = StorageInfo("0", "float32", "cpu", numel, 4 * numel)
    return TensorRef(storage, "float32", (numel,), (1,), 0, False, Opaque(Global("torch._utils", "x"), ()))


def test_every_slot_is_read_from_its_place() -> None:
    found = read()
    assert (2, 20, 2, 3, 20) == (
        found.epoch,
        found.global_step,
        found.last_epoch,
        found.step_count,
        found.optimizer_step,
    )
    assert (0.01, 0.9, -0.5, 1) == (found.lr, found.beta1, found.best_score, found.counter)
    assert found.val_loss_min is None, "a slot without a place"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"done": "20"}, "global_step"),
        ({"done": True}, "global_step"),
        ({"done": 10**30}, "global_step"),
        ({"round": 2.5}, "epoch"),
        ({"sched": [1]}, "last_epoch"),
        ({"opt": {"state": {0: {"step": 20}, 1: {"step": 21}}}}, "optimizer_step"),
        ({"opt": {"state": [], "param_groups": []}}, "lr"),
        ({"opt": 3}, "optimizer_step"),
    ],
)
def test_a_value_that_no_trainer_works_with_is_none(changes: dict[str, Any], field: str) -> None:
    """Parameters that disagree on Adam's step as well."""
    assert getattr(read(), field) is not None
    assert getattr(read(**changes), field) is None


@pytest.mark.parametrize("key", ["step", "k"])
def test_steps_that_an_optimizer_counts_in_its_groups(key: str) -> None:
    """Apex's fused ones, and schedule-free ones; not where the groups disagree."""
    entry = {0: {"exp_avg": tensor(3)}}
    for counts, expected in (([7, 7], 7), ([7, 8], None)):
        held = {"state": entry, "param_groups": [{"lr": 0.1, key: count} for count in counts]}
        assert expected == read(opt=held).optimizer_step


def test_a_state_dict_has_no_training_state() -> None:
    bare = replace(checkpoint(), layout="state-dict")
    assert TrainingState() == state.training_state(bare, PLACES, unread)
    assert TrainingState() == state.training_state(replace(checkpoint(), root=[1]), PLACES, unread)


def test_tensors_of_one_element_beside_the_model_get_their_number() -> None:
    step, weight, many = tensor(), tensor(), tensor(7)
    asked: list[TensorRef] = []

    def numbers(_part: Checkpoint, tensors: Sequence[TensorRef]) -> list[float]:
        asked.extend(tensors)
        return [20.0] * len(tensors)

    held = checkpoint(net={"w": weight}, opt={"state": {0: {"step": step, "exp_avg": many}}, "param_groups": []})
    assert 20 == state.training_state(held, PLACES, numbers).optimizer_step
    assert [step] == asked
    assert weight.value is None


def test_numbers_of_a_file_of_a_suspect_byte_order_are_not_read() -> None:
    held = replace(checkpoint(done=tensor()), damage=(Damage("byte-order-suspect", "swapped"),))

    def never(_part: Checkpoint, _tensors: Sequence[TensorRef]) -> list[float]:
        raise AssertionError("read")

    assert state.training_state(held, PLACES, never).global_step is None


def test_a_value_as_the_trainer_wrote_it_is_that_before_the_first_migration() -> None:
    edits = [({"key": "epoch", "before": before},) for before in (1, 2)]
    held = replace(checkpoint(), migrations=tuple(MigrationRecord("", "", edit, 0) for edit in edits))
    assert 1 == state.as_written(held, ("epoch",), 3)
    assert 20 == state.as_written(held, ("done",), 20)


def test_the_rates_of_all_groups_or_none() -> None:
    held = member()
    assert ((0.01, 0.02), (0.01, 0.02), (0.1, 0.2)) == (
        state.own_rates(held),
        state.last_rates(held),
        state.base_rates(held),
    )
    one_without = member(opt={"param_groups": [{"lr": 0.01}, {}]})
    assert state.own_rates(one_without) is None
    assert () == state.param_groups(member(opt={"param_groups": [{"lr": 0.01}, 3]}))
    assert state.last_rates(member(sched={})) is None


def test_base_rates_come_from_the_groups_where_the_schedule_has_none_that_fit() -> None:
    for base in (None, [0.1], "ab"):
        assert (0.1, 0.2) == state.base_rates(member(sched={"base_lrs": base}))


@pytest.mark.parametrize(
    ("value", "whole"),
    [(3, 3), (3.0, 3), (3.5, None), (True, None), ("3", None), (float("nan"), None), (1e300, None), (1 << 62, None)],
)
def test_a_whole_number_is_an_int_or_a_float_without_a_fraction(value: object, whole: int | None) -> None:
    assert whole == state.integer(value)
