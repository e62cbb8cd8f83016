"""Schedules computed without torch are torch's own, to the last bit, over whole schedules."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ckpt_doctor import schedules
from ckpt_doctor.types import Global, Opaque

rates = st.floats(1e-8, 10.0)
momenta = st.floats(0.0, 0.99)


def adam(lr=0.01, groups=1):
    return torch.optim.Adam(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for _ in range(groups)], lr=lr, betas=(0.9, 0.999)
    )


def sgd(lr=0.01):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)


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


def steps_of(scheduler, optimizer, count):
    """State and group after 0, 1, ... `count` steps, as torch has them."""
    yield scheduler.state_dict(), dict(optimizer.param_groups[0])
    optimizer.step()
    for _ in range(count):
        scheduler.step()
        yield scheduler.state_dict(), dict(optimizer.param_groups[0])


@settings(max_examples=150, deadline=None)
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
            "_schedule_phases": schedules.one_cycle_phases(
                arguments["total_steps"], arguments["pct_start"], arguments["three_phase"]
            ),
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


@settings(max_examples=60, deadline=None)
@given(one_cycles, st.integers(1, 3), st.data())
def test_one_cycle_state_is_the_state_dict_torch_would_save(arguments, groups, data):
    """A state built from the arguments alone equals torch's, key order included, and so do the group's keys."""
    optimizer = adam(groups=groups)
    step = data.draw(st.integers(0, arguments["total_steps"]))
    try:
        scheduler = lr_scheduler.OneCycleLR(optimizer, **arguments)
        expected = list(steps_of(scheduler, optimizer, step))[-1][0]
    except ZeroDivisionError:
        return
    cycled = arguments["cycle_momentum"]
    group = schedules.one_cycle_group(
        arguments["max_lr"],
        arguments["div_factor"],
        arguments["final_div_factor"],
        arguments["base_momentum"] if cycled else None,
        arguments["max_momentum"] if cycled else None,
    )
    built = schedules.one_cycle_state(
        [group] * groups,
        arguments["total_steps"],
        step,
        pct_start=arguments["pct_start"],
        anneal=arguments["anneal_strategy"],
        three_phase=arguments["three_phase"],
        cycle_momentum=cycled,
    )
    assert expected == built
    assert list(expected) == list(built)
    saved = optimizer.param_groups[0]
    assert {key: saved[key] for key in group} == group
    assert [key for key in saved if key in group] == list(group)


def test_the_largest_rate_is_reached_where_the_first_phase_ends():
    """With pct_start 0.2 of 225 steps the top is at step 44, and step 225 overshoots the minimum."""
    group = schedules.one_cycle_group(0.01)
    state = schedules.one_cycle_state([group], 225, 0, pct_start=0.2)
    rate = [schedules.one_cycle(state, group, step).lr for step in range(226)]
    top = round(0.2 * 225) - 1
    assert top == rate.index(max(rate))
    assert group["max_lr"] == rate[top]
    assert group["min_lr"] == rate[224] < rate[225]


def test_states_from_before_schedule_phases_are_understood():
    """torch 1.4 stored step sizes and the anneal function itself; both say the same as today's keys."""
    group = schedules.one_cycle_group(0.1)
    today = schedules.one_cycle_state([group], 90, 0, pct_start=0.3, anneal="linear")
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
        ({"total_steps": 90, "_schedule_phases": schedules.one_cycle_phases(90)}, {}, "initial_lr is absent"),
        (
            {"total_steps": 90, "_schedule_phases": schedules.one_cycle_phases(90), "_anneal_func_type": "sine"},
            {},
            "unknown anneal strategy",
        ),
    ],
)
def test_a_state_that_cannot_be_used_says_why(state, group, reason):
    """Whatever a file holds, the answer is a ValueError that names what is wrong."""
    with pytest.raises(ValueError, match=reason):
        schedules.one_cycle(state, group, 3)


@settings(max_examples=150, deadline=None)
@given(rates, st.integers(1, 40), st.sampled_from([0.0, 1e-8, 1e-3]))
def test_cosine_annealing_is_torchs_over_three_cycles(base_lr, t_max, eta_min):
    """The recursion equals torch's bit for bit through minima and restarts; the closed form stays beside it."""
    optimizer = adam(base_lr)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=t_max, eta_min=eta_min)
    lr = base_lr
    for step, (_, group) in enumerate(steps_of(scheduler, optimizer, 6 * t_max)):
        if step:
            lr = schedules.next_cosine(lr, base_lr, t_max, eta_min, step)
        assert group["lr"] == lr
        closed = schedules.cosine_closed_form(base_lr, t_max, eta_min, step)
        assert math.isclose(lr, closed, rel_tol=0, abs_tol=1e-9 * max(base_lr, eta_min))
    assert lr == schedules.cosine_annealing(base_lr, t_max, eta_min, 6 * t_max)
    built = schedules.cosine_annealing_state([base_lr], t_max, eta_min, 6 * t_max)
    assert scheduler.state_dict() == built
    assert list(scheduler.state_dict()) == list(built)


def test_the_cosine_closed_form_is_what_torch_uses_for_an_explicit_epoch():
    """`step(epoch)` jumps by the closed form; the recursion of the same epoch can end in other digits."""
    different = 0
    for base_lr in (0.01, 0.003, 0.1, 0.02):
        for epoch in range(1, 45):
            optimizer = adam(base_lr)
            scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-8)
            optimizer.step()
            with pytest.warns(UserWarning, match="epoch parameter"):
                scheduler.step(epoch)
            closed = schedules.cosine_closed_form(base_lr, 20, 1e-8, epoch)
            assert optimizer.param_groups[0]["lr"] == closed
            different += closed != schedules.cosine_annealing(base_lr, 20, 1e-8, epoch)
    assert different > 0


def test_a_cosine_of_no_length_or_without_end_is_refused():
    """T_max 0 divides by zero in torch too; a step count out of a broken file does not cost hours."""
    with pytest.raises(ValueError, match="T_max=0"):
        schedules.next_cosine(0.1, 0.1, 0, 0.0, 1)
    with pytest.raises(ValueError, match="T_max=0"):
        schedules.cosine_closed_form(0.1, 0, 0.0, 1)
    with pytest.raises(ValueError, match="one by one"):
        schedules.cosine_annealing(0.1, 20, 0.0, 10**15)


@pytest.mark.parametrize(
    ("lradj", "expected"),
    [
        ("type1", [0.01, 0.005, 0.0025, 0.00125]),
        ("type2", [None, 5e-5, None, 1e-5]),
        ("type3", [0.01, 0.01, 0.01, 0.01 * 0.9]),
        ("PEMS", [0.01 * 0.95, 0.01 * 0.95**2, 0.01 * 0.95**3, 0.01 * 0.95**4]),
        ("constant", [0.01] * 4),
    ],
)
def test_the_epoch_wise_modes_set_these_rates_in_the_first_four_epochs(lradj, expected):
    """Epochs count from 1; type2 leaves the rate alone between its entries."""
    assert expected == [schedules.adjust_learning_rate(lradj, 0.01, epoch) for epoch in range(1, 5)]


def test_modes_with_a_stepped_scheduler_are_not_epoch_wise():
    """TST and COS have no `adjust_learning_rate` of their own."""
    for lradj in ("TST", "COS", "type4"):
        with pytest.raises(ValueError, match="not an epoch-wise mode"):
            schedules.adjust_learning_rate(lradj, 0.01, 1)


# --- any scheduler ---------------------------------------------------------------------------------------------------


def lambda_lr(optimizer):
    return lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch)


def sequential(optimizer):
    return lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer), lr_scheduler.ExponentialLR(optimizer, 0.9), lambda_lr(optimizer)],
        milestones=[3, 9],
    )


SCHEDULERS = {
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=7),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=4, T_mult=2),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "SequentialLR": sequential,
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=5),
    "LambdaLR": lambda_lr,
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [3, 8]),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 4),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, total_iters=9),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
}
COUNTED = sorted(SCHEDULERS.keys() - {"CosineAnnealingWarmRestarts", "ReduceLROnPlateau", "SequentialLR"})


def run_steps(scheduler, optimizer, steps):
    optimizer.step()
    for _ in range(steps):
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(1.0)
        else:
            scheduler.step()


@settings(max_examples=15, deadline=None)
@given(steps=st.integers(0, 25), groups=st.integers(1, 3))
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_nothing_is_said_about_a_healthy_scheduler(kind, steps, groups):
    """Every torch scheduler is recognised by its state and is consistent with it after any number of steps."""
    optimizer = adam(groups=groups)
    scheduler = SCHEDULERS[kind](optimizer)
    run_steps(scheduler, optimizer, steps)
    state = scheduler.state_dict()
    assert kind == schedules.scheduler_kind(state)
    assert not schedules.inconsistencies(state, optimizer.param_groups, fresh=True)
    assert not schedules.inconsistencies(state)


def test_nothing_is_said_about_healthy_schedulers_that_count_differently():
    """Built in the middle, stepped by epoch, wrapped for gradient accumulation, a group added: all of that is fine."""
    optimizer = adam()
    optimizer.param_groups[0]["initial_lr"] = 0.01
    built_late = lr_scheduler.StepLR(optimizer, 4, last_epoch=9)
    by_epoch = lr_scheduler.LambdaLR(adam(), lambda epoch: 0.9**epoch)
    with pytest.warns(UserWarning):
        by_epoch.step(7.5)
    accumulated = lr_scheduler.ExponentialLR(adam(), 0.9)
    accumulated._step_count += 3
    fractional = lr_scheduler.CosineAnnealingWarmRestarts(adam(), T_0=3)
    fractional.step(4.25)
    for scheduler in (built_late, by_epoch, accumulated, fractional):
        assert not schedules.inconsistencies(scheduler.state_dict(), scheduler.optimizer.param_groups)
    grown = adam()
    stepped = lr_scheduler.StepLR(grown, 4)
    grown.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.5})
    assert not schedules.inconsistencies(stepped.state_dict(), grown.param_groups)
    run_steps(stepped, grown, 2)
    assert not schedules.inconsistencies(stepped.state_dict(), grown.param_groups)


@pytest.mark.parametrize("kind", [kind for kind in COUNTED if kind != "ChainedScheduler"])
def test_a_step_count_off_by_one_is_named_where_steps_are_counted(kind):
    """`_step_count` that is not `last_epoch + 1` in a scheduler that was built fresh."""
    optimizer = adam()
    scheduler = SCHEDULERS[kind](optimizer)
    run_steps(scheduler, optimizer, 3)
    state = scheduler.state_dict() | {"_step_count": 3}
    [fault] = schedules.inconsistencies(state, optimizer.param_groups, fresh=True)
    assert (fault.kind, fault.found, fault.expected) == ("step-count", 3, 4)


@pytest.mark.parametrize("kind", ["OneCycleLR", "CyclicLR", "LambdaLR", "CosineAnnealingWarmRestarts"])
def test_another_number_of_groups_is_named_where_the_next_step_would_fail(kind):
    """The state of a one-group run beside an optimizer of two groups."""
    optimizer = adam()
    state = SCHEDULERS[kind](optimizer).state_dict()
    [fault] = schedules.inconsistencies(state, adam(groups=2).param_groups)
    assert (fault.kind, fault.found, fault.expected) == ("groups", 1, 2)


@pytest.mark.parametrize("kind", ["OneCycleLR", "CosineAnnealingWarmRestarts"])
def test_a_last_rate_that_is_not_the_schedules_is_named(kind):
    """A position moved without its rate, as a half-done repair leaves it."""
    optimizer = adam()
    scheduler = SCHEDULERS[kind](optimizer)
    run_steps(scheduler, optimizer, 2)
    state = scheduler.state_dict() | {"last_epoch": 3, "_step_count": 4, "T_cur": 3}
    [fault] = schedules.inconsistencies(state, optimizer.param_groups, fresh=True)
    assert ("last-lr", state["_last_lr"]) == (fault.kind, fault.found)
    scheduler.step()
    assert scheduler.get_last_lr() == fault.expected


def test_positions_that_are_not_numbers_are_named():
    """Text and None in the place of a count."""
    state = lr_scheduler.StepLR(adam(), 4).state_dict() | {"last_epoch": "3", "_step_count": None}
    faults = schedules.inconsistencies(state, adam().param_groups)
    assert [(fault.kind, fault.key) for fault in faults] == [("type", "last_epoch"), ("type", "_step_count")]
    assert not schedules.scheduler_kind({"my": "own"})


def test_a_damaged_schedule_is_left_to_other_rules():
    """Where the schedule cannot be computed, its last rate is not judged."""
    state = schedules.one_cycle_state([schedules.one_cycle_group(0.1)], 30, 4)
    assert not schedules.inconsistencies(state | {"_schedule_phases": None}, [{"initial_lr": 0.1}])
    restarts = {"T_0": 4, "T_i": 0, "T_cur": 1, "eta_min": 0, "base_lrs": [0.1], "_last_lr": [0.1], "last_epoch": 1}
    assert not schedules.inconsistencies(restarts)
