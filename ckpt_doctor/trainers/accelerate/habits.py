"""What the folders of a run have in common, read once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckpt_doctor.trainers.accelerate.layout import customs, files, name_of, ranks
from ckpt_doctor.types import Member, Run


@dataclass(frozen=True)
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
    """The folders that were saved at an epoch's end, by its number."""


def habits_of(run: Run) -> Habits:
    """The habits of a run of this trainer."""
    assert isinstance(run.history, Habits), "understand() made them"
    return run.history


def learned(members: Sequence[Member], world: int) -> Habits:
    """Look at each folder once."""
    named = {name[1]: m for m in members if (name := name_of(m.checkpoint.path)) is not None and name[0] == "epoch"}
    return Habits(
        files=frozenset(name for member in members for name in files(member.checkpoint) if "/" not in name),
        customs=max((customs(member.checkpoint) for member in members), default=0),
        ranks=max((len(ranks(member.checkpoint)) for member in members), default=0),
        times=Counter(times(member, world) for member in members),
        ends_behind=any(is_behind(member, world) for member in named.values()),
        by_epoch=named,
    )


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
