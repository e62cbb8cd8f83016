"""Numbers out of a file: of their own types, bounded, and named where they are none."""

import math

import pytest
import torch

from ckpt_doctor.trainers.schedules.values import LARGEST_EXPONENT, Absent, number, numbers, power, progress, whole
from ckpt_doctor.types import NumpyScalar


def test_numbers_keep_the_types_with_which_torch_computes():
    """`0.1 * 3` and `0.1 * 3.0` are one here; `//` and `%` of them need not be."""
    held = {"a": 3, "b": 0.5, 4: 2}
    assert (3, int) == (number(held, "a"), type(number(held, "a")))
    assert 0.5 == number(held, "b")
    assert 2 == number(held, 4)


@pytest.mark.parametrize("value", ["3", True, [3], 3j, 10**400, math.nan, math.inf, object()])
def test_what_is_no_finite_number_is_named(value):
    """NaN of a float is the caller's to judge; everything else is refused here."""
    if isinstance(value, float):
        assert repr(value) == repr(number({"gamma": value}, "gamma"))
        return
    with pytest.raises(ValueError, match="gamma is not a number"):
        number({"gamma": value}, "gamma")


@pytest.mark.parametrize("key", ["gamma", None, [1], "x" * 10_000])
def test_an_absent_number_is_told_apart_from_a_wrong_one(key):
    """By a name of bounded length."""
    with pytest.raises(Absent) as absent:
        number({"gamma": None}, key)
    assert len(str(absent.value)) < 60


def test_a_count_is_whole_and_a_list_has_one_for_each_group():
    assert 3 == whole({"a": 3}, "a")
    with pytest.raises(ValueError, match="whole"):
        whole({"a": 3.0}, "a")
    assert [0.1, 2] == numbers({"base_lrs": (0.1, 2)}, "base_lrs", 2)
    for wrong in ([0.1], "ab", {0: 1, 1: 2}):
        with pytest.raises(ValueError, match="one for each param group"):
            numbers({"base_lrs": wrong}, "base_lrs", 2)
    with pytest.raises(Absent):
        numbers({}, "base_lrs", 2)


def test_a_number_of_numpy_is_its_value():
    scalar = NumpyScalar.__new__(NumpyScalar)
    object.__setattr__(scalar, "value", 0.25)
    assert 0.25 == number({"gamma": scalar}, "gamma")


def test_a_power_is_pythons_and_never_an_integer_without_bound():
    assert 2**10 == power(2, 10)
    assert isinstance(power(-0.5, 0.5), complex)
    assert 1 == power(1, 10**9)
    with pytest.raises(OverflowError):
        power(2, LARGEST_EXPONENT + 1)


def test_every_scheduler_has_these_keys_in_torchs_order():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 1.0)
    optimizer.step()
    scheduler.step()
    saved = scheduler.state_dict()
    assert progress(1, [0.1]).items() <= saved.items()
    assert [key for key in saved if key in progress(1, [])] == list(progress(1, []))
