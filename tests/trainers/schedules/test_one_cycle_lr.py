"""OneCycleLR without torch is torch's own, to the last bit, over whole schedules."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ckpt_doctor.trainers import schedules
from ckpt_doctor.types import Global, Opaque
from tests.trainers.schedules.torch_schedulers import adam, steps_of

rates = st.floats(1e-8, 10.0)
momenta = st.floats(0.0, 0.99)


def sgd(lr=0.01):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)


def phases(total_steps, pct_start=0.3, three_phase=False, **_):
    """`_schedule_phases`, as `OneCycleLR.__init__` would make it if it did not raise."""
    ends = [pct_start * total_steps - 1, *([2 * pct_start * total_steps - 2] if three_phase else []), total_steps - 1]
    return [{"end_step": float(end), "start_lr": "initial_lr", "end_lr": "max_lr"} for end in ends]


one_cycles = st.fixed_dictionaries(
    {
        "max_lr": rates,
        "total_steps": st.integers(3, 120),
        "pct_start": st.floats(0.0, 1.0),
        "anneal_strategy": st.sampled_from(["cos", "linear"]),
        "three_phase": st.booleans(),
        "cycle_momentum": st.booleans(),
        "base_momentum": momenta,
        "max_momentum": momenta,
        "div_factor": st.floats(1.0, 1e3),
        "final_div_factor": st.floats(1.0, 1e6),
    }
)


@settings(max_examples=75)
@given(one_cycles, st.booleans())
def test_one_cycle_is_torchs_at_every_step_up_to_the_overshoot(arguments, beta1):
    """Rate and momentum equal torch's from step 0 to total_steps, and the step after raises in both."""
    optimizer = adam() if beta1 else sgd()
    try:
        scheduler = lr_scheduler.OneCycleLR(optimizer, **arguments)
        points = list(steps_of(scheduler, optimizer, arguments["total_steps"]))
    except ZeroDivisionError:  # a phase without length, which torch does not survive either
        state = {
            "total_steps": arguments["total_steps"],
            "_schedule_phases": phases(**arguments),
        }
        with pytest.raises(ValueError, match="no length"):
            for step in range(arguments["total_steps"] + 1):
                schedules.one_cycle(state, schedules.one_cycle_group(arguments["max_lr"]), step)
        return
    final = points[-1][0]
    for step, (_, group) in enumerate(points):
        momentum = (group["betas"][0] if beta1 else group["momentum"]) if arguments["cycle_momentum"] else None
        assert schedules.OneCyclePoint(group["lr"], momentum) == schedules.one_cycle(final, group, step)
    with pytest.raises(ValueError, match="Tried to step"):
        scheduler.step()
    with pytest.raises(ValueError, match="past the end"):
        schedules.one_cycle(final, points[-1][1], arguments["total_steps"] + 1)


@settings(max_examples=60)
@given(rates, st.integers(3, 120), st.floats(0.0, 1.0), st.data())
def test_one_cycle_state_is_the_state_dict_torch_would_save(max_lr, total_steps, pct_start, data):
    """A state built from the arguments alone equals torch's, key order included, and so do the group's keys."""
    optimizer = adam()
    step = data.draw(st.integers(0, total_steps))
    try:
        scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr, total_steps, pct_start=pct_start)
        expected = list(steps_of(scheduler, optimizer, step))[-1][0]
    except ZeroDivisionError:
        return
    group = schedules.one_cycle_group(max_lr)
    built = schedules.one_cycle_state(group, total_steps, step, pct_start)
    assert expected == built
    assert list(expected) == list(built)
    saved = optimizer.param_groups[0]
    assert {key: saved[key] for key in group} == group
    assert [key for key in saved if key in group] == list(group)


def test_the_largest_rate_is_reached_where_the_first_phase_ends():
    """With pct_start 0.2 of 225 steps the top is at step 44, and step 225 overshoots the minimum."""
    group = schedules.one_cycle_group(0.01)
    state = schedules.one_cycle_state(group, 225, 0, 0.2)
    rate = [schedules.one_cycle(state, group, step).lr for step in range(226)]
    top = round(0.2 * 225) - 1
    assert top == rate.index(max(rate))
    assert group["max_lr"] == rate[top]
    assert group["min_lr"] == rate[224] < rate[225]


def test_states_from_before_schedule_phases_are_understood():
    """torch 1.4 stored step sizes and the anneal function itself; both say the same as today's keys."""
    group = schedules.one_cycle_group(0.1)
    today = {**schedules.one_cycle_state(group, 90, 0), "_anneal_func_type": "linear"}
    function = Opaque(
        Global("builtins", "getattr"), (Global("torch.optim.lr_scheduler", "OneCycleLR"), "_annealing_linear")
    )
    old = {
        "total_steps": 90,
        "step_size_up": float(0.3 * 90) - 1,
        "step_size_down": float(90 - (float(0.3 * 90) - 1)) - 1,
        "anneal_func": function,
        "cycle_momentum": True,
    }
    cosine = {**old, "anneal_func": Global("torch.optim.lr_scheduler", "OneCycleLR._annealing_cos")}
    for step in range(91):
        assert schedules.one_cycle(today, group, step) == schedules.one_cycle(old, group, step)
        today_cosine = schedules.one_cycle({**today, "_anneal_func_type": "cos"}, group, step)
        assert today_cosine == schedules.one_cycle(cosine, group, step)


@pytest.mark.parametrize(
    ("state", "group", "reason"),
    [
        ({}, {}, "total_steps is absent"),
        ({"total_steps": "90"}, {}, "total_steps is not a number"),
        ({"total_steps": True}, {}, "total_steps is not a number"),
        ({"total_steps": 90}, {}, "no usable _schedule_phases"),
        ({"total_steps": 90, "_schedule_phases": [3]}, {}, "no usable _schedule_phases"),
        ({"total_steps": 90, "_schedule_phases": phases(90)}, {}, "initial_lr is absent"),
        (
            {"total_steps": 90, "_schedule_phases": phases(90), "_anneal_func_type": "sine"},
            {},
            "unknown anneal strategy",
        ),
    ],
)
def test_a_state_that_cannot_be_used_says_why(state, group, reason):
    """Whatever a file holds, the answer is a ValueError that names what is wrong."""
    with pytest.raises(ValueError, match=reason):
        schedules.one_cycle(state, group, 3)
