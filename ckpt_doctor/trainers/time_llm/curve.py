"""A run as lines to draw: the uninterrupted run's learning rate, a resume that leaves it, the validation losses."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.trainers.time_llm import rates
from ckpt_doctor.trainers.time_llm.command import facts_of
from ckpt_doctor.trainers.time_llm.early_stopping import BLIND, after, improves
from ckpt_doctor.trainers.time_llm.history import History
from ckpt_doctor.trainers.time_llm.modes import PER_STEP
from ckpt_doctor.types import Curve, FileReport, Member, Points, RunReport, real

MOST_EPOCHS = 300
"""Epochs that are drawn of a schedule that moves per epoch."""
MOST_POINTS = 300
"""Steps at which a schedule that moves per step is computed."""


def curve(run: RunReport) -> Curve:
    """What there is to draw of a run; steps are those of each process."""
    facts = facts_of(run.run)
    length = facts.real_steps
    losses, best = validation_losses(run.run.history)
    line: Points = ()
    resumed: tuple[tuple[str, Points], ...] = ()
    if facts.lradj is not None:
        mode, epochs = facts.lradj.value, _epochs(run, losses)
        line = next(filter(None, (_line(m, mode, length, epochs, facts.processes) for m in run.run.members)), ())
        if length is not None and line:
            resumed = tuple(_jumps(run, mode, length, epochs))
    return Curve(run.run.path, line, resumed, losses, best, length)


def validation_losses(history: object) -> tuple[Points, int | None]:
    """The last validation loss that the log has of each epoch, and the epoch whose model EarlyStopping kept."""
    if not isinstance(history, History) or not history.confirmed:
        return (), None
    losses = {e.epoch: e.result.vali_loss for attempt in history.attempts for e in attempt.epochs}
    best, state = None, BLIND
    for epoch, loss in sorted(losses.items()):
        if improves(state, loss):
            best = epoch
        state = after(state, loss)
    return tuple((float(epoch), losses[epoch]) for epoch in sorted(losses)), best


def _epochs(run: RunReport, losses: Points) -> int:
    """Epochs of the whole run; where nothing tells, two more than are known to have begun."""
    facts = run.run.facts
    if facts.train_epochs is not None:
        return facts.train_epochs.value
    reached = [member.state.epoch or 0 for member in run.run.members] + [int(epoch) for epoch, _ in losses]
    return max(reached, default=0) + 2


def _line(member: Member, mode: str, length: int | None, epochs: int, world: int) -> Points:
    """(step, rate) of the uninterrupted run by the schedule that a checkpoint holds; empty where it holds none."""
    if mode == PER_STEP:
        total = real(member.at("scheduler", "total_steps")) or 0
        steps = int(total) // world if math.isfinite(total) else 0
        places = sorted({round(i * (steps - 1) / MOST_POINTS) for i in range(MOST_POINTS + 1)}) if steps > 0 else []
        points = [(step, rates.rates_at(member, mode, world * step, 0)) for step in places]
        return tuple((float(step), rate.lr[0]) for step, rate in points if rate is not None)
    points = []
    for epoch in range(min(epochs, MOST_EPOCHS) if length is not None else 0):
        rate = rates.rates_at(member, mode, world * epoch, epoch)
        points += [(epoch * length, rate), ((epoch + 1) * length, rate)]  # type: ignore[operator]
    return tuple((float(step), rate.lr[0]) for step, rate in points if rate is not None)


def _jumps(run: RunReport, mode: str, length: int, epochs: int) -> Iterator[tuple[str, Points]]:
    """The rates after a resume, from the furthest checkpoint, by a command that lacks the flags that it must carry."""
    furthest = max((f for f in run.files if f.plan and f.plan.flags), key=_progress, default=None)
    if furthest is None or furthest.plan is None:
        return
    plan, groups = furthest.plan, param_groups(furthest.member)
    given = run.run.facts.learning_rate
    base = given.value if given is not None else real(groups[0].get("max_lr")) if groups else None
    if base is None or plan.start_epoch is None or plan.next_lr is None:
        return
    begun = plan.start_epoch * length + min(plan.skip_batches or 0, length)
    points: list[tuple[float, float]] = [(begun, plan.next_lr), ((plan.start_epoch + 1) * length, plan.next_lr)]
    for epoch in range(plan.start_epoch + 1, min(epochs, MOST_EPOCHS)):
        rate = rates.idle_rate(mode, base, epoch) or base
        points += [(epoch * length, rate), ((epoch + 1) * length, rate)]
    yield f"resumed from {furthest.member.label} without {' '.join(plan.flags)}", tuple(points)


def _progress(file: FileReport) -> int:
    return file.member.state.global_step or 0
