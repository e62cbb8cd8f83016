"""What all checkpoints of a run together show, found once: each of them asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from ckpt_doctor.trainers.hf_trainer import rates
from ckpt_doctor.trainers.hf_trainer.best import early_stopping
from ckpt_doctor.trainers.hf_trainer.best_path import named_best
from ckpt_doctor.trainers.hf_trainer.kin import departures
from ckpt_doctor.trainers.hf_trainer.layout import RANDOM, SCALER, file_names, ranks
from ckpt_doctor.trainers.hf_trainer.progress import total_steps
from ckpt_doctor.trainers.random_twins import Twin, twins
from ckpt_doctor.trainers.state import has_other_rates, last_rates
from ckpt_doctor.types import Checkpoint, Member, NotChecked, Run
from ckpt_doctor.types.record import record


@record(frozen=True)
class Known:
    """Of one run."""

    best: str = ""
    """Name of the best checkpoint: the one that the furthest state names."""
    formula: Mapping[int | None, bool] = field(default_factory=dict)
    """Steps of the whole training -> whether the saved command's formula gives the rates that are stored."""
    ranks: frozenset[int] = frozenset()
    """Processes whose random state some checkpoint has."""
    scales: bool = False
    """Whether some checkpoint has a gradient scaler's state."""
    sets_rates: bool = False
    """Whether the script sets the rates itself: each of several checkpoints has others than its schedule."""
    twins: Mapping[str, Twin] = field(default_factory=dict)
    """Label of a checkpoint -> its random state that another one has."""
    odd: Mapping[str, Sequence[NotChecked]] = field(default_factory=dict)
    """Label of a checkpoint -> what it has otherwise than all others."""
    stopping: tuple[Member, ...] = ()
    """Two of the checkpoints that have EarlyStopping's state."""


def known(members: tuple[Member, ...], steps_per_epoch: int | None = None) -> Known:
    """What the checkpoints of a run show."""
    formula: dict[int | None, bool] = {}
    for member in members:
        fits, total = rates.fits_formula(member), total_steps(member.checkpoint)
        if fits is not None:
            formula[total] = fits and formula.get(total, True)
    found = frozenset(rank for member in members for rank in ranks(member.checkpoint) if rank is not None)
    stopping = [member for member in members if early_stopping(member)]
    same = twins(members, steps_per_epoch, RANDOM.match)
    scales = any(SCALER in file_names(member.checkpoint) for member in members)
    other = [has_other_rates(member) for member in members if last_rates(member)]
    by_hand = len(other) > 1 and all(other)
    return Known(named_best(members), formula, found, scales, by_hand, same, departures(members), tuple(stopping[:2]))


def known_of(run: Run) -> Known:
    """What is known of a run of this trainer."""
    assert isinstance(run.history, Known), "understand() made it"
    return run.history


def lost_ranks(checkpoint: Checkpoint, run: Run) -> list[int]:
    """Processes whose random state this checkpoint lacks: below one that it has, or that other checkpoints have."""
    here = {rank for rank in ranks(checkpoint) if rank is not None}
    return sorted({*known_of(run).ranks, *range(max(here))} - here) if here else []


def sibling_with_callback(member: Member, run: Run) -> Member | None:
    """Another checkpoint of the run that has EarlyStopping's state."""
    return next((other for other in known_of(run).stopping if other.label != member.label), None)


def follows_formula(run: Run, member: Member) -> bool:
    """Whether the formula is this run's: it gives the stored rates of some checkpoint, and of none others.

    A script may pass a schedule of its own, of which the saved command then says nothing.
    """
    return known_of(run).formula.get(total_steps(member.checkpoint), False)
