"""Factors of transformers' schedules equal those that transformers 5.24 computed (`transformers_factors.json`)."""

import itertools
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ckpt_doctor.trainers.schedules import along, hf_lambda
from tests.trainers.schedules.torch_schedulers import moments, optimizer_of

COMPUTED = json.loads(Path(__file__).with_name("transformers_factors.json").read_text())
NAMES = sorted({case["name"] for case in COMPUTED})


@pytest.mark.parametrize("case", COMPUTED, ids=lambda case: case["name"])
def test_factors_are_those_that_transformers_computed(case):
    """Begin, end of the warm-up, middle, end and beyond, to the last bit."""
    place = {key: case[key] for key in ("warmup", "total", "rate", "kwargs")}
    computed = {step: hf_lambda(case["name"], step=int(step), **place) for step in case["factors"]}
    unsettled = case["name"] == "warmup_stable_decay" and "warmup_type" not in case["kwargs"]
    expected = {
        step: None if unsettled and case["kwargs"].get("min_lr_ratio") and int(step) < case["warmup"] else factor
        for step, factor in case["factors"].items()
    }
    assert expected == computed


def test_a_checkpoint_of_the_trainer_goes_on_with_its_factor():
    """The factor makes the LambdaLR's next rate."""
    place = {"warmup": 3, "total": 20}
    taken = moments(
        lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: hf_lambda("linear", step=step, **place)),
        optimizer_of("Adam", 2),
        20,
    )
    factor = lambda step: hf_lambda("linear", step=step, **place)  # noqa: E731
    for step, (now, later) in enumerate(itertools.pairwise(taken)):
        assert along(now.state, now.groups, [step + 1], factor, begun=step) == [later.groups[0]["lr"]]
    assert [group["lr"] for group in taken[20].groups] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("reduce_lr_on_plateau", {}),
        ("greedy", {}),
        ("my_schedule", {}),
        ("cosine", {"cycles": 2}),
        ("linear", "{}"),
        ("warmup_stable_decay", {"num_decay_steps": 5, "min_lr_ratio": 0.1}),
        ("warmup_stable_decay", {"num_decay_steps": 5, "warmup_type": "cubic"}),
        ("warmup_stable_decay", {"num_decay_steps": 5, "warmup_type": ["linear"]}),
    ],
)
def test_what_is_not_known_or_differs_between_releases_is_none(name, kwargs):
    """Older releases warm up from 0 whatever the `min_lr_ratio`."""
    assert hf_lambda(name, step=1, warmup=3, total=20, rate=0.1, kwargs=kwargs) is None


@pytest.mark.parametrize(
    ("name", "kwargs", "reason"),
    [
        ("polynomial", {}, "not known"),
        ("cosine_with_min_lr", {"min_lr": 0.1}, "not known"),
        ("cosine_with_min_lr", {}, "min_lr_rate is absent"),
        ("cosine_with_min_lr", {"min_lr": 0.1, "min_lr_rate": 0.1}, "not both"),
        ("warmup_stable_decay", {}, "num_decay_steps is absent"),
        ("cosine", {"num_cycles": "2"}, "not a number"),
    ],
)
def test_values_that_do_not_allow_it_say_why(name, kwargs, reason):
    """The command's rate where the formula needs it, and arguments that transformers refuses."""
    with pytest.raises(ValueError, match=reason):
        hf_lambda(name, step=5, warmup=3, total=20, kwargs=kwargs)


@settings(max_examples=75)
@given(st.sampled_from(NAMES), st.data())
def test_hostile_values_raise_value_errors_only(name, data):
    """Of the command as well as of its arguments."""
    value = st.sampled_from([0, -1, 1e308, 10**400, 10**18, math.nan, math.inf, "3", None, [], True, 0.5])
    keys = {key for case in COMPUTED if case["name"] == name for key in case["kwargs"]}
    kwargs = {key: data.draw(value) for key in keys}
    place = {key: data.draw(st.integers(0, 9) | value) for key in ("step", "warmup", "total")}
    try:
        factor = hf_lambda(name, **place, rate=data.draw(value), kwargs=kwargs)
    except ValueError:
        return
    assert factor is None or isinstance(factor, (int, float))
