"""How far a run has come: the steps behind a checkpoint, and how many steps an epoch has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from ckpt_doctor.inert.scheduler_kinds import counts, kind_of
from ckpt_doctor.trainers.hf_trainer.command import Command, command_in
from ckpt_doctor.trainers.hf_trainer.layout import SCALER, STATE
from ckpt_doctor.trainers.state import integer
from ckpt_doctor.types import Checkpoint, Evidence, Member, TensorRef, mapping_of, real

_MOVING = frozenset({"CosineAnnealingWarmRestarts", "SequentialLR", "ChainedScheduler"})
"""Schedules whose `last_epoch` moves with each step, while their `_step_count` is not one more."""
_MOST_CANDIDATES = 4_096
"""Lengths of an epoch that are tried for one checkpoint: about as many as the batches to a step."""
_NEAR = 1e-9
_NO_LENGTH = (1 << 63) - 1
"""`num_train_epochs` of data whose length the Trainer cannot ask for: `sys.maxsize` (`set_initial_training_values`)."""


def may_skip(member: Member) -> bool:
    """Whether a gradient scaler may have skipped optimizer steps, which neither Adam nor the schedule then counts."""
    root = member.checkpoint.root
    scales = isinstance(root, dict) and SCALER in root
    return scales or command_in(member.checkpoint).is_on("fp16")


def scheduled_steps(member: Member) -> int | None:
    """`last_epoch` of a schedule that moves with each step; None of one that does not, or of which it is not known."""
    moves = counts(member.at("scheduler")) or kind(member) in _MOVING
    return member.state.last_epoch if moves else None


def kind(member: Member) -> str | None:
    """The class of torch that the scheduler's state is of."""
    return kind_of(member.at("scheduler"))


def true_step(member: Member) -> Evidence[int] | None:
    """How many optimizer steps the weights have behind them; None where the parts contradict each other.

    `global_step` counts them, and so do Adam and the schedule, unless a scaler skips steps. Where `global_step` is
    alone against Adam and one more witness (the schedule, the folder's name), it is the one that is wrong.
    """
    step, adam, named = member.state.global_step, member.state.optimizer_step, member.named_step
    step = None if step is not None and step < 0 else step
    scheduled = scheduled_steps(member)
    if may_skip(member):
        adam = scheduled = None
    if step is not None and (adam is None or adam == step):
        if adam is None and scheduled is not None and scheduled == named != step:
            return Evidence(scheduled, "the schedule and the folder's name")
        return Evidence(step, "global_step")
    if step is None:
        if adam is not None and named in (None, adam):
            return Evidence(adam, "Adam's step")
        if adam is not None and adam == scheduled:
            return Evidence(adam, "Adam's step and the schedule")
        return Evidence(named, "the folder's name") if adam is None and named is not None else None
    if adam == named:
        return Evidence(adam, "Adam's step and the folder's name") if adam is not None else None
    if adam is not None and adam == scheduled and named != step:
        return Evidence(adam, "Adam's step and the schedule")
    return None


def counts_no_steps(member: Member) -> bool:
    """Whether the optimizer keeps moments without a count of the steps behind them, as SGD with momentum does."""
    entries = [entry for entry in (mapping_of(member.at("optimizer", "state")) or {}).values() if type(entry) is dict]
    keeps = any(isinstance(value, TensorRef) for entry in entries for value in entry.values())
    return keeps and not any("step" in entry for entry in entries)


def majority(member: Member) -> int | None:
    """`global_step`, where the parts contradict each other and only the optimizer is of another step.

    That is where the run is; what the optimizer held there is lost.
    """
    step, witnesses = member.state.global_step, (scheduled_steps(member), member.named_step)
    return step if step is not None and step >= 0 and step in witnesses else None


def steps_per_epoch(checkpoints: Iterable[Checkpoint]) -> Evidence[int] | None:
    """Optimizer steps of an epoch, as most checkpoints of the run have it; None where no file shows it.

    `epoch` is `e + b / n`: b of the n batches of epoch e are done, and the step is `e` epochs and the steps in `b`. In
    a run that is measured in epochs, `max_steps` is their steps; where the data has no length, it is those of one
    epoch.
    """
    votes: Counter[int] = Counter()
    totals: Counter[int] = Counter()
    for checkpoint in checkpoints:
        command = command_in(checkpoint)
        if is_without_length(checkpoint) and (total := total_steps(checkpoint)):
            totals.update([total])
            continue
        epoch, step = real(checkpoint.get(STATE, "epoch")), integer(checkpoint.get(STATE, "global_step"))
        if epoch is not None and step is not None:
            lengths = set(_lengths(epoch, step, command.accumulation))
            votes.update(lengths if len(lengths) < 4 else ())
        total, epochs = integer(checkpoint.get(STATE, "max_steps")), command.number("num_train_epochs")
        if total and epochs and (command.number("max_steps") or 0) <= 0 and float(epochs).is_integer():
            totals.update([total // int(epochs)] if total % int(epochs) == 0 else ())
    for counted, source in ((votes, "epoch and global_step"), (totals, "max_steps and num_train_epochs")):
        ranked = counted.most_common(2)
        if ranked and (len(ranked) == 1 or ranked[0][1] > ranked[1][1]):
            return Evidence(ranked[0][0], source)
    return None


def is_without_length(checkpoint: Checkpoint) -> bool:
    """Whether the Trainer could not ask for the length of its data, as that of an IterableDataset."""
    return checkpoint.get(STATE, "num_train_epochs") == _NO_LENGTH


def since_an_end(checkpoint: Checkpoint) -> int | None:
    """Batches since data of no known length came to its end within the training; 0 at an end, None where it had none.

    Such an epoch counts as `max_steps` steps, so `epoch` is e + b / batches of `max_steps`.
    """
    epoch, step, total = real(checkpoint.get(STATE, "epoch")), integer(checkpoint.get(STATE, "global_step")), None
    if is_without_length(checkpoint):
        total = total_steps(checkpoint)
    if epoch is None or step is None or total is None or not 1 <= epoch < step <= total:
        return None
    ended, per_step = math.floor(epoch + _NEAR), command_in(checkpoint).accumulation
    done = round((epoch - ended) * total * per_step)
    steps = -(-done // per_step)
    return 0 if steps * (ended + 1) == step else done


def _lengths(epoch: float, step: int, accumulation: int) -> Iterator[int]:
    """The steps of an epoch with which a run is at this step after so many epochs.

    The last step of an epoch takes what is left of its batches; releases before 4.46 leave that out.
    """
    if not 0 < epoch < 1e9 or step < 1 or accumulation > _MOST_CANDIDATES:
        return
    whole = math.floor(epoch + _NEAR)
    low = (step * accumulation - (whole + 1) * (accumulation - 1)) / epoch
    high = (step + whole + 1) * accumulation / epoch
    first = max(1, math.floor(low))
    for batches in range(first, min(math.ceil(high), first + _MOST_CANDIDATES) + 1):
        done = (epoch - whole) * batches
        inside = round(done)
        if abs(done - inside) > _NEAR * max(1.0, epoch * batches):
            continue
        up = -(-batches // accumulation)
        if step == whole * up + -(-inside // accumulation):
            yield up
        down = max(1, batches // accumulation)
        if down != up and step == whole * down + inside // accumulation:
            yield down


def total_steps(checkpoint: Checkpoint) -> int | None:
    """Steps of the whole training, as the saved command came to them."""
    total = integer(checkpoint.get(STATE, "max_steps"))
    if total is None or total < 1:
        total = command_in(checkpoint).count("max_steps")
    return total


def epochs_told(command: Command) -> float | None:
    """`num_train_epochs` of a command that is measured in epochs."""
    return None if command.count("max_steps") else command.number("num_train_epochs")
