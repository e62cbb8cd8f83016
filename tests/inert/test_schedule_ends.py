"""How many steps a scheduler has left, beside torch's own schedulers stepped until they raise."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as sched

from ckpt_doctor.inert.schedule_ends import end_of, stepped_next

LIMIT = 40


def cycle(optimizer: Any, total: int) -> Any:
    return sched.OneCycleLR(optimizer, 0.1, total_steps=total)


def warm_up(optimizer: Any) -> Any:
    return sched.LinearLR(optimizer, 0.1, total_iters=3)


def in_turn(milestones: list[int], *members: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda o: sched.SequentialLR(o, [make(o) for make in members], milestones)


MADE: dict[str, Callable[[Any], Any]] = {
    "alone": lambda o: cycle(o, 12),
    "after a warm-up": in_turn([4], warm_up, lambda o: cycle(o, 9)),
    "before another": in_turn([6], lambda o: cycle(o, 9), warm_up),
    "too short before another": in_turn([20], lambda o: cycle(o, 9), warm_up),
    "just long enough": in_turn([10], lambda o: cycle(o, 9), warm_up),
    "one too short": in_turn([11], lambda o: cycle(o, 9), warm_up),
    "in the middle": in_turn([3, 9], warm_up, lambda o: cycle(o, 20), warm_up),
    "in the middle, too short": in_turn([3, 19], warm_up, lambda o: cycle(o, 9), warm_up),
    "chained": lambda o: sched.ChainedScheduler([warm_up(o), cycle(o, 7)], o),
    "none": in_turn([4], warm_up, lambda o: sched.CosineAnnealingLR(o, 5)),
}


@pytest.mark.parametrize("name", MADE)
def test_the_steps_that_are_left_are_those_that_torch_makes(name: str) -> None:
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler, states = MADE[name](optimizer), []
        while len(states) < LIMIT:
            states.append(copy.deepcopy(scheduler.state_dict()))
            optimizer.step()
            try:
                scheduler.step()
            except ValueError:
                break
    ends = [end_of(state) for state in states]
    if len(states) == LIMIT:
        assert {None} == set(ends)
        return
    assert list(range(len(states) - 1, -1, -1)) == [end.steps_left for end in ends if end is not None]
    last = ends[-1]
    assert last is not None
    assert (last.total_steps, last.total_steps) == (
        last.last_epoch,
        dict(stepped_next(states[-1]))[last.path]["last_epoch"],
    )


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"_schedulers": [], "last_epoch": 3},
        {"_schedulers": [5], "last_epoch": 3},
        {"_schedulers": [{"total_steps": 5, "cycle_momentum": True, "last_epoch": "x"}]},
        {"_schedulers": [{}, {}], "_milestones": ["x"], "last_epoch": 3},
        {"_schedulers": [{}, {}], "_milestones": [], "last_epoch": 3},
        {"_schedulers": [{}, {}, {}], "_milestones": [9, 3], "last_epoch": 3},
        {"_schedulers": [{}, {}], "_milestones": [9], "last_epoch": None},
    ],
)
def test_values_that_tell_nothing_have_no_end(state: dict[str, Any]) -> None:
    assert end_of(state) is None
    assert all("total_steps" not in inside or "_schedulers" not in inside for _, inside in stepped_next(state))


def test_one_that_holds_itself_is_left(state: Any = None) -> None:
    state = {"last_epoch": 1}
    state["_schedulers"] = [state]
    assert end_of(state) is None
    assert [] == list(stepped_next(state))


def test_one_that_is_named_again_and_again_is_looked_at_once() -> None:
    state: dict[str, Any] = {"total_steps": 5, "cycle_momentum": True, "last_epoch": 1}
    for _ in range(40):
        state = {"last_epoch": 1, "_schedulers": [state] * 64}
    end = end_of(state)
    assert end is not None
    assert 4 == end.steps_left
    assert 1 == len(list(stepped_next(state)))
