"""A scheduler's next steps, and any position of it, from its state_dict: torch's own, to the last bit."""

import copy
import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ckpt_doctor.trainers.schedules import advanced, along, moved_to, moves, reached, stepping
from tests.trainers.schedules.torch_schedulers import ARGUMENTS, Moment, moments, nested, optimizer_of, several, single

optimizers = st.builds(optimizer_of, st.sampled_from(["SGD", "Adam"]), st.integers(1, 3))
HOSTILE = [None, 0, -1, 0.0, math.nan, math.inf, -0.5, 10**400, 10**18, 1e308, "3", True, [], [1], {}, {3: "x"}]


def same(moment, stepped):
    """Equal in all that a checkpoint holds, the order of the keys and the types of the numbers included."""
    assert repr(moment.state) == repr(stepped.state)
    assert repr(moment.cycled) == repr(list(stepped.groups))


def check_all(build, optimizer, data, length=24):
    taken = moments(build, optimizer, length)
    before = data.draw(st.integers(0, length - 1), label="before")
    after = data.draw(st.integers(before, length), label="after")
    start = copy.deepcopy(taken[before])
    same(taken[after], advanced(taken[before].state, taken[before].groups, after - before))
    assert start.state == taken[before].state and start.cycled == taken[before].cycled
    same(taken[before], moved_to(taken[after].state, taken[after].groups, before))
    same(taken[after], moved_to(taken[before].state, taken[before].groups, after))
    rates = [moment.cycled[0]["lr"] for moment in taken]
    assert rates[::3] == along(taken[after].state, taken[after].groups, range(0, length + 1, 3))
    assert rates[before::2] == along(
        taken[before].state, taken[before].groups, range(before, length + 1, 2), begun=before
    )


@pytest.mark.parametrize("kind", ARGUMENTS)
@settings(max_examples=25)
@given(optimizer=optimizers, data=st.data())
def test_each_class_goes_on_and_back_as_torch_does(kind, optimizer, data):
    """From any step to any later one by steps, and to any position from the start."""
    steps = 19 if kind == "OneCycleLR" else 24
    check_all(data.draw(single([kind])), optimizer, data, steps)


@pytest.mark.parametrize("kind", ["SequentialLR", "ChainedScheduler"])
@settings(max_examples=50)
@given(optimizer=optimizers, data=st.data())
def test_several_schedulers_go_on_and_back_as_torch_does(kind, optimizer, data):
    """With every member's own state, those that wait included."""
    check_all(data.draw(several(kind)), optimizer, data, 18)


def test_schedulers_inside_others_inside_others_go_on_but_have_no_known_start():
    """In which order a script built the innermost ones is nowhere in the state."""
    taken = moments(nested, optimizer_of("Adam", 2), 12)
    for step in range(12):
        same(taken[step + 1], advanced(taken[step].state, taken[step].groups))
    with pytest.raises(ValueError, match="order"):
        moved_to(taken[3].state, taken[3].groups, 2)


@pytest.mark.parametrize("several", [lr_scheduler.SequentialLR, lr_scheduler.ChainedScheduler])
def test_a_cyclic_before_a_one_cycle_starts_as_in_torch(several):
    """Each overwrites what the other found: the base rate in the groups, and the first rate."""

    def build(optimizer):
        members = [lr_scheduler.CyclicLR(optimizer, 1.0, 3.0, 3), lr_scheduler.OneCycleLR(optimizer, 0.3, 20)]
        return several(optimizer, members, [4]) if several is lr_scheduler.SequentialLR else several(members)

    taken = moments(build, optimizer_of("Adam", 2), 9)
    for position in range(10):
        same(taken[position], moved_to(taken[5].state, taken[5].groups, position))


def test_two_one_cycles_in_one_go_on_but_have_no_known_start():
    """The second overwrote the rates in the groups that the first began with."""
    taken = moments(
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer, [lr_scheduler.OneCycleLR(optimizer, top, 20) for top in (0.1, 0.3)], [4]
        ),
        optimizer_of(),
        9,
    )
    same(taken[9], advanced(taken[1].state, taken[1].groups, 8))
    with pytest.raises(ValueError, match="overwrites"):
        moved_to(taken[9].state, taken[9].groups, 2)


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


def test_plateau_and_classes_of_the_script_do_not_step():
    """One needs the metric; of the other the arithmetic is not known."""
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer_of()).state_dict()
    assert advanced(plateau, [{"lr": 0.1}]) is None
    own = {"gamma": 0.5, "warmup": 3, "base_lrs": [0.1], "last_epoch": 1}
    assert advanced(own, [{"lr": 0.1}]) is None and moved_to(own, [{"lr": 0.1}], 2) is None


def test_a_known_factor_makes_a_lambda_step():
    """What a trainer's package knows of its formula is enough."""
    taken = moments(
        lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)), optimizer_of(groups=2), 9
    )
    same(taken[7], advanced(taken[3].state, taken[3].groups, 4, factor=lambda epoch: 1 / (1 + epoch)))
    same(taken[5], moved_to(taken[9].state, taken[9].groups, 5, factor=lambda epoch: 1 / (1 + epoch)))
    assert advanced(taken[3].state, taken[3].groups, factor=lambda epoch: None) is None


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


@settings(max_examples=150)
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


def test_closed_forms_reach_any_position_at_once():
    """CosineAnnealingWarmRestarts and CyclicLR of a long run, position by position as torch's."""
    for build in (
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 7, 2),
        lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.1, 0.2, 7, mode="exp_range", gamma=0.999),
    ):
        taken = moments(build, optimizer_of(), 400)
        for position in range(0, 401, 19):
            same(taken[position], moved_to(taken[1].state, taken[1].groups, position))
        assert moved_to(taken[1].state, taken[1].groups, 10**9).rates


def test_a_rate_in_a_tensor_is_computed_in_pythons_floats():
    """torch rounds to float32 at each step; this agrees to float32's digits."""
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.1))
    now, later = moments(lambda _: lr_scheduler.ExponentialLR(optimizer, 0.9), optimizer, 4)[3:]
    plain = Moment({**now.state, "base_lrs": [float(rate) for rate in now.state["base_lrs"]]}, now.groups)
    stepped = advanced(plain.state, [{"lr": float(now.groups[0]["lr"])}])
    assert math.isclose(float(later.groups[0]["lr"]), stepped.rates[0], rel_tol=1e-6)
