"""A run as lines to draw: its learning rate, the resumes that depart from it, the validation losses."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_doctor.trainers import drawing, schedules
from ckpt_doctor.trainers.drawing import Course, RateLine
from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.trainers.time_llm import rates
from ckpt_doctor.trainers.time_llm.command import facts_of
from ckpt_doctor.trainers.time_llm.early_stopping import BLIND, after, improves
from ckpt_doctor.trainers.time_llm.history import History
from ckpt_doctor.trainers.time_llm.modes import IDLE, PER_STEP
from ckpt_doctor.types import Curve, FileReport, Member, Points, RunReport, real

MOST_EPOCHS = 300
"""Epochs that are drawn of a schedule that moves per epoch."""


def curve(run: RunReport) -> Curve:
    """What there is to draw of a run; steps are those of each process."""
    facts = facts_of(run.run)
    length, files = facts.real_steps, [file for file in run.files if file.plan is not None]
    losses, best = validation_losses(run.run.history)
    _, places = drawing.placed(files)
    found = Curve(
        run.run.path,
        recorded=drawing.recorded(files, places),
        places=places,
        losses=losses,
        best=best,
        steps_per_epoch=length,
    )
    if facts.lradj is None:
        return found
    lines = (_line(member, run, facts.lradj.value, losses) for member in run.run.members)
    drawn = (drawing.with_departures(found, files, line) for line in lines if line is not None)
    return next((one for one in drawn if one.rates), found)


def validation_losses(history: object) -> tuple[Points, float | None]:
    """The last validation loss that the log has of each epoch, and the epoch whose model EarlyStopping kept."""
    if not isinstance(history, History) or not history.confirmed:
        return (), None
    losses = {e.epoch: e.result.vali_loss for attempt in history.attempts for e in attempt.epochs}
    best, state = None, BLIND
    for epoch, loss in sorted(losses.items()):
        if improves(state, loss):
            best = float(epoch)
        state = after(state, loss)
    return tuple((float(epoch), losses[epoch]) for epoch in sorted(losses)), best


def _epochs(run: RunReport, losses: Points) -> int:
    """Epochs of the whole run; where nothing tells, two more than are known to have begun."""
    facts = run.run.facts
    if facts.train_epochs is not None:
        return facts.train_epochs.value
    reached = [member.state.epoch or 0 for member in run.run.members] + [int(epoch) for epoch, _ in losses]
    return max(reached, default=0) + 2


def _line(member: Member, run: RunReport, mode: str, losses: Points) -> RateLine | None:
    """The rate of a run by the schedule that a checkpoint holds; None where it holds none."""
    facts = facts_of(run.run)
    world, length = facts.processes, facts.real_steps
    if mode == PER_STEP:
        total = real(member.at("scheduler", "total_steps")) or 0
        every, end = 1, int(total) // world if 0 < total < drawing.FURTHEST else 0
    else:
        every, end = length or 0, min(_epochs(run, losses), MOST_EPOCHS) * (length or 0)
    if not end:
        return None

    def right(course: Course) -> Sequence[float | None]:
        found = (rates.rates_at(member, mode, world * (int(at) // every), int(at) // every) for at in course)
        return [rate.lr[0] if rate is not None else None for rate in found]

    def own(file: FileReport, course: Course) -> Sequence[float | None] | None:
        if mode in IDLE:
            return _idle(run, file, mode, [int(at) // every for at in course])
        state, begun = file.member.at("scheduler"), file.member.state.last_epoch
        if not isinstance(state, dict) or begun is None:
            return None
        moves = [begun + world * (int(at) // every - int(course[0]) // every) for at in course]
        return schedules.along(state, param_groups(file.member), moves, begun=begun)

    return RateLine(every, end, right, own)


def _idle(run: RunReport, file: FileReport, mode: str, epochs: Sequence[int]) -> list[float | None]:
    """The rates after a resume by a command that lacks the flags which it must carry."""
    plan, groups = file.plan, param_groups(file.member)
    given = run.run.facts.learning_rate
    base = given.value if given is not None else real(groups[0].get("max_lr")) if groups else None
    if plan is None or base is None or plan.next_lr is None:
        return []
    if not plan.flags:
        base = file.resume_point.base_lr or base
    later = [rates.idle_rate(mode, base, epoch) or base for epoch in epochs]
    return [plan.next_lr if epoch == epochs[0] else rate for epoch, rate in zip(epochs, later, strict=True)]
