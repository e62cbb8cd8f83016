"""A scheduler's class is told by its keys, or not at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ckpt_doctor.inert.scheduler_kinds import counts, kind_of
from ckpt_doctor.types import Global, InertDict, Opaque
from tests.trainers.schedules.torch_schedulers import ARGUMENTS, moments, optimizer_of, several, single


@pytest.mark.parametrize("kind", ARGUMENTS)
@settings(max_examples=5)
@given(data=st.data())
def test_each_class_is_told_by_its_keys(kind, data):
    """Whatever its parameters; and whether it counts is what torch's own state shows."""
    for moment in moments(data.draw(single([kind])), optimizer_of("Adam"), 4):
        assert kind_of(moment.state) == kind
        assert counts(moment.state) == (moment.state["_step_count"] == moment.state["last_epoch"] + 1)


@pytest.mark.parametrize("kind", ["SequentialLR", "ChainedScheduler"])
@settings(max_examples=5)
@given(data=st.data())
def test_schedulers_of_several_are_told_by_their_lists(kind, data):
    """Neither counts."""
    state = moments(data.draw(several(kind)), optimizer_of(), 1)[1].state
    assert kind_of(state) == kind and not counts(state)


def test_the_two_lambdas_have_the_same_keys_and_one_name():
    """No key tells LambdaLR from MultiplicativeLR. Plateau is told, and does not count."""
    states = [
        lr_scheduler.LambdaLR(optimizer_of(), lambda epoch: 1).state_dict(),
        lr_scheduler.MultiplicativeLR(optimizer_of(), lambda epoch: 1).state_dict(),
    ]
    assert states[0].keys() == states[1].keys()
    assert {kind_of(state) for state in states} == {"LambdaLR"} and all(map(counts, states))
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer_of()).state_dict()
    assert kind_of(plateau) == "ReduceLROnPlateau" and not counts(plateau)


OLD = {
    "OneCycleLR": {"total_steps", "step_size_up", "step_size_down", "anneal_func", "cycle_momentum", "use_beta1"},
    "CyclicLR": {"max_lrs", "total_size", "step_ratio", "mode", "gamma", "scale_fn", "scale_mode", "cycle_momentum"},
    "CosineAnnealingLR": {"T_max", "eta_min"},
}


@pytest.mark.parametrize("kind", OLD)
def test_states_of_older_torch_are_told(kind):
    """torch 1.4 to 2.0: `verbose`, no `_is_initial`, functions in the place of names."""
    common = {"base_lrs", "last_epoch", "_step_count", "verbose", "_get_lr_called_within_step", "_last_lr"}
    assert kind_of(dict.fromkeys(OLD[kind] | common)) == kind


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"gamma": 0.1},
        {"last_epoch": 3},
        {"last_epoch": 3, "gamma": 0.1, "warmup_factor": 0.3},
        {"last_epoch": 3, "gamma": 0.1, "milestones": [3], "warmup_iters": 500, "warmup_method": "linear"},
        {"last_epoch": 3, 3: 4},
        {"last_epoch": 3, "base_lrs": [0.1], "total_steps": 90},
        dict.fromkeys(range(1000)) | {"last_epoch": 3},
        [("last_epoch", 3)],
    ],
)
def test_other_keys_are_of_no_class_that_is_known(state):
    """A class of the script's own may do anything with a gamma."""
    assert kind_of(state) is None and not counts(state)


def test_a_state_as_the_inert_reader_gives_it_is_told():
    """The Counter of a MultiStepLR is a dict subclass there."""
    milestones = InertDict(Opaque(Global("collections", "Counter"), ()))
    milestones[3] = 1
    assert kind_of({"milestones": milestones, "gamma": 0.1, "last_epoch": 3, "base_lrs": [0.1]}) == "MultiStepLR"
