"""What the folders of a run have in common, read once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ckpt_doctor.trainers.accelerate.layout import RANK, customs, files, name_of, ranks
from ckpt_doctor.trainers.accelerate.several import Usual, usual
from ckpt_doctor.trainers.random_twins import Twin, twins
from ckpt_doctor.types import Evidence, Member, Run, TensorRef
from ckpt_doctor.types.record import record


@record(frozen=True)
class Habits:
    """What holds for the folders of a run."""

    files: frozenset[str]
    """Names of files that some folder has, those of folders in it left out."""
    customs: int
    """The most registered objects that a folder has."""
    ranks: int
    """The most random states."""
    times: Mapping[int | None, int]
    """How often the schedule moves with each optimizer step -> in how many folders; None: neither once nor for each
    process."""
    ends_behind: bool
    """Whether a folder that was saved at an epoch's end lacks the schedule's last step, as one inside may."""
    by_epoch: Mapping[int, Member]
    """The folders that were saved at an epoch's end, by its number, counted from 0."""
    at: Mapping[tuple[int | None, int | None], Member]
    """A folder of so many optimizer steps with its schedule at that position."""
    each_epoch: int
    """Steps that the schedule makes at an epoch's end; 0 where it does not go by epochs, or that is not clear."""
    twins: Mapping[str, Twin]
    """Label of a folder -> its random state that another folder has."""
    draws: bool
    """Whether each batch draws from the generator that a loader draws from as it starts, as dropout on a CPU does."""
    usual: Usual
    """What the files of each name have."""
    steps_early: bool
    """Whether no folder of such a run has the step of an epoch that had just ended."""


def habits_of(run: Run) -> Habits:
    """The habits of a run of this trainer."""
    assert isinstance(run.history, Habits), "understand() made them"
    return run.history


def learned(members: Sequence[Member], world: int, updates: Evidence[int] | None, ahead: int) -> Habits:
    """Look at each folder once."""
    names = [(name_of(member.checkpoint.path), member) for member in members]
    named = {name[1] + ahead - 1: member for name, member in names if name is not None and name[0] == "epoch"}
    by_epochs = {each: _by_epochs(members, updates.value, each) if updates is not None else None for each in (1, world)}
    each = next((each for each, lags in by_epochs.items() if lags is not None), 0)
    return Habits(
        files=frozenset(name for member in members for name in files(member.checkpoint) if "/" not in name),
        customs=max((customs(member.checkpoint) for member in members), default=0),
        ranks=max((len(ranks(member.checkpoint)) for member in members), default=0),
        times=Counter(times(member, world) for member in members),
        ends_behind=any(is_behind(member, world) for member in named.values()),
        by_epoch=named,
        at={(member.state.optimizer_step, member.state.last_epoch): member for member in members},
        each_epoch=each,
        twins=twins(members, updates.value if updates else None, RANK.fullmatch),
        draws=updates is not None and _draws(members, updates.value),
        usual=usual(members, ahead),
        steps_early=not by_epochs.get(each),
    )


def _by_epochs(members: Sequence[Member], updates: int, each: int) -> bool | None:
    """Whether a schedule that makes `each` steps an epoch has made the last one where an epoch had just ended.

    None where the schedule does not go by epochs so."""
    found, made = set(), False
    for member in members:
        steps, last = member.state.optimizer_step, member.state.last_epoch
        if steps is None or last is None:
            continue
        epochs, inside = divmod(steps, updates)
        if last not in (epochs * each, (epochs - (not inside)) * each):
            return None
        found.add(last)
        made = made or (not inside and last == epochs * each)
    return made if len(found) > 1 and updates > 1 else None


def _draws(members: Sequence[Member], updates: int) -> bool:
    """Whether all folders from within one epoch have different states of torch's generator."""
    inside: dict[int, dict[int, object]] = {}
    for member in members:
        epoch, made = divmod(member.state.global_step or 0, updates)
        state = member.at("rng", "torch_manual_seed")
        if made and isinstance(state, TensorRef) and state.value is not None and not was_replaced(member):
            inside.setdefault(epoch, {})[made] = state.value
    several = [states.values() for states in inside.values() if len(states) > 1]
    return bool(several) and all(len(set(states)) == len(states) for states in several)


def was_replaced(member: Member) -> bool:
    """Whether a migration has put another random state in the place of the saved one."""
    key = member.path("rng")[0]
    return any(str(edit.get("key")) == key for migration in member.checkpoint.migrations for edit in migration.edits)


def is_behind(member: Member, world: int) -> bool:
    """Whether the schedule lacks the step that belongs to the last one of the optimizer."""
    steps, last = member.state.optimizer_step, member.state.last_epoch
    return steps is not None and last is not None and steps > 1 and last == (steps - 1) * world


def times(member: Member, world: int) -> int | None:
    """How often the schedule moves with each optimizer step; 0 where a folder does not show it."""
    steps, last = member.state.optimizer_step, member.state.last_epoch
    if not steps or steps < 2 or last is None or is_behind(member, world):
        return 0
    return world if last == steps * world else 1 if last == steps else None
