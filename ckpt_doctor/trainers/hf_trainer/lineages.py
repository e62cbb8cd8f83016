"""Checkpoints of several runs in one output folder, by what each has logged.

A checkpoint's `log_history` begins with that of every earlier one of its run, number for number, resumes included.
"""

from __future__ import annotations

from collections.abc import Mapping

from ckpt_doctor.trainers.hf_trainer.best import history, step_of
from ckpt_doctor.trainers.hf_trainer.layout import STATE
from ckpt_doctor.types import Member, NotChecked, Run, equal, real
from ckpt_doctor.types.record import kept, record

MOST = 8
"""Runs that are told apart."""
Logged = Mapping[int, float | None]


@record(frozen=True)
class Mixed:
    """Several runs in one folder."""

    runs: tuple[tuple[str, ...], ...]
    """The labels of the checkpoints of each, by how much they have logged."""
    step: int
    """The first step at which two of them have logged different losses, or only one of them any."""
    losses: tuple[float | None, float | None]
    last: str
    """The label of the checkpoint that was written last."""

    @property
    def open_point(self) -> NotChecked:
        """What nobody but the person who started them knows."""
        what = f"which of the {len(self.runs)} runs in this folder goes on"
        why = f"their log_history differs at step {self.step:,}"
        settle = f"the path of one of its checkpoints ({self.last} was written last)"
        return NotChecked(what, why, settle)


@kept
def mixed_in(run: Run) -> Mixed | None:
    """The runs in the folder of a run, where they are several."""
    runs: list[tuple[list[Member], Logged]] = []
    first: tuple[int, float | None, float | None] | None = None
    told = [(member, logged) for member in run.members if (logged := _losses(member))]
    for member, logged in sorted(told, key=lambda one: max(one[1])):  # whatever the state counts
        parted = [(_parting(before, logged), at) for at, (_, before) in enumerate(runs)]
        at = next((at for parting, at in parted if parting is None), None)
        if at is not None:
            runs[at] = ([*runs[at][0], member], logged)
        elif len(runs) == MOST:
            break
        else:
            first = first or (parted[0][0] if parted else None)
            runs.append(([member], logged))
    if first is None:
        return None
    last = max((member for held, _ in runs for member in held), key=_written)
    step, *losses = first
    return Mixed(tuple(tuple(one.label for one in held) for held, _ in runs), step, (losses[0], losses[1]), last.label)


def _losses(member: Member) -> Logged:
    entries = history(member.checkpoint)
    return {step_of(entry): real(entry["loss"]) for entry in entries if "loss" in entry and step_of(entry) > 0}


def _parting(before: Logged, after: Logged) -> tuple[int, float | None, float | None] | None:
    """The first step of an earlier history that a later one has not, or has otherwise."""
    for step, loss in before.items():
        other = after.get(step)
        if step not in after or not equal(other, loss):
            return step, loss, other
    return None


def _written(member: Member) -> int:
    """When a checkpoint was complete: its last file is the state."""
    times = [p.stamp.mtime_ns for p in member.checkpoint.parts if p.stamp and member.checkpoint.name_of(p) == STATE]
    return max(times, default=0)
