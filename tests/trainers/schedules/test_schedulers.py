"""Each of torch's schedulers, made of its state_dict, goes on and back as torch's class does, to the last bit."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ckpt_doctor.trainers.schedules import advanced, along, moved_to
from tests.trainers.schedules.torch_schedulers import ARGUMENTS, moments, nested, optimizer_of, same, several, single

optimizers = st.builds(optimizer_of, st.sampled_from(["SGD", "Adam"]), st.integers(1, 3))


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
    rates = [moment.cycled[0]["lr"] for moment in taken]
    assert rates == along(taken[9].state, taken[9].groups, range(10), lambda epoch: 1 / (1 + epoch))
    assert rates[3:] == along(taken[3].state, taken[3].groups, range(3, 10), lambda epoch: 1 / (1 + epoch), begun=3)
    assert along(taken[3].state, taken[3].groups, range(10), lambda epoch: None) is None
    assert advanced(taken[3].state, taken[3].groups) is None


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
