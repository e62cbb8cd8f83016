"""The rates of a run: by the saved command's formula, or by what the parts say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import repair, scan
from ckpt_doctor.trainers.hf_trainer import rates
from ckpt_doctor.types import Member
from tests.trainers.hf_trainer.runs import (
    ARGUMENTS,
    BEST,
    LOSSES,
    RATE,
    RESTORED,
    TOTAL,
    change_state,
    judged,
    linear,
    save_arguments,
    told,
)
from tests.trainers.hf_trainer.values import adam, command, lambda_lr, member


@pytest.mark.parametrize("steps, resume", [(4, "identical"), (2, "open")])
def test_a_plateau_makes_a_step_at_each_evaluation(best_run: Path, steps: int, resume: str) -> None:
    folder = best_run / "checkpoint-20"
    saved = torch.load(folder / "optimizer.pt")
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(3))])
    optimizer.param_groups[0]["lr"] = saved["param_groups"][0]["lr"]
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for loss in list(LOSSES.values())[:steps]:
        scheduler.step(loss)
    torch.save(
        {**scheduler.state_dict(), "_last_lr": [g["lr"] for g in saved["param_groups"]]}, folder / "scheduler.pt"
    )
    command = {**ARGUMENTS, **BEST, "lr_scheduler_type": "reduce_lr_on_plateau", RESTORED: True}
    save_arguments(folder, command)
    assert (resume, set()) == (judged(folder).resume, told(judged(folder)))
    # Resumed at step 13, which is no evaluation's: the one on start is not a step of the plateau
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    change_state(folder, log_history=[{"epoch": 1.3, "eval_loss": 9.0, "step": 13}, *log])
    assert "open" == judged(folder).resume
    by_epochs = "identical" if steps == 2 else "open"  # of which there are two
    for strategy, expected in (("steps", resume), ("epoch", by_epochs)):
        save_arguments(folder, {**command, "eval_on_start": True, "eval_strategy": strategy})
        assert expected == judged(folder).resume


def restarting(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 5)


def in_sequence(optimizer: torch.optim.Optimizer) -> Any:
    kinds = torch.optim.lr_scheduler
    members = [kinds.LinearLR(optimizer, total_iters=5), kinds.CosineAnnealingLR(optimizer, 35)]
    return kinds.SequentialLR(optimizer, members, [5])


def chained(optimizer: torch.optim.Optimizer) -> Any:
    kinds = torch.optim.lr_scheduler
    return kinds.ChainedScheduler([kinds.LinearLR(optimizer, total_iters=5), kinds.ExponentialLR(optimizer, 0.9)])


def of_a_function(optimizer: torch.optim.Optimizer) -> Any:
    kinds = torch.optim.lr_scheduler
    members = [kinds.LambdaLR(optimizer, linear), kinds.ExponentialLR(optimizer, 0.9)]
    return kinds.SequentialLR(optimizer, members, [5])


@pytest.mark.parametrize("make", [restarting, in_sequence, chained, of_a_function])
def test_a_schedule_with_an_inner_state_is_at_the_step(run: Path, make: Callable[[Any], Any]) -> None:
    for step in (14, 21):
        saved = torch.load(run / f"checkpoint-{step}/optimizer.pt")
        parameters = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(3))]
        optimizer = torch.optim.AdamW([{"params": one} for one in parameters], RATE)
        scheduler = make(optimizer)
        for _ in range(step):
            optimizer.step()
            scheduler.step()
        for group in saved["param_groups"]:
            group.update(lr=optimizer.param_groups[0]["lr"])
        torch.save(saved, run / f"checkpoint-{step}/optimizer.pt")
        torch.save(scheduler.state_dict(), run / f"checkpoint-{step}/scheduler.pt")
    folder = run / "checkpoint-21"
    assert ("identical", set()) == (judged(folder).resume, told(judged(folder)))
    right = torch.load(folder / "scheduler.pt")
    shutil.copy(run / "checkpoint-14/scheduler.pt", folder / "scheduler.pt")
    assert "R501" in told(judged(folder)), "it is of another step"
    (result,) = repair.migrate([folder])
    if make is of_a_function:
        assert "refused" == result.status
    else:
        assert "migrated" == result.status and right == torch.load(folder / "scheduler.pt")


def test_the_rate_of_an_optimizer_whose_moments_may_be_of_another_step_is_not_set(run: Path) -> None:
    """SGD counts no steps: with the rate of another step its momentum may be of that step as well."""
    for step in (14, 21):
        saved = torch.load(run / f"checkpoint-{step}/optimizer.pt")
        saved["state"] = {key: {"momentum_buffer": entry["exp_avg"]} for key, entry in saved["state"].items()}
        for group in saved["param_groups"]:
            del group["betas"]
        torch.save(saved, run / f"checkpoint-{step}/optimizer.pt")
    folder = run / "checkpoint-21"
    assert set() == told(judged(folder))
    shutil.copy(run / "checkpoint-14/optimizer.pt", folder / "optimizer.pt")
    assert ("differs", {"R504"}) == (judged(folder).resume, told(judged(folder)))
    assert "refused" == repair.migrate([folder])[0].status


def test_the_formula_of_the_saved_command_gives_every_rate_of_a_run(run: Path) -> None:
    """From whichever checkpoint it is asked for; with another number of steps it is another one."""
    for file in scan([run]).files:
        assert rates.fits_formula(file.member)
        for step in (0, 1, 14, 39, TOTAL):
            assert (RATE * linear(step),) * 2 == rates.computed(file.member, step)
        longer = rates.computed(file.member, 14, total=2 * TOTAL)
        assert longer is not None and longer[0] > RATE * linear(14)
        assert RATE == rates.first_rate(file.member)


def resumed(**changes: Any) -> Member:
    """A checkpoint of a linear schedule of 40 steps at step 14."""
    arguments = {"lr_scheduler_type": "linear", "warmup_steps": 0, "learning_rate": 0.01, "max_steps": 40}
    rate = 0.01 * 26 / 40
    found = {"optimizer": adam(14, rate, 0.01), "scheduler": lambda_lr(14, rate), "state": {"global_step": 14}}
    return member(**(found | {"arguments": command(**arguments)} | changes))


def test_a_checkpoint_that_is_of_one_step_goes_on_with_its_own_rate() -> None:
    told = rates.rates_at(resumed(), 14, True)
    assert told is not None
    assert ((0.01 * 26 / 40,), "own rate" in told.source) == (told.value.lr, True)


def test_the_rate_of_another_step_is_the_formulas_or_that_of_the_part_that_is_right() -> None:
    late = resumed(scheduler=lambda_lr(7, 0.01 * 33 / 40))
    by_formula, by_parts = rates.rates_at(late, 14, True), rates.rates_at(late, 14, False)
    assert by_formula is not None and by_parts is not None
    assert ((0.01 * 26 / 40,), "linear" in by_formula.source) == (by_formula.value.lr, True)
    assert "optimizer's own" in by_parts.source
    foreign = rates.rates_at(resumed(optimizer=adam(14, 0.5, 0.01)), 14, False)
    assert foreign is not None and "_last_lr" in foreign.source
    both = resumed(scheduler=lambda_lr(7, 0.0082), optimizer=adam(7, 0.0082, 0.01))
    assert rates.rates_at(both, 14, False) is None


def test_base_rates_of_another_command_are_told_from_those_of_the_optimizer() -> None:
    assert (0.01,) == rates.base_rates_instead(resumed(scheduler=lambda_lr(14, 0.01 * 26 / 40, base=0.02)))
    assert rates.base_rates_instead(resumed()) is None


def scaled(folder: Path, *names: str, by: float = 1.7) -> None:
    """The rates of these names times a factor, in optimizer and schedule."""
    optimizer, schedule = torch.load(folder / "optimizer.pt"), torch.load(folder / "scheduler.pt")
    for held in (*optimizer["param_groups"], schedule):
        for name in set(names) & held.keys():
            held[name] = [rate * by for rate in held[name]] if isinstance(held[name], list) else held[name] * by
    torch.save(optimizer, folder / "optimizer.pt")
    torch.save(schedule, folder / "scheduler.pt")


def all_rates(folder: Path) -> list[list[float]]:
    optimizer, schedule = torch.load(folder / "optimizer.pt"), torch.load(folder / "scheduler.pt")
    return [[group["lr"] for group in optimizer["param_groups"]], schedule["_last_lr"], schedule["base_lrs"]]


SCALED = [("lr",), ("lr", "_last_lr"), ("base_lrs",), ("base_lrs", "initial_lr"), ("base_lrs", "_last_lr")]
SCALED += [("base_lrs", "initial_lr", "lr", "_last_lr")]


@pytest.mark.parametrize("names", SCALED)
def test_rates_that_leave_the_curve_of_the_log_are_set_to_it(run: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = tmp_path / "alone/checkpoint-21"
    shutil.copytree(run / "checkpoint-21", folder)
    right = all_rates(folder)
    scaled(folder, *names)
    assert ("differs", {"R504"}) == (judged(folder).resume, told(judged(folder)))
    assert "migrated" == repair.migrate([folder])[0].status
    assert ("identical", right) == (judged(folder).resume, all_rates(folder))


def test_rates_that_a_script_sets_in_every_checkpoint_stay(run: Path) -> None:
    folders = [run / f"checkpoint-{step}" for step in (7, 14, 21)]
    for folder in folders[:2]:
        scaled(folder, "lr")
    assert all("R504" in told(judged(folder)) for folder in folders[:2]), "one has the schedule's"
    scaled(folders[2], "lr")
    assert [("identical", set())] * 3 == [(judged(folder).resume, told(judged(folder))) for folder in folders]


@pytest.mark.parametrize("by", [1, -1])
def test_a_position_that_its_rate_is_not_of_is_set_by_the_log(run: Path, by: int) -> None:
    folder = run / "checkpoint-21"
    state = torch.load(folder / "scheduler.pt")
    places = {key: state[key] + by for key in ("last_epoch", "_step_count")}
    torch.save({**state, **places}, folder / "scheduler.pt")
    assert "differs" == judged(folder).resume
    assert "migrated" == repair.migrate([folder])[0].status
    assert state == torch.load(folder / "scheduler.pt")


def logged(*entries: tuple[int, float], **changes: Any) -> Member:
    """The checkpoint of step 14 with a log of steps and rates."""
    log = [{"step": step, "learning_rate": rate, "loss": 1.0} for step, rate in entries]
    return resumed(**{"state": {"global_step": 14, "log_history": log}, **changes})


def test_the_base_rate_of_the_log_is_one_that_all_its_last_rates_follow_from() -> None:
    curve = [(step, 0.01 * (41 - step) / 40) for step in (4, 9, 12, 14)]
    assert 0.01 == rates.logged_base(logged(*curve))
    assert 0.01 == rates.logged_base(logged(*((step - 1, rate) for step, rate in curve))), "as older releases log it"
    assert 0.01 == rates.logged_base(logged((4, 0.5), *curve[1:])), "before a resume with another command"
    assert rates.logged_base(logged(*curve[:3], (14, 0.5))) is None
    assert rates.logged_base(logged()) is None
    half = [(step, rate / 2) for step, rate in curve]
    own = {"optimizer": adam(14, 0.005 * 26 / 40, 0.01), "scheduler": lambda_lr(14, 0.005 * 26 / 40)}
    assert rates.logged_base(logged(*half, **own)) is None, "half the formula is a schedule of the script's own"
    assert rates.fits_formula(logged(*half, **own)) is False


def test_of_a_schedule_of_ones_own_other_base_rates_are_told_and_not_cured(run: Path) -> None:
    folder = run / "checkpoint-21"
    for step in (7, 14, 21):
        save_arguments(run / f"checkpoint-{step}", {**ARGUMENTS, "warmup_steps": 30})
    assert "identical" == judged(folder).resume
    scaled(folder, "base_lrs")
    assert {"R504"} == told(judged(folder))
    scaled(folder, "_last_lr")
    assert {"R504"} == told(judged(folder))
    assert "unchanged" == repair.migrate([folder])[0].status, "which of the two rates is right is not known"


def test_the_schedules_position_is_the_step_unless_a_metric_or_a_scaler_decides() -> None:
    assert 14 == rates.position_at(resumed(), 14)
    assert 12 == rates.position_at(resumed(**{"scaler.pt": {}, "optimizer": adam(12)}), 14)
    assert rates.position_at(resumed(arguments=command(lr_scheduler_type="greedy")), 14) is None
    assert rates.position_at(resumed(scheduler={"custom": 1}), 14) is None


@pytest.mark.parametrize("name", ["no such schedule", "", None])
def test_a_schedule_that_is_not_known_has_no_formula(name: str | None) -> None:
    held = resumed(arguments=command(lr_scheduler_type=name, warmup_steps=0, max_steps=40))
    assert rates.computed(held, 14) is None
    assert rates.fits_formula(held) is None


def test_a_rate_that_the_plateau_did_not_set(best_run: Path) -> None:
    folder = best_run / "checkpoint-15"
    groups = torch.load(folder / "optimizer.pt")["param_groups"]
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in groups]
    optimizer = torch.optim.SGD([{"params": [one]} for one in parameters], groups[0]["lr"])
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for loss in (3.0, 1.0, 1.5):
        plateau.step(loss)
    torch.save(plateau.state_dict(), folder / "scheduler.pt")
    assert "R504" not in told(judged(folder))
    saved = torch.load(folder / "optimizer.pt")
    for group in saved["param_groups"]:
        group["lr"] *= 3
    torch.save(saved, folder / "optimizer.pt")
    assert "R504" in told(judged(folder))
