"""The resume point of a Lightning file, and what the trainer will do with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckpt_doctor.trainers.lightning.command import facts_of
from ckpt_doctor.trainers.lightning.layout import is_measured, is_weights_only, optimizers
from ckpt_doctor.trainers.lightning.loops import Loops, loops_of
from ckpt_doctor.trainers.lightning.schedule import Target
from ckpt_doctor.types import Member, ResumePlan, ResumePoint, Run

NO_LOOPS = "the file has no loops' counters, so the trainer counts epochs and steps from 0"


def resume_point(member: Member, run: Run, schedule: Target) -> ResumePoint:
    """The state that an uninterrupted run has when it begins the batch where the trainer resumes."""
    loops, state = loops_of(member.checkpoint), member.state
    if is_weights_only(member.checkpoint) or not is_measured(member.checkpoint):
        return ResumePoint()
    rates = schedule.rates
    point = ResumePoint(
        last_epoch=schedule.last_epoch,
        lr=rates.lr if rates else None,
        beta1=rates.beta1 if rates else None,
        last_lr=rates.last_lr if rates else None,
    )
    if optimizers(member.checkpoint) == 0:
        point = replace(point, lr=())
    if loops is None:
        epoch = state.epoch
        return point if "loops" in member.checkpoint.keys or epoch is None else replace(point, start_epoch=epoch + 1)
    return replace(
        point,
        start_epoch=loops.start,
        skip_batches=0 if loops.at_end else loops.batch,
        global_step=_proven_step(member, loops),
        finished_epochs=loops.start,
        epoch=state.epoch,
    )


def _proven_step(member: Member, loops: Loops) -> int | None:
    """How many optimizer steps the weights have behind them; None where the counters contradict each other.

    Adam's own count, where another one of the file or its name agrees with it.
    """
    step, adam = member.state.global_step, member.state.optimizer_step
    if adam is None or adam == step:
        return step
    others = (loops.schedule, member.named_step, member.checkpoint.get("global_step"), loops.batches)
    return adam if adam in others else None


def plan(member: Member, run: Run, resume: ResumePoint) -> ResumePlan | None:
    """What the trainer will do with this file; None for a file that it cannot resume from."""
    checkpoint, state = member.checkpoint, member.state
    if is_weights_only(checkpoint):
        return None
    loops = loops_of(checkpoint)
    known = loops is not None and is_measured(checkpoint)
    return ResumePlan(
        start_epoch=resume.start_epoch if known else None,
        skip_batches=resume.skip_batches if known else 0,
        global_step=state.global_step,
        next_lr=state.lr,
        next_lr_uninterrupted=resume.lr[0] if resume.lr else None,
        best_score=state.best_score,
        counter=state.counter,
        steps_left=_steps_left(run, loops) if known else None,
        why_not_exact=tuple(_why_not_exact(member, run, loops)),
    )


def _steps_left(run: Run, loops: Loops | None) -> int | None:
    facts = facts_of(run)
    if loops is None or facts.train_epochs is None or facts.steps is None:
        return None
    left = (facts.train_epochs.value - loops.start) * facts.steps
    return max(0, left - (0 if loops.at_end else loops.steps or 0))


def _why_not_exact(member: Member, run: Run, loops: Loops | None) -> Iterator[str]:
    if not is_measured(member.checkpoint):
        return
    if "loops" not in member.checkpoint.keys:
        yield NO_LOOPS
    shuffle = run.facts.shuffle
    if shuffle is not None and shuffle.value and (loops is None or not loops.has_loader_state):
        yield "no random state is saved, so a shuffling loader deals the first epoch's order again"
