"""What in a file shows that an earlier resume, not repaired, had left the uninterrupted run's path (contract, fact 19).

A repair sets schedule and rate right, and not the weights that were trained with the wrong ones. So the question is
asked of the values that the trainer wrote: those before the file's first migration, which its record keeps.
"""

from __future__ import annotations

from ckpt_doctor.inert.scheduler_kinds import scheduler_kind
from ckpt_doctor.trainers.state import as_written
from ckpt_doctor.trainers.time_llm import rates
from ckpt_doctor.trainers.time_llm.command import facts_of
from ckpt_doctor.trainers.time_llm.modes import IDLE, PER_EPOCH, PER_STEP
from ckpt_doctor.trainers.time_llm.resume_point import true_step
from ckpt_doctor.types import Member, ResumePoint, Run, holds_rate, real

_RATE = ("optimizer", "param_groups", 0, "lr")


def divergence(member: Member, run: Run, resume: ResumePoint) -> str:
    """In one clause, what shows it in every mode that the run may have; empty where nothing does."""
    checkpoint, facts = member.checkpoint, facts_of(run)
    scheduler = checkpoint.get("scheduler")
    rate = as_written(checkpoint, _RATE, checkpoint.get(*_RATE))
    if real(rate) is None or not isinstance(scheduler, dict) or resume.finished_epochs is None or facts.disproved:
        return ""
    shown = []
    for mode in facts.modes:
        kind = "CosineAnnealingLR" if mode == PER_EPOCH else "OneCycleLR"
        if mode is None or scheduler_kind(scheduler) != kind:
            return ""
        idle = mode in IDLE
        shown.append(_of_rate(member, mode, rate, resume) if idle else _of_schedule(member, run, mode, rate, resume))
    return shown[0] if all(shown) else ""


def _ends_epoch(member: Member, resume: ResumePoint) -> bool:
    """Whether the file stands at an epoch's end, saved before the epoch's own update of the rate."""
    return resume.skip_batches == 0 and member.role is not None


def _of_rate(member: Member, mode: str, rate: object, resume: ResumePoint) -> str:
    """In an idle mode the epoch's rate is a multiple of the initial one."""
    finished = resume.finished_epochs or 0
    bases = rates.initial_rates(member)
    passed = (finished, finished - 1) if _ends_epoch(member, resume) else (finished,)
    due = [rates.idle_rate(mode, bases[0], epochs) or bases[0] for epochs in passed] if bases else []
    if not due or any(holds_rate(rate, expected) for expected in due):
        return ""
    return f"it was trained at rate {real(rate):.6g}, which {mode} has nowhere at this place of the run ({due[-1]:.6g})"


def _of_schedule(member: Member, run: Run, mode: str, rate: object, resume: ResumePoint) -> str:
    """In TST and COS each resume from an unrepaired file leaves the schedule one call further behind."""
    checkpoint, facts = member.checkpoint, facts_of(run)
    last = real(as_written(checkpoint, ("scheduler", "last_epoch"), member.state.last_epoch))
    step = true_step(member, facts)
    if last is None or step is None or last < 0:
        return ""
    if mode == PER_STEP:
        calls, own, unit = step.value, 0 if member.role == "best" and resume.skip_batches == 0 else 1, "step"
    else:
        calls, own, unit = resume.finished_epochs or 0, int(_ends_epoch(member, resume)), "epoch"
    here = rates.rates_at(member, mode, int(last), 0)
    stored = as_written(checkpoint, ("scheduler", "_last_lr"), checkpoint.get("scheduler", "_last_lr"))
    theirs = real(stored[0]) if isinstance(stored, list) and stored else None
    if here is None or theirs is None or not holds_rate(rate, theirs):
        return ""  # the trainer writes the two as one: some other hand has been here
    lag = calls - last / facts.processes
    if not holds_rate(rate, here.lr[0]):
        due = [rates.rates_at(member, mode, (calls - late) * facts.processes, 0) for late in (0, own)]
        if any(point is not None and holds_rate(rate, point.lr[0]) for point in due):
            return ""  # only the position is wrong: it was put back
        return f"its rate {real(rate):.6g} lies nowhere on the schedule's curve ({here.lr[0]:.6g} at {int(last):,})"
    if lag <= own:
        return ""
    return f"the schedule was {lag:g} {unit}{'' if lag == 1 else 's'} behind, of which this save explains {own}"
