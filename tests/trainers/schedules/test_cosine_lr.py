"""CosineAnnealingLR without torch is torch's own, to the last bit."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from ckpt_doctor.trainers import schedules
from tests.trainers.schedules.torch_schedulers import adam, steps_of

rates = st.floats(1e-8, 10.0)


@settings(max_examples=60)
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
        closed = eta_min + (base_lr - eta_min) * (1 + math.cos(math.pi * step / t_max)) / 2
        assert math.isclose(lr, closed, rel_tol=0, abs_tol=1e-9 * max(base_lr, eta_min))
    assert lr == schedules.cosine_annealing(base_lr, t_max, eta_min, 6 * t_max)
    built = schedules.cosine_annealing_state([base_lr], t_max, eta_min, 6 * t_max)
    assert scheduler.state_dict() == built
    assert list(scheduler.state_dict()) == list(built)


def test_a_cosine_of_no_length_or_without_end_is_refused():
    """T_max 0 divides by zero in torch too; a step count out of a broken file does not cost hours."""
    with pytest.raises(ValueError, match="T_max=0"):
        schedules.next_cosine(0.1, 0.1, 0, 0.0, 1)
    with pytest.raises(ValueError, match="one by one"):
        schedules.cosine_annealing(0.1, 20, 0.0, 10**15)
