"""The resume point of a Lightning file, and what the trainer will do with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ckpt_doctor.inert.pairing import pairing_of
from ckpt_doctor.trainers.lightning import kin
from ckpt_doctor.trainers.lightning.averaging import AVERAGED, is_averaged, may_be_averaged
from ckpt_doctor.trainers.lightning.command import facts_of
from ckpt_doctor.trainers.lightning.layout import is_by_hand, is_measured, is_weights_only, optimizers, parts_of
from ckpt_doctor.trainers.lightning.loops import Loops, loops_of
from ckpt_doctor.trainers.lightning.memory import check_left_out
from ckpt_doctor.trainers.lightning.schedule import Target
from ckpt_doctor.trainers.state import integer
from ckpt_doctor.types import (
    Checkpoint,
    Member,
    NotChecked,
    ResumePlan,
    ResumePoint,
    Run,
    TensorRef,
    dotted,
    mapping_of,
    real,
)
from ckpt_doctor.types.record import kept

OTHER_LOOPS = "the loops' counters are of another moment than optimizer, schedule and labels"
NO_LOOPS = "the file has no loops' counters, so the trainer counts epochs and steps from 0"


def resume_point(member: Member, schedule: Target) -> ResumePoint:
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


def has_other_loops(member: Member) -> bool:
    """Whether the loops' counters are of another moment than the rest of the file.

    Both labels at the top say so, and Adam's steps agree with them; of another optimizer the schedule's position."""
    checkpoint, state, loops = member.checkpoint, member.state, loops_of(member.checkpoint)
    step, epoch = integer(checkpoint.get("global_step")), integer(checkpoint.get("epoch"))
    if loops is None or step is None or epoch is None or step == state.global_step or epoch == loops.epoch:
        return False
    if state.optimizer_step is not None:
        return state.optimizer_step == step
    return state.last_epoch not in (None, loops.schedule) and state.last_epoch in (step, epoch + 1)


def told_epoch(checkpoint: Checkpoint) -> int | None:
    """The epoch that the label and the loops' own count of batches have, where the loops' epoch is another one."""
    loops, told = loops_of(checkpoint), integer(checkpoint.get("epoch"))
    if loops is None or told is None or told == loops.epoch or not loops.is_last:
        return None
    if loops.entered == loops.epoch:  # training had ended
        return None
    return told if loops.batches == loops.batch * (told + 1) else None


def plan(member: Member, run: Run, resume: ResumePoint, why_open: Sequence[str]) -> ResumePlan | None:
    """What the trainer will do with this file; None for a file that it cannot resume from.

    `why_open`: of each optimizer why its rate after the resume is not known, empty where it is."""
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
        open=(*_open(member, run), *_open_schedules(member, why_open)),
    )


def _open(member: Member, run: Run) -> Iterator[NotChecked]:
    checkpoint, left_out = member.checkpoint, check_left_out(member, run)
    if left_out is not None and not left_out.is_sure:
        why = f"a resume leaves it out, and the run does not have one in every epoch: {left_out.waiting.monitor}"
        yield NotChecked("whether this epoch ends with a validation", why, "more files of the run")
    if is_measured(checkpoint) and may_be_averaged(checkpoint):
        why = (
            "StochasticWeightAveraging puts the average in their place when training ends, unless it was stopped early"
        )
        yield NotChecked("whether the weights are the trained ones", why, "a file that was saved during training")
    loops = loops_of(checkpoint)
    told = {"optimizer_states", *(["lr_schedulers"] if loops is not None and loops.schedule else [])}  # O705, R508
    yield from (one for one in kin.departures(member, run) if one.what not in told or checkpoint.get(one.what))
    yield from _started_epoch(checkpoint, run) if is_measured(checkpoint) else ()
    tensors = (mapping_of(checkpoint.get("state_dict")) or {}).values()
    kinds = {tensor.dtype for tensor in tensors if isinstance(tensor, TensorRef) and "float" in tensor.dtype}
    if is_measured(checkpoint) and kinds == {"float64"}:
        why = "with precision='64-true' Lightning loads them into a model of float32 before it makes that float64"
        yield NotChecked("whether the weights keep their last digits", why, "the script")


def _started_epoch(checkpoint: Checkpoint, run: Run) -> Iterator[NotChecked]:
    """What a callback sets at an epoch's start, or when it thaws layers, and a resume does not.

    Source: lightning/pytorch/callbacks/gradient_accumulation_scheduler.py and finetuning.py, which saves no
    `requires_grad`; measured with 2.6.6."""
    loops, changing = loops_of(checkpoint), _has_changing_steps(run)
    if loops is not None and loops.is_before_end and changing:
        why = "the number of optimizer steps in an epoch changes in this run, and a resume from the last batch of one "
        yield NotChecked(
            "the length of the accumulation", f"{why}leaves out what callbacks do at the next one's start", ""
        )
    if loops is not None and loops.is_before_checks and loops.has_loader_state:
        why = "its state is of the epoch's last batch, after which some loaders deal nothing in the next epoch"
        yield NotChecked("where the loader goes on", why, "a file of an epoch's end")
    states = (mapping_of(state) or {} for state in (mapping_of(checkpoint.get("callbacks")) or {}).values())
    metadata = (mapping_of(state.get("internal_optimizer_metadata")) or {} for state in states)
    groups = [groups for held in metadata for groups in held.values() if isinstance(groups, list)]
    if any(len(held) > 1 for held in groups) or (groups and _has_late_parameters(checkpoint)):
        why = "a finetuning callback has thawed them, and a resume does not thaw them again"
        yield NotChecked("whether the layers that were frozen at first are trained", why, "the script")


def _has_late_parameters(checkpoint: Checkpoint) -> bool:
    """Whether some parameters of the first optimizer are trained for fewer steps than others."""
    entries = (mapping_of(checkpoint.get("optimizer_states", 0, "state")) or {}).values()
    return len({real((mapping_of(entry) or {}).get("step")) for entry in entries}) > 1


@kept
def _has_changing_steps(run: Run) -> bool:
    """Whether epochs of as many batches have different numbers of optimizer steps."""
    counted = [loops for member in run.members if (loops := loops_of(member.checkpoint)) is not None and loops.is_last]
    return len({loops.batch for loops in counted}) < len({(loops.batch, loops.steps) for loops in counted})


def _open_schedules(member: Member, why_open: Sequence[str]) -> Iterator[NotChecked]:
    """Of several optimizers, or of steps that the script makes, the schedules that are open."""
    if not member.further and not is_by_hand(member.checkpoint):
        return
    parts = parts_of(member.checkpoint)
    for number in pairing_of(parts).open if member.further else ():
        why = "its rates and its number of groups fit several optimizers, and no name decides"
        yield NotChecked(f"whose schedule {dotted(parts.schedulers[number].path)} is", why, "")
    for one, why in zip(member.optimizers, why_open, strict=True):
        if why:
            yield NotChecked(f"the schedule {dotted(one.path('scheduler'))}", why, "")


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
    if is_averaged(member.checkpoint):
        yield AVERAGED
    if has_other_loops(member):
        yield OTHER_LOOPS
    if (told := told_epoch(member.checkpoint)) is not None and loops is not None:
        yield f"the loops count {loops.epoch:,} epochs that are over, and their batches and the label {told:,}"
    shuffle = run.facts.shuffle
    if shuffle is not None and shuffle.value and (loops is None or not loops.has_loader_state):
        yield "no random state is saved, so a shuffling loader deals the first epoch's order again"
