"""A scheduler's next steps, and any position of it, from its state_dict: torch's own, to the last bit."""

import copy
import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ckpt_doctor.trainers.schedules import advanced, moved_to, moves, reached, stepping
from tests.trainers.schedules.torch_schedulers import Moment, moments, optimizer_of, same, several, single

HOSTILE = [None, 0, -1, 0.0, math.nan, math.inf, -0.5, 10**400, 10**18, 1e308, "3", True, [], [1], {}, {3: "x"}]


def test_an_edited_rate_stays_edited_as_in_torch():
    """Steps begin at the optimizer's own rate; a position is counted from the base rate."""
    moment = moments(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.5), optimizer_of(), 3)[3]
    edited = [{**moment.groups[0], "lr": 8.0}]
    assert advanced(moment.state, edited).rates == [4.0]
    assert moved_to(moment.state, edited, 4).rates == [moment.groups[0]["initial_lr"] * 0.5**4]


def test_a_state_of_an_older_torch_gets_no_keys_that_it_did_not_have():
    """torch 1.4 had no `_is_initial`, the oldest no `_last_lr`; the rates are the same."""
    now, later = moments(lambda optimizer: lr_scheduler.StepLR(optimizer, 2), optimizer_of(), 6)[3:5]
    old = {key: now.state[key] for key in ("step_size", "gamma", "base_lrs", "last_epoch")} | {"verbose": False}
    stepped = advanced(old, now.groups)
    assert old.keys() == stepped.state.keys()
    assert list(stepped.groups) == later.cycled


@pytest.mark.parametrize(
    "build",
    [
        lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
        lambda optimizer: lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.9),
        lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.1, 0.2, 3, scale_fn=lambda x: 0.5**x),
        lambda optimizer: lr_scheduler.CyclicLR(
            optimizer, 0.1, 0.2, 3, scale_fn=lambda x: 0.5**x, scale_mode="iterations"
        ),
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer, [lr_scheduler.ConstantLR(optimizer), lr_scheduler.LambdaLR(optimizer, lambda epoch: 1)], [1]
        ),
    ],
)
def test_a_formula_of_the_script_is_not_guessed(build):
    """The state says no more than that there is one."""
    moment = moments(build, optimizer_of(), 4)[4]
    assert advanced(moment.state, moment.groups) is None
    assert moved_to(moment.state, moment.groups, 2) is None


def test_moves_name_what_a_step_changed_and_nothing_else():
    """Paths into nested states; a tuple of betas is one value."""
    build = lambda optimizer: lr_scheduler.SequentialLR(  # noqa: E731
        optimizer,
        [lr_scheduler.StepLR(optimizer, 9), lr_scheduler.OneCycleLR(optimizer, 0.1, 20)],
        [2],
    )
    now, later = moments(build, optimizer_of("Adam"), 4)[3:]
    stepped = advanced(now.state, now.groups)
    assert list(moves(now.state, now.groups, stepped)) == [
        ("scheduler", ("last_epoch",), 3, 4),
        ("scheduler", ("_last_lr", 0), now.groups[0]["lr"], later.groups[0]["lr"]),
        ("scheduler", ("_schedulers", 1, "last_epoch"), 1, 2),
        ("scheduler", ("_schedulers", 1, "_step_count"), 2, 3),
        ("scheduler", ("_schedulers", 1, "_last_lr", 0), now.groups[0]["lr"], later.groups[0]["lr"]),
        ("optimizer", ("param_groups", 0, "lr"), now.groups[0]["lr"], later.groups[0]["lr"]),
        ("optimizer", ("param_groups", 0, "betas"), now.groups[0]["betas"], later.groups[0]["betas"]),
    ]


def test_a_position_that_the_values_do_not_allow_is_not_reached():
    build = lambda optimizer: lr_scheduler.StepLR(optimizer, 9)  # noqa: E731
    moment = moments(build, optimizer_of("Adam"), 2)[2]
    same(moment, reached(moment.state, moment.groups, 2))
    assert reached({**moment.state, "gamma": "3"}, moment.groups, 20) is None


@settings(max_examples=75)
@given(st.data())
def test_hostile_values_raise_value_errors_only(data):
    """Whatever stands in one place of state or group, and however far one asks to go."""
    kinds = st.one_of(single(), single(), several("SequentialLR"), several("ChainedScheduler"))
    moment = moments(data.draw(kinds), optimizer_of("Adam", 2), 2)[2]
    state, groups = moment.state, copy.deepcopy(moment.groups)
    where = data.draw(st.sampled_from([state, groups[0], *state.get("_schedulers", [])]))
    key = data.draw(st.sampled_from([key for key in where if key != "params"]))
    value = data.draw(st.sampled_from(HOSTILE))
    where[key] = [value] * 2 if isinstance(where[key], list) and data.draw(st.booleans()) else value
    for go in (lambda: advanced(state, groups, 3), lambda: moved_to(state, groups, 5)):
        try:
            stepped = go()
        except ValueError:
            continue
        assert stepped is None or all(math.isfinite(rate) for rate in stepped.rates)


@pytest.mark.parametrize(
    ("state", "groups"),
    [
        ({"_schedulers": []}, [{"lr": 0.1}]),
        ({"_schedulers": 3}, [{"lr": 0.1}]),
        ({"_schedulers": [3], "_milestones": 4}, [{"lr": 0.1}]),
        ([], [{"lr": 0.1}]),
        ({"gamma": 0.5, "base_lrs": [0.1], "last_epoch": 3}, [None]),
        ({"gamma": 0.5, "base_lrs": [0.1], "last_epoch": 3}, []),
        ({"gamma": 0.5, "base_lrs": [0.1], "last_epoch": 3}, [{}]),
    ],
)
def test_what_is_no_state_and_no_group_is_refused(state, groups):
    """Other types, no members, fewer groups than base rates."""
    for go in (lambda: advanced(state, groups), lambda: moved_to(state, groups, 1)):
        with pytest.raises(ValueError):
            go()


def test_walks_and_nests_are_bounded():
    """A number, a list or a list that holds itself does not buy time."""
    began = time.process_time()
    moment = moments(lambda optimizer: lr_scheduler.StepLR(optimizer, 2), optimizer_of(), 1)[1]
    for steps in (stepping.LONGEST_WALK + 1, 10**18):
        with pytest.raises(ValueError, match="one by one"):
            advanced(moment.state, moment.groups, steps)
        with pytest.raises(ValueError, match="one by one"):
            moved_to(moment.state, moment.groups, steps)
    with pytest.raises(ValueError, match="param groups"):
        advanced(moment.state, moment.groups * (stepping.LONGEST_WALK + 1))
    with pytest.raises(ValueError, match="before its start"):
        moved_to(moment.state, moment.groups, -1)
    with pytest.raises(ValueError, match="one by one"):
        advanced(moment.state, moment.groups, -1)
    itself: dict = {"_last_lr": [0.1]}
    itself["_schedulers"] = [itself] * 16
    with pytest.raises(ValueError, match="_schedulers"):
        advanced(itself, moment.groups)
    big = {**moment.state, "gamma": 2, "step_size": 1, "base_lrs": [3]}
    with pytest.raises(ValueError):
        advanced(big, [{"lr": 3}], 5000)
    assert time.process_time() - began < 2


def test_a_rate_in_a_tensor_is_computed_in_pythons_floats():
    """torch rounds to float32 at each step; this agrees to float32's digits."""
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.1))
    now, later = moments(lambda _: lr_scheduler.ExponentialLR(optimizer, 0.9), optimizer, 4)[3:]
    plain = Moment({**now.state, "base_lrs": [float(rate) for rate in now.state["base_lrs"]]}, now.groups)
    stepped = advanced(plain.state, [{"lr": float(now.groups[0]["lr"])}])
    assert math.isclose(float(later.groups[0]["lr"]), stepped.rates[0], rel_tol=1e-6)
