"""Where a script goes on from a folder of `save_state`, and where the uninterrupted run was.

The loops are those of accelerate/examples/by_feature/checkpointing.py (`step_N`, `epoch_N`: the folder's name gives the
epoch, `skip_first_batches` the place in it) and of the diffusers scripts (`checkpoint-N`: the epoch begins again).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Literal

from ckpt_doctor.inert.scheduler_kinds import kind_of
from ckpt_doctor.trainers.accelerate.command import AccelerateFacts, facts_of
from ckpt_doctor.trainers.accelerate.habits import habits_of, is_behind, times, was_replaced
from ckpt_doctor.trainers.accelerate.layout import has_several, name_of, ranks, within_epoch
from ckpt_doctor.trainers.accelerate.naming import is_accumulated, is_outvoted
from ckpt_doctor.trainers.accelerate.several import unlike
from ckpt_doctor.trainers.schedules import moved_to, reached
from ckpt_doctor.trainers.state import own_rates, param_groups
from ckpt_doctor.types import (
    Evidence,
    LateRandomState,
    Member,
    NotChecked,
    Rates,
    ResumePlan,
    ResumePoint,
    Run,
    Schedule,
    TensorRef,
    mapping_of,
    same_rate,
)

_MOST_DONORS = 8
"""Folders whose schedules are tried in the place of a missing one."""


def place(member: Member, run: Run) -> tuple[int | None, int | None]:
    """Epoch and batch at which the uninterrupted run went on; None for what neither name nor counters show."""
    facts = facts_of(run)
    named, steps, done = name_of(member.checkpoint.path), member.state.global_step, within_epoch(member)
    if facts.updates is not None and steps is not None:
        epoch, updates = divmod(steps, facts.updates.value)
        if done is not None or updates == 0:
            return epoch, done or 0
        length = facts.steps_per_epoch
        return epoch, updates if length is not None and length.value == facts.updates.value else None
    if named is not None and named[0] == "epoch":
        return named[1] + facts.ahead, 0
    if facts.steps_per_epoch is None or named is None or named[0] == "save":
        return None, done
    batches = max(named[1], steps or 0) if is_accumulated(member, run) else steps if steps is not None else named[1]
    epoch, skip = divmod(batches, facts.steps_per_epoch.value)
    return (epoch, skip) if done is None or skip == done else (None, done)


def at(member: Member, run: Run) -> ResumePoint:
    """The state of the uninterrupted run where this folder was saved."""
    epoch, skip = place(member, run)
    unsettled: dict[str, str] = {}
    if epoch is None or skip is None:
        unsettled["start_epoch"] = "--steps-per-epoch"
    elif order := open_order(member, run, epoch, skip):
        unsettled["data"] = order[1]
    position = due(member, run)
    rates = rates_at(member, position) or _rates_beside(member, run, position)
    if rates is None:
        unsettled["lr"] = "another checkpoint of the run"
    elif steps_first(member, run):
        unsettled["lr"] = "the script"
    return ResumePoint(
        start_epoch=epoch,
        skip_batches=skip,
        global_step=None if is_outvoted(member) else member.state.global_step,
        last_epoch=position,
        lr=rates.lr if rates else None,
        beta1=rates.beta1 if rates else None,
        last_lr=rates.last_lr if rates else None,
        finished_epochs=epoch,
        unsettled=unsettled,
    )


# --- the schedule ----------------------------------------------------------------------------------------------------


def due(member: Member, run: Run) -> int | None:
    """The schedule's position that the optimizer's steps call for; None where scripts differ in it.

    `AcceleratedScheduler.step` takes a step for each process; with `split_batches` one. A script may also step by
    epochs, or leave the schedule out of `prepare`. So the rule is taken from the other folders of the run. Without
    them a folder is judged where it lacks the last step alone, as when it was saved before `scheduler.step`, or is
    ahead although each batch made one step.
    """
    steps, last = member.state.global_step, member.state.last_epoch
    if steps is None or last is None or has_several(member.checkpoint):
        return None
    world = run.facts.processes
    if last in (steps * world, steps):
        return last
    habits = habits_of(run)
    own = times(member, world)
    usual = {moves for moves, folders in habits.times.items() if folders > (moves == own)} - {0}
    if usual in ({world}, {1}):
        return steps * (usual.pop() or 0)
    updates = facts_of(run).updates
    if habits.each_epoch and updates is not None:
        return steps // updates.value * habits.each_epoch if not habits.steps_early else None
    if usual:
        return None
    named = name_of(member.checkpoint.path)
    counted = named is not None and named[0] in ("step", "optimizer-step")
    each_batch = counted and named is not None and named[1] == steps
    behind = counted and not habits.ends_behind and is_behind(member, world)
    return steps * world if behind or (each_batch and last > steps * world) else None


def steps_first(member: Member, run: Run) -> str:
    """Why it is open whether the script steps a schedule that goes by epochs first; empty where it is not.

    That is so where every folder of an epoch's end lacks that epoch's step."""
    habits, updates, steps = habits_of(run), facts_of(run).updates, member.state.optimizer_step
    if not habits.each_epoch or not habits.steps_early or updates is None or not steps or steps < updates.value:
        return ""
    if steps % updates.value == 0:
        return "it lacks the step of the epoch that has just ended, which is right only if the script steps it first"
    return "if the script steps it first in an epoch, a resume within one steps it again"


def rates_at(member: Member, position: int | None) -> Rates | None:
    """The rates at a position of the file's own schedule.

    Where its formula is not in the file (a function of the script), the file's own are right as long as they agree with
    each other and the schedule is where it belongs.
    """
    scheduler, groups = member.at("scheduler"), param_groups(member)
    if not groups:
        return None
    if not isinstance(scheduler, dict):
        own = own_rates(member)
        return Rates(own, None, ()) if own else None
    computed = None if position is None else _moved(scheduler, groups, position)
    if computed is not None:
        return computed
    last_lr = scheduler.get("_last_lr")
    there = position is None or position == member.state.last_epoch
    if there and isinstance(last_lr, list) and all(isinstance(rate, (int, float)) for rate in last_lr):
        return Rates(tuple(last_lr), None, tuple(last_lr))
    return None


def _rates_beside(member: Member, run: Run, position: int | None) -> Rates | None:
    """The rates of a folder of the same optimizer steps whose schedule is at the position already."""
    steps = member.state.optimizer_step
    other = habits_of(run).at.get((steps, position)) if steps is not None and position is not None else None
    return rates_at(other, position) if other is not None and agreed(other) is None else None


def _moved(scheduler: Mapping[Any, Any], groups: Any, position: int) -> Rates | None:
    total = scheduler.get("total_steps")
    if isinstance(total, int):
        position = min(position, total)  # where Accelerate stops stepping it
    moved = reached(scheduler, groups, position)
    return None if moved is None else moved.as_rates()


def rebuilt_schedule(member: Member, run: Run) -> Evidence[dict[Any, Any]] | None:
    """The state of a missing schedule: another folder's, moved to this one's optimizer steps.

    None where no folder shows how often the schedule moves, or the rates come out other than the optimizer has them.
    """
    steps, world, groups = member.state.optimizer_step, run.facts.processes, member.at("optimizer", "param_groups")
    if not steps or not isinstance(groups, list) or has_several(member.checkpoint):
        return None
    rates = [group.get("lr") if isinstance(group, dict) else None for group in groups]
    for donor in islice((other for other in run.members if times(other, world)), _MOST_DONORS):
        state, moves = donor.at("scheduler"), times(donor, world) or 0
        if not isinstance(state, dict) or not all(isinstance(rate, float) for rate in rates):
            continue
        try:
            moved = moved_to(state, groups, steps * moves)
        except ValueError:
            continue
        source = f"{donor.label}'s schedule at {steps:,} optimizer steps"
        if moved is not None and all(map(same_rate, moved.rates, rates)):
            return Evidence({**moved.state, "_last_lr": list(rates)}, source)
        if moved is None and kind_of(state) == "LambdaLR":
            place = {"last_epoch": steps * moves, "_step_count": steps * moves + 1, "_last_lr": list(rates)}
            return Evidence({**state, **place}, f"{source}, with the optimizer's rates")
    return None


def agreed(member: Member) -> Rates | None:
    """What the schedule calls for at its own position, where the file is not at one with itself.

    With several optimizers or schedulers it is open which belongs to which.
    """
    if has_several(member.checkpoint):
        return None
    last_lr, rate = member.at("scheduler", "_last_lr", 0), member.state.lr
    if rate is None or not isinstance(last_lr, (int, float)) or same_rate(rate, last_lr):
        return None
    return rates_at(member, member.state.last_epoch)


def schedule(member: Member, run: Run, point: ResumePoint) -> Schedule:
    """Where the position of the resume point comes from."""
    world, steps = run.facts.processes, member.state.optimizer_step or 0
    times = f" x {world} processes" if world > 1 and point.last_epoch == steps * world else ""
    unit: Literal["step", "epoch"] = "epoch" if habits_of(run).each_epoch else "step"
    return Schedule(moves=None, unit=unit, evidence=f"{steps:,} steps of Adam{times}")


# --- what the script will do -----------------------------------------------------------------------------------------


def plan(member: Member, run: Run, point: ResumePoint, late: LateRandomState | None) -> ResumePlan:
    """What the script will do, by the folder's name."""
    epoch, skip = _start(member, run, point)
    return ResumePlan(
        start_epoch=epoch,
        skip_batches=skip,
        global_step=member.named_step,
        next_lr=member.state.lr,
        next_lr_uninterrupted=point.lr[0] if point.lr else None,
        best_score=None,
        counter=None,
        steps_left=None,
        why_not_exact=tuple(_why_not_exact(member, run, point, late)),
        open=tuple(_open(member, run, point)),
    )


def may_end_here(member: Member, point: ResumePoint) -> bool:
    """Whether a folder that is named by optimizer steps counts no batch of its epoch, though the steps lie inside one.

    A loop without `accumulate` counts none; with it each step takes several batches, and the epoch is over here."""
    named = name_of(member.checkpoint.path)
    return (
        bool(point.skip_batches)
        and named is not None
        and named[0] == "optimizer-step"
        and member.at("rng", "step") == 0
    )


def _open(member: Member, run: Run, point: ResumePoint) -> Iterator[NotChecked]:
    facts = facts_of(run)
    for name in unlike(member, habits_of(run).usual, facts.ahead):
        why = "its settings, or its keys and their types, are others than in all other folders of this run"
        yield NotChecked(f"whether {name} is what the script takes", why, "the script")
    if may_end_here(member, point):
        why = "it counts no batch of its epoch: a step may take several batches, and the epoch be over here"
        yield NotChecked("whether the script begins an epoch again", why, "the script")
    lost = lost_gradients(member, facts)
    if lost and lost[0] == 0 < lost[1]:
        why = "how many batches make an optimizer step is in no file, and folders of this run were saved between two"
        yield NotChecked("whether gradients of an accumulation are lost", why, "the script")


def _start(member: Member, run: Run, point: ResumePoint) -> tuple[int | None, int | None]:
    named, facts = name_of(member.checkpoint.path), facts_of(run)
    if named is None or named[0] == "save":
        return None, None
    if named[0] == "epoch":
        return named[1] + facts.ahead, 0
    if facts.steps_per_epoch is None:
        return None, 0 if named[0] == "optimizer-step" else None
    if named[0] == "optimizer-step":
        return point.start_epoch, 0
    if named[1] == member.state.optimizer_step and (point.skip_batches or 0) != named[1] % facts.steps_per_epoch.value:
        return point.start_epoch, point.skip_batches  # a script that counts optimizer steps
    return divmod(named[1], facts.steps_per_epoch.value)


def _why_not_exact(member: Member, run: Run, point: ResumePoint, late: LateRandomState | None) -> Iterator[str]:
    facts = facts_of(run)
    if not ranks(member.checkpoint):
        yield "random_states_0.pkl is missing, so shuffling and dropout draw other numbers"
    elif late is not None and facts.shuffle is not None and facts.shuffle.value:
        cure = " (`migrate --sync-rng` sets it right)" if late.cure else ""
        yield f"the random state was saved {late.why}, so a shuffling loader deals other batches{cure}"
    if not habits_of(run).draws or not ranks(member.checkpoint):
        return
    if point.skip_batches:
        yield "each batch draws random numbers (dropout), and a resume starts the epoch's loader again, which draws too"
    elif late is not None:
        yield f"each batch draws random numbers (dropout), and the random state was saved {late.why}"


def late_random_state(member: Member, run: Run, epoch: int | None, skip: int | None) -> LateRandomState | None:
    """A random state that does not deal the rest of its epoch as the uninterrupted run does.

    On one process: saved inside an epoch, whose order had been drawn, or at its end before a validation, which draws
    from it too. The state of the epoch's beginning is in the folder that is named by the epoch before. On several the
    loader has a generator of its own that no file holds (`prepare_data_loader`), which begins with epoch 0's order.
    """
    named, processes = name_of(member.checkpoint.path), len(ranks(member.checkpoint))
    if processes > 1:
        why = f"on {processes} processes, whose loader has a generator of its own that no file holds"
        return LateRandomState(why) if epoch else None
    counted = named is not None and named[0] in ("step", "optimizer-step")
    if not counted or epoch is None or skip is None or not processes or was_replaced(member):
        return None
    if skip and named and named[0] != "step":
        return None  # such scripts begin the epoch again
    before = habits_of(run).by_epoch.get(epoch - 1)
    if (before is None and not skip) or (before is not None and _same_state(before, member)):
        return None
    why = "after this epoch's shuffle" if skip else "before this epoch's validation, which draws from it too"
    donor = None if before is None else _part(before)
    if before is None or donor is None or not isinstance(before.at("rng"), dict):
        return LateRandomState(why)
    state = {**(mapping_of(before.at("rng")) or {}), "step": member.at("rng", "step")}
    return LateRandomState(why, Evidence(state, f"{before.label}, saved when epoch {epoch - 1} was over"), donor)


def _same_state(one: Member, other: Member) -> bool:
    states = [member.at("rng", "torch_manual_seed") for member in (one, other)]
    values = [state.value for state in states if isinstance(state, TensorRef)]
    return len(values) == 2 and values[0] is not None and values[0] == values[1]


def open_order(member: Member, run: Run, epoch: int | None, skip: int | None) -> tuple[str, str] | None:
    """Why it is open in which order the data come after a resume, and what settles it; None where nothing is open."""
    facts, named = facts_of(run), name_of(member.checkpoint.path)
    if not facts.shuffles or epoch is None or not ranks(member.checkpoint):
        return None
    late = late_random_state(member, run, epoch, skip)
    if late is not None and facts.shuffle is not None:
        return None
    if late is not None:
        return (
            f"the random state was saved {late.why}, so a loader that shuffles deals other batches",
            "--shuffle or --no-shuffle",
        )
    if epoch and facts.seedable_sampler is None:
        why = "a seedable sampler, which no file shows, begins with the order of epoch 0 again"
        return why, "--no-seedable-sampler or --no-shuffle"
    if epoch and facts.seedable_sampler is not None and facts.seedable_sampler.value:
        return "a seedable sampler begins with epoch 0's order again, unless the script calls set_epoch", "the script"
    ends = named is not None and named[0] != "epoch" and skip == 0 and epoch > 0
    if ends and epoch - 1 not in habits_of(run).by_epoch:
        why = "a validation that draws random numbers may have come after the save"
        return why, f"a folder epoch_{epoch - facts.ahead}"
    return None


def _part(member: Member) -> Any:
    name = member.path("rng")[0]
    return next((p for p in member.checkpoint.parts if member.checkpoint.name_of(p) == name), None)


def lost_gradients(member: Member, facts: AccelerateFacts) -> tuple[int, int] | None:
    """Batches whose gradients were not yet in the weights: those since the last optimizer step; least and most.

    The length of an accumulation is in no file; the folders of a run leave some possible. None where nothing shows it.
    """
    steps, done = member.state.optimizer_step, within_epoch(member)
    if steps is None or done is None or (steps and facts.updates is None):
        return None
    made = steps % facts.updates.value if facts.updates is not None else 0
    lost = [done - made * each for each in facts.accumulation] if made else [done]
    return (min(lost), max(lost)) if lost else None
