"""The rate at a place of training in each mode, against torch's own schedulers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ckpt_doctor.trainers.time_llm import rates
from ckpt_doctor.trainers.time_llm.modes import IDLE
from ckpt_doctor.types import Member
from tests.trainers.time_llm.members import EPOCHS, MAX_LR, STEPS, best, scheduled, step_file

BASE = MAX_LR / 25
"""The rate that building OneCycleLR leaves."""


def changed(member: Member, slot: str, key: str, value: object) -> Member:
    """The member with another value under a key of its scheduler, or of its param group; `...` takes the key away."""
    root: dict[str, Any] = dict(member.checkpoint.root)
    held = root["scheduler"] if slot == "scheduler" else root["optimizer"]["param_groups"][0]
    held = {name: old for name, old in held.items() if name != key} | ({} if value is ... else {key: value})
    root[slot if slot == "scheduler" else "optimizer"] = (
        held if slot == "scheduler" else {"state": {}, "param_groups": [held]}
    )
    return replace(member, checkpoint=replace(member.checkpoint, root=root))


def torch_rates(mode: str, steps: int) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=MAX_LR)
    if mode == "COS":
        scheduler: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=1e-8)
    else:
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, MAX_LR, total_steps=STEPS * EPOCHS)
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("mode", ["TST", "COS"])
def test_every_rate_is_torchs_from_whichever_place_the_file_stands_at(mode: str) -> None:
    """The whole curve, told from a file that was saved at its beginning and from one of its middle."""
    expected = torch_rates(mode, 30)
    for at in (0, 17):
        member = scheduled(step_file(17, 1), mode, at)
        assert expected == [found.lr[0] for n in range(31) if (found := rates.rates_at(member, mode, n, 0))]


def test_the_schedule_is_stepped_once_a_step_once_an_epoch_or_never() -> None:
    """And by each process, where Accelerate has prepared it."""
    where = {"global_step": 25, "finished_epochs": 2, "world_size": 2}
    assert [50, 4, 0] == [rates.position(mode, **where) for mode in ("TST", "COS", "type1")]


def test_in_type2_the_rate_of_the_last_entry_passed_stays() -> None:
    """Before the first one no call has set a rate yet."""
    assert [None, 5e-5, 5e-5, 1e-5] == [rates.idle_rate("type2", BASE, epochs) for epochs in (1, 2, 3, 4)]
    assert rates.idle_rate("type2", BASE, 1000) == rates.idle_rate("type2", BASE, 20)
    assert rates.idle_rate("type1", BASE, 0) is None


def test_an_idle_run_keeps_the_rate_that_building_its_schedule_left_until_an_epoch_is_over() -> None:
    member = scheduled(step_file(5, 0), "type1", 0)
    found = [at.lr[0] for epochs in (0, 1, 2) if (at := rates.rates_at(member, "type1", 0, epochs))]
    assert [BASE, BASE, BASE / 2] == pytest.approx(found)


def test_the_initial_rate_is_told_by_the_schedule_or_by_its_groups() -> None:
    """Once the schedule has moved, `_last_lr` says another."""
    member = scheduled(step_file(5, 0), "type1", 0)
    assert (member.state.lr,) == rates.initial_rates(member), "to the last bit"
    moved = scheduled(step_file(5, 0), "TST", 5)
    assert (BASE,) == rates.initial_rates(moved)
    assert (BASE,) == rates.initial_rates(changed(moved, "scheduler", "base_lrs", ...))
    assert () == rates.initial_rates(best(20, 2))


@pytest.mark.parametrize("mode", ["TST", "COS", "type1"])
def test_a_file_without_what_the_schedule_needs_has_no_rates(mode: str) -> None:
    """Nor one whose values no schedule can work with."""
    member = scheduled(step_file(15, 1), mode, 1)
    assert rates.rates_at(member, mode, 1, 1) is not None
    for slot, key in (("scheduler", "_schedule_phases"), ("scheduler", "T_max"), ("group", "max_lr")):
        broken = changed(member, slot, key, "text")
        assert (rates.rates_at(broken, mode, 1, 1) is None) is (
            key in {"TST": ("_schedule_phases", "max_lr"), "COS": ("T_max",)}.get(mode, ())
        )
    assert rates.rates_at(step_file(15, 1), mode, 1, 1) is None


def test_a_rate_tells_the_idle_modes_that_can_have_set_it() -> None:
    """After three epochs each has another one; after one only PEMS and type2 differ from the others."""
    after_three = {"type1": BASE / 4, "type2": 5e-5, "type3": BASE, "PEMS": BASE * 0.95**3}
    for mode, rate in after_three.items():
        found = list(rates.idle_modes_of(scheduled(step_file(35, 3), mode, 0, rate), (3,), None))
        assert mode in found
        assert not set(found) & (set(after_three) - {mode})
    assert [*IDLE] == [*rates.idle_modes_of(scheduled(step_file(5, 0), "type1", 0), (0,), None)]
    assert [] == [*rates.idle_modes_of(scheduled(step_file(35, 3), "type1", 0, 0.123), (3,), None)]


def test_a_resumed_run_may_have_its_own_option_as_the_base() -> None:
    """The trainer multiplies `--learning_rate` again, which is 25 times what the first launch went on with."""
    jumped = scheduled(step_file(35, 3), "type1", 0, 0.3 / 4)
    assert [] == [*rates.idle_modes_of(jumped, (3,), None)]
    assert ["type1"] == [*rates.idle_modes_of(jumped, (3,), 0.3)]


@pytest.mark.parametrize(
    ("mode", "slot", "key", "value", "fails"),
    [
        ("TST", "scheduler", "total_steps", 50, False),
        ("TST", "group", "max_lr", "text", True),
        ("TST", "group", "max_lr", float("inf"), True),
        ("TST", "scheduler", "use_beta1", False, True),
        ("TST", "group", "max_lr", ..., False),
        ("COS", "scheduler", "T_max", 20, False),
        ("COS", "scheduler", "T_max", 0, True),
    ],
    ids=["healthy", "text", "infinite", "beta1-stays", "absent-is-another-rules", "healthy-cosine", "no-period"],
)
def test_a_step_that_would_raise_or_leave_the_curve_is_told_before_it_is_made(
    mode: str, slot: str, key: str, value: object, fails: bool
) -> None:
    member = changed(scheduled(step_file(15, 1), mode, 3), slot, key, value)
    assert fails is bool(rates.next_step_fails(member))
