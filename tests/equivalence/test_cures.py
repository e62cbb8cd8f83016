"""What an edit of the file cures, done here by hand with torch: the run goes on bit for bit as if nothing had happened.

These are the contract's formulas, apart from any code of the tool, so that a tool that is wrong and a harness that sees
nothing can't agree with each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import reference_trainer as trainer
import torch
from reference_tools import TYPE2

from tests.equivalence import harness
from tests.equivalence.comparison import CONSEQUENCES, divergences, replay
from tests.equivalence.harness import TRAIN_STEPS, Cell, Cells, Spec
from tests.sampled import sampled

KINDS = ("first-epoch", "mid-epoch", "epoch-end", "best")
FIRST_PATCH = [Spec("first-patch", "COS", kind) for kind in KINDS]


@pytest.fixture
def scratch(cells: Cells, tmp_path: Path) -> Iterator:
    """A fresh copy of the cell of a spec."""
    names = itertools.count()
    return lambda spec: harness.copy(cells.get(spec), tmp_path / str(next(names)))


def heal(cell: Cell, file: dict) -> tuple[str, ...]:
    """Edit the file to what an uninterrupted run has at its resume point. Returns the flags that the resume needs."""
    spec, step, world_size = cell.spec, file["global_step"], cell.spec.world_size
    scheduler, group = file["scheduler"], file["optimizer"]["param_groups"][0]
    finished = cell.position // cell.steps_per_epoch
    history = cell.history if cell.pending is None else (*cell.history, cell.pending)
    file["best_score"], file["val_loss_min"], file["counter"] = replay(history)
    file["epoch"] = finished
    file["global_step"] = finished * TRAIN_STEPS + (step - finished * cell.steps_per_epoch)
    if spec.lradj == "TST":
        t = world_size * step
        rate, beta1 = one_cycle(scheduler, group, t)
        scheduler |= {"last_epoch": t, "_step_count": t + 1, "_last_lr": [rate]}
        group |= {"lr": rate, "betas": (beta1, group["betas"][1])}
    elif spec.lradj == "COS":
        if spec.kind in (*harness.BEST, "epoch-end"):
            for _ in range(world_size):
                cosine_step(scheduler, group)
    else:
        group["lr"] = idle_rate(spec.lradj, scheduler["_last_lr"][0], finished)
        if finished:
            return ("--learning_rate", repr(scheduler["_last_lr"][0]))
    return ()


def one_cycle(scheduler: dict, group: dict, t: int) -> tuple[float, float]:
    """OneCycleLR's rate and beta1 at step t, cosine annealing in two phases."""

    def anneal(start: float, end: float, p: float) -> float:
        return end + (start - end) / 2 * (math.cos(math.pi * p) + 1)

    top, end = scheduler["_schedule_phases"][0]["end_step"], scheduler["total_steps"] - 1
    high, low = group["max_momentum"], group["base_momentum"]
    if t <= top:
        return anneal(group["initial_lr"], group["max_lr"], t / top), anneal(high, low, t / top)
    p = (t - top) / (end - top)
    return anneal(group["max_lr"], group["min_lr"], p), anneal(low, high, p)


def cosine_step(scheduler: dict, group: dict) -> None:
    """One step of CosineAnnealingLR by its recursion; the closed form differs in the last bit from epoch 7 on."""
    scheduler["last_epoch"] += 1
    scheduler["_step_count"] += 1
    epoch, low = scheduler["last_epoch"], scheduler["eta_min"]
    now, before = (1 + math.cos(math.pi * e / scheduler["T_max"]) for e in (epoch, epoch - 1))
    group["lr"] = now / before * (group["lr"] - low) + low
    scheduler["_last_lr"] = [group["lr"]]


def idle_rate(lradj: str, base: float, finished: int) -> float:
    """The rate after so many finished epochs, in the modes that never step the scheduler."""
    if not finished:
        return base
    if lradj == "type2":
        return next((TYPE2[e] for e in range(finished, 0, -1) if e in TYPE2), base)
    late = base if finished < 3 else base * 0.9 ** (finished - 3)
    return {"type1": base * 0.5 ** (finished - 1), "type3": late, "PEMS": base * 0.95**finished, "constant": base}[
        lradj
    ]


CURABLE = tuple(
    Spec(generation, lradj, kind)
    for generation in ("first-patch", "first-patch-old", "complete")
    for lradj in trainer.LRADJ
    for kind in KINDS
)


@pytest.mark.long
@pytest.mark.parametrize("spec", harness.parameters(CURABLE))
def test_a_healed_file_resumes_as_if_nothing_had_happened(scratch, spec: Spec) -> None:
    """Every generation's file, resumed by the trainer that reads all of it, and not a bit is different."""
    cell = scratch(spec)
    flags: list[str] = []
    harness.edit(cell, lambda file: flags.extend(heal(cell, file)))
    assert set() == divergences(harness.resume(cell, tuple(flags), generation="complete"), cell)


@pytest.mark.parametrize("spec", sampled(FIRST_PATCH, FIRST_PATCH[0], ids=True))
def test_the_first_patch_never_reads_best_score(scratch, spec: Spec) -> None:
    """Its own resume from a healed file is right in all but EarlyStopping."""
    cell = scratch(spec)
    flags: list[str] = []
    harness.edit(cell, lambda file: flags.extend(heal(cell, file)))
    expected = set() if spec.kind == "first-epoch" else {"early-stopping", "val-loss-min"}
    assert expected == divergences(harness.resume(cell, tuple(flags)), cell) - CONSEQUENCES


@pytest.mark.long
@pytest.mark.parametrize(
    "spec", [Spec("complete", mode, kind) for mode in ("TST", "type1") for kind in ("second", "second-best")], ids=str
)
def test_after_a_second_interruption_the_rates_heal_and_the_weights_do_not(scratch, spec: Spec) -> None:
    """What an earlier resume did to the weights stays; nothing new is added to it."""
    cell = scratch(spec)
    flags: list[str] = []
    harness.edit(cell, lambda file: flags.extend(heal(cell, file)))
    found = divergences(harness.resume(cell, tuple(flags)), cell)
    assert "loss" in found & cell.inherited
    assert set() == found - CONSEQUENCES


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lradj", ["TST", "COS", "type1"])
def test_two_processes_heal_with_shifted_step_numbers(scratch, lradj: str, kind: str) -> None:
    """The skip comes right when global_step counts unsharded epochs; the labels of later files are then shifted."""
    cell = scratch(Spec("complete", lradj, kind, world_size=2))
    flags: list[str] = []
    harness.edit(cell, lambda file: flags.extend(heal(cell, file)))
    expected = set() if kind == "first-epoch" else {"global-step"}
    assert expected == divergences(harness.resume(cell, tuple(flags)), cell)


@pytest.mark.parametrize("left_out", ["beta1", "group", "scheduler"])
def test_a_schedule_heals_only_as_a_whole(scratch, left_out: str) -> None:
    """TST: leaving out the betas, the group's rate or the scheduler still diverges."""
    cell = scratch(Spec("complete", "TST", "mid-epoch"))

    def partly(file: dict) -> None:
        group, scheduler = dict(file["optimizer"]["param_groups"][0]), dict(file["scheduler"])
        heal(cell, file)
        if left_out == "scheduler":
            file["scheduler"] = scheduler
        else:
            key = {"beta1": "betas", "group": "lr"}[left_out]
            file["optimizer"]["param_groups"][0][key] = group[key]

    harness.edit(cell, partly)
    expected = {"beta1": {"beta1"}, "group": {"lr"}, "scheduler": {"lr", "beta1"}}[left_out]
    assert expected == divergences(harness.resume(cell), cell) - CONSEQUENCES


@pytest.mark.long
def test_the_rate_flag_must_be_exact(scratch) -> None:
    """max_lr / 25 as OneCycleLR has computed it gives identity, the rounded number another 16th digit."""
    spec = Spec("complete", "type1", "mid-epoch")
    exact, rounded = scratch(spec), scratch(spec)
    assert set() == divergences(harness.resume(exact, ("--learning_rate", "0.0003999999999999993")), exact)
    trace = harness.resume(rounded, ("--learning_rate", "0.0004"))
    assert {"lr"} == divergences(trace, rounded) - CONSEQUENCES
    assert pytest.approx(rounded.reference.epochs[-2].lr[0], rel=1e-14) == trace.epochs[0].lr[0]


@pytest.mark.parametrize("lradj", ["TST", "COS"])
def test_the_rate_flag_does_nothing_where_the_scheduler_rules(scratch, lradj: str) -> None:
    """The scheduler's state brings its own rates."""
    spec = Spec("complete", lradj, "mid-epoch")
    plain, flagged = harness.resume(scratch(spec)), harness.resume(scratch(spec), ("--learning_rate", "0.0004"))
    assert (plain.steps, plain.epochs) == (flagged.steps, flagged.epochs)


def test_python_floats_resume_as_numpy_scalars_do(scratch) -> None:
    """best_score and val_loss_min may be written back as plain numbers."""
    spec = Spec("complete", "TST", "mid-epoch")
    as_written, plain = scratch(spec), scratch(spec)
    harness.edit(plain, lambda f: f.update({k: float(f[k]) for k in ("best_score", "val_loss_min")}))
    one, other = harness.resume(as_written), harness.resume(plain)
    assert (one.start, one.steps, one.epochs) == (other.start, other.steps, other.epochs)


def test_lost_moments_change_the_losses_and_not_the_rates(scratch) -> None:
    """Groups and schedule right, Adam's state empty: the first loss is the same, the second is not."""
    cell = scratch(Spec("complete", "COS", "mid-epoch"))
    harness.edit(cell, lambda f: f["optimizer"].update(state={}))
    trace = harness.resume(cell)
    assert set() == divergences(trace, cell) - CONSEQUENCES
    due = cell.reference.steps[cell.position :]
    assert [True, False] == [a.loss == b.loss for a, b in zip(trace.steps[:2], due, strict=False)]


def test_without_an_optimizer_the_first_step_uses_the_initial_rate(scratch) -> None:
    """`optimizer: None` is accepted by the complete trainer, and the schedule takes over one step later."""
    cell = scratch(Spec("complete", "TST", "best"))
    harness.edit(cell, lambda f: f.update(optimizer=None))
    trace = harness.resume(cell)
    assert cell.reference.steps[0].lr == trace.steps[0].lr
    assert cell.reference.steps[cell.position + 1].lr == trace.steps[1].lr


# --- data order and noise --------------------------------------------------------------------------------------------


@pytest.mark.long
def test_shuffled_data_comes_back_from_a_best_file(scratch) -> None:
    """Its rng_state was taken before the next epoch's permutation was drawn."""
    cell = scratch(Spec("complete", "TST", "best", shuffle=True))
    harness.edit(cell, lambda f: heal(cell, f))
    assert set() == divergences(harness.resume(cell), cell)


@pytest.mark.long
def test_shuffled_data_in_mid_epoch_needs_the_rng_state_of_the_epochs_beginning(scratch) -> None:
    """A step file's own rng_state is from after the permutation; the one of the best file before it is identical."""
    cell, healed = (scratch(Spec("complete", "COS", "after-best", shuffle=True)) for _ in range(2))
    assert {"data"} == divergences(harness.resume(cell), cell) - CONSEQUENCES
    best = torch.load(healed.path.parents[1] / "checkpoint", weights_only=False)
    harness.edit(healed, lambda f: f.update(rng_state=best["rng_state"]))
    assert set() == divergences(harness.resume(healed), healed)


@pytest.mark.long
def test_shuffled_data_in_the_first_epoch_needs_no_rng_state(scratch) -> None:
    """A new process seeds itself as the first one did."""
    cell = scratch(Spec("complete", "COS", "first-epoch", shuffle=True))
    harness.edit(cell, lambda f: f.update(rng_state=None))
    assert set() == divergences(harness.resume(cell), cell)


@pytest.mark.long
def test_the_first_patch_sees_other_data_after_a_resume(scratch) -> None:
    """It saves no rng_state, so every epoch is shuffled otherwise."""
    cell = scratch(Spec("first-patch", "COS", "best", shuffle=True))
    harness.edit(cell, lambda f: heal(cell, f))
    assert {"data"} == divergences(harness.resume(cell, generation="complete"), cell) - CONSEQUENCES


@pytest.mark.long
def test_dropout_noise_comes_back_from_a_best_file_only(scratch) -> None:
    """Starting an epoch's loader draws from the generator, so in mid-epoch the saved state no longer fits the noise."""
    best, middle = (scratch(Spec("complete", "COS", kind, dropout=0.1)) for kind in ("best", "mid-epoch"))
    for cell in (best, middle):
        harness.edit(cell, lambda f, cell=cell: heal(cell, f))
    assert set() == divergences(harness.resume(best), best)
    found = divergences(harness.resume(middle), middle)
    assert "loss" in found
    assert set() == found - CONSEQUENCES
