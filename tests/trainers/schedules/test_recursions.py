"""Each rate is made from the one before: an edit stays, and a milestone of SequentialLR begins at the base rate."""

import pytest
import torch
from torch.optim import lr_scheduler

from ckpt_doctor.inert.scheduler_kinds import kind_of
from ckpt_doctor.trainers.schedules.recursions import MOST_MILESTONES, RECURSIONS
from tests.trainers.schedules.torch_schedulers import optimizer_of

BUILDS = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [0, 2, 2, 5], 0.5),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.3, 3),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.2, 0.9, 4),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 5, 2.0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 4, 1e-4),
}


@pytest.mark.parametrize("kind", BUILDS)
def test_a_rate_that_was_edited_goes_on_from_there_as_in_torch(kind):
    optimizer = optimizer_of()
    scheduler = BUILDS[kind](optimizer)
    rule, base = RECURSIONS[kind](scheduler.state_dict()), scheduler.base_lrs[0]
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.77
    for epoch in range(1, 9):
        before = optimizer.param_groups[0]["lr"]
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == rule.next(epoch, before, base)


@pytest.mark.parametrize("kind", BUILDS)
def test_a_milestone_begins_where_torch_begins_it(kind):
    optimizer = optimizer_of()
    after = BUILDS[kind](optimizer)
    several = lr_scheduler.SequentialLR(optimizer, [lr_scheduler.ExponentialLR(optimizer, 0.5), after], [2])
    rule = RECURSIONS[kind](after.state_dict())
    optimizer.step()
    several.step()
    several.step()
    assert optimizer.param_groups[0]["lr"] == rule.restarted(after.base_lrs[0])


@pytest.mark.parametrize("kind", BUILDS)
def test_building_changes_the_rate_of_those_whose_first_step_does(kind):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    rule = RECURSIONS[kind](BUILDS[kind](optimizer).state_dict())
    assert optimizer.param_groups[0]["lr"] == (rule.next(0, 0.1, 0.1) if rule.changes_at_start else 0.1)


def test_every_class_that_steps_so_has_its_recursion():
    assert set(BUILDS) == set(RECURSIONS)
    for kind, build in BUILDS.items():
        assert kind == kind_of(build(optimizer_of()).state_dict())


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("StepLR", {"step_size": "2", "gamma": 0.5}),
        ("MultiStepLR", {"milestones": [2, 5], "gamma": 0.5}),
        ("LinearLR", {"start_factor": 0.5, "end_factor": 1.0}),
        ("CosineAnnealingLR", {"T_max": None, "eta_min": 0.0}),
    ],
)
def test_parameters_that_are_none_say_so(kind, state):
    with pytest.raises(ValueError, match=r"absent|not a number|not a Counter"):
        RECURSIONS[kind](state)


def test_so_many_milestones_are_not_counted():
    """A list in a file must not buy time."""
    rule = RECURSIONS["MultiStepLR"]({"milestones": dict.fromkeys(range(MOST_MILESTONES + 1), 1), "gamma": 0.5})
    with pytest.raises(ValueError, match="milestones"):
        rule.restarted(0.1)
    assert 0.05 == rule.next(3, 0.1, 0.1)
