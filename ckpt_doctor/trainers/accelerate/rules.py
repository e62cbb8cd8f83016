"""The rules that are Accelerate's alone: folders that were saved in half, and data that is trained twice."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import replace

from ckpt_doctor.trainers.accelerate.command import facts_of
from ckpt_doctor.trainers.accelerate.habits import habits_of
from ckpt_doctor.trainers.accelerate.layout import (
    COUNTS,
    OPTIMIZER,
    SCALER,
    SCHEDULER,
    WEIGHTS,
    customs,
    files,
    has_several,
    is_sharded,
    name_of,
    ranks,
)
from ckpt_doctor.trainers.accelerate.resume_point import (
    lost_gradients,
    may_end_here,
    open_order,
    rebuilt_schedule,
    steps_first,
)
from ckpt_doctor.trainers.accelerate.several import departures, exchanged, missing_weights
from ckpt_doctor.trainers.copied_weights import copied_weights
from ckpt_doctor.types import Case, Checkpoint, NotChecked, real
from ckpt_doctor.validators import COUNT, DICT, SLOTS, Slot, problems_of
from ckpt_doctor.validators.rule import Problem, listing, rule


@rule("F114", "missing-part", "error")
def half_saved(case: Case) -> Iterator[Problem]:
    """A folder of `save_state` lacks a file that `load_state` opens.

    The files are written one after another: model, optimizer, schedule, scaler, random states. A save that was cut off
    leaves the first of them. What a script prepares is not in the folder, so the other folders of the run tell what
    belongs to it. Without its random states a folder is loaded all the same, and draws other numbers.

    Example: `step_40` with `optimizer.bin` and without `scheduler.bin`, beside folders that have both.

    Cure: resume from another folder; `ckpt-doctor latest` names it. A missing `scheduler.bin` is written by
    `ckpt-doctor migrate --sync-scheduler` where another folder's schedule, moved to Adam's steps, has the optimizer's
    rates.

    Source: accelerate/checkpointing.py, `load_accelerator_state` (1.15).
    """
    here, habits = case.checkpoint, habits_of(case.run)
    hooked = list(missing_weights(here, habits.usual))
    for name in _missing(here, habits.files, bool(hooked)):
        why = "the other folders of this run have it" if name in habits.files else "save_state writes one"
        yield Problem(
            f"{name} is missing ({why}), as after a save that was cut off: load_state stops with FileNotFoundError",
            where=name,
            migration="sync-scheduler" if name == SCHEDULER and rebuilt_schedule(case.member, case.run) else None,
        )
    for name in hooked:
        yield Problem(
            f"{name} is missing (the other folders of this run have it): the script's own hook, which saved it there, "
            "stops where it loads it",
            where=name,
        )
    if customs(here) < habits.customs:
        yield Problem(
            f"the folder has {customs(here)} files custom_checkpoint_N.pkl, and others of this run have "
            f"{habits.customs}: load_state stops with RuntimeError",
            where=f"custom_checkpoint_{customs(here)}.pkl",
        )
    if lost := _lost_ranks(here, habits.ranks):
        yield Problem(
            f"{listing(lost, 3)} {'is' if len(lost) == 1 else 'are'} missing: load_state gives no warning, and "
            "shuffling and dropout draw other numbers in such a process",
            where=lost[0],
            severity="warning",
        )


def _missing(here: Checkpoint, usual: Collection[str], hooked: bool) -> Iterator[str]:
    """Names at the top of the folder; no model where that is missing which a hook saves."""
    if is_sharded(here):
        return
    there = set(files(here))
    if not hooked and not any(name.endswith((".safetensors", ".bin")) and name not in _STATES for name in there):
        yield next((name for name in WEIGHTS if name in usual), WEIGHTS[0])
    elif not any(name.startswith(_MODEL) for name in there):
        yield from (name for name in WEIGHTS if name in usual)
    if OPTIMIZER not in there and (SCHEDULER in there or OPTIMIZER in usual):
        yield OPTIMIZER
    yield from (name for name in (SCHEDULER, SCALER) if name not in there and name in usual)
    yield from sorted(name for name in usual if name not in there and _FURTHER.fullmatch(name))


_MODEL = ("model.", "model-", "pytorch_model.", "pytorch_model-")
_FURTHER = re.compile(r"(optimizer|scheduler|pytorch_model)_\d+\.bin|model_\d+\.safetensors")
"""Files of the second model, optimizer and schedule that a script prepares, and of those after it."""
_STATES = frozenset({OPTIMIZER, SCHEDULER, "optimizer_1.bin", "scheduler_1.bin", "sampler.bin", "dl_state_dict.bin"})


def _lost_ranks(here: Checkpoint, usual: int) -> list[str]:
    there = set(ranks(here))
    count = max(usual, max(there, default=0) + 1)
    return [f"random_states_{rank}.pkl" for rank in range(min(count, 10_000)) if rank not in there]


@rule("O705", "optimizer-reset", "warning")
def no_moments(case: Case) -> Iterator[Problem]:
    """The optimizer has no state at all, and the other folders of the run show that training has begun.

    Example: `optimizer.bin` with an empty `state` in `step_40`, and Adam's averages in `step_20`.

    Cure: none in the folder; resume from another one.

    Source: accelerate/checkpointing.py, `load_accelerator_state` (1.15).
    """
    empty = case.at("optimizer", "state") == {} and case.state.optimizer_step is None
    counted = any(name == OPTIMIZER for _, name in habits_of(case.run).usual.rates)
    if empty and counted and (has_several(case.checkpoint) or not case.at("scheduler", "last_epoch")):
        yield Problem(
            f"{OPTIMIZER} has no state of any parameter, and the other folders of this run have it: the optimizer "
            "starts anew",
            where=f"{OPTIMIZER}.state",
            fix="",
        )


@rule("P410", "mid-epoch-data", "warning")
def mid_epoch_data(case: Case) -> Iterator[Problem | NotChecked]:
    """Saved in the middle of an epoch, by a script that begins the epoch again.

    The scripts of diffusers name their folders `checkpoint-N` and take the epoch from N; they skip no batches. So the
    epoch's first batches are trained once more, while the schedule goes on from where it was.

    Example: `checkpoint-14` with 10 steps per epoch: 4 batches are trained twice.

    Cure: none in the folder. Save at the end of an epoch, or call `accelerator.skip_first_batches`.

    Source: measured; diffusers/examples, `first_epoch = global_step // num_update_steps_per_epoch`.
    """
    named, point, twin = name_of(case.checkpoint.path), case.resume, habits_of(case.run).twins.get(case.member.label)
    again = point.skip_batches if named is not None and named[0] == "optimizer-step" else 0
    if again and not may_end_here(case.member, point):
        yield Problem(
            f"saved {again:,} batches into an epoch, and scripts that name their folders checkpoint-N begin that epoch "
            "again: these batches are trained twice, and the schedule is ahead of the data",
            fix="save at the end of an epoch, or have the script call accelerator.skip_first_batches",
        )
    elif (lost := lost_gradients(case.member, facts_of(case.run))) and lost[0] and not twin:
        yield Problem(
            f"saved in the middle of an accumulation: the gradients of {lost[0]:,} batches are in no file, and the "
            "resumed run continues without them",
            fix="save where accelerator.sync_gradients is true",
        )
    if named is None or named[0] == "save":
        yield NotChecked(
            "where the script continues",
            "the folder's name does not show how far training had come",
            "a look into the script",
        )
    if why := steps_first(case.member, case.run):
        yield NotChecked("the schedule's position", why, "the script")
    if option := point.unsettled.get("start_epoch"):
        yield NotChecked("how far into its epoch training was", "the number of batches per epoch is not known", option)
    elif order := open_order(case.member, case.run, point.start_epoch, point.skip_batches):
        yield NotChecked("the order of the data after the resume", *order)


_UNREAD = "load_state gives no warning, and shuffling and dropout draw other numbers"
_NAMES = {"rng.python": "random_state", "rng.numpy": "numpy_random_seed", "rng.torch": "torch_manual_seed"}
"""Slots of a random state -> Accelerate's keys."""
_RANDOM = (
    Slot("", DICT, _UNREAD),
    *(replace(slot, name=_NAMES[slot.name], otherwise=_UNREAD) for slot in SLOTS if slot.name in _NAMES),
    Slot("step", COUNT, "accumulate() cannot count on from it", severity="error"),
)


@rule("O707", "invalid-value", "warning")
def random_states(case: Case) -> Iterator[Problem]:
    """Accelerate cannot restore a random state, and gives no warning.

    Example: `random_states_0.pkl` without `torch_manual_seed`.

    Cure: none in the folder; resume from another one.

    Source: accelerate/checkpointing.py, `load_accelerator_state` (1.15): all exceptions are passed over.
    """
    for rank in ranks(case.checkpoint):
        name = f"random_states_{rank}.pkl"
        held = case.checkpoint.get(name)
        yield from problems_of(_RANDOM, held, (name,))
        lost = [key for key in _NAMES.values() if isinstance(held, dict) and key not in held]
        if lost:
            yield Problem(f"{name} has no {lost[0]}: {_UNREAD}", where=f"{name}.{lost[0]}", fix="")


@rule("P409", "parts-disagree", "warning")
def copied_random_state(case: Case) -> Iterator[Problem]:
    """A random state that another folder of the run has, byte for byte, where the loop must have drawn in between.

    Example: the same `random_states_0.pkl` in `step_20` and `step_40`.

    Cure: none in the folder; resume from another one.

    Source: accelerate/checkpointing.py, `save_accelerator_state` (1.15).
    """
    twin = habits_of(case.run).twins.get(case.member.label)
    if twin is not None and twin.is_proven:
        yield twin.problem


@rule("P409", "parts-disagree", "warning")
def of_another_moment(case: Case) -> Iterator[Problem]:
    """A part of the folder is of another moment than its name, or two parts are in each other's place.

    Of one optimizer that counts its steps P401, P403, R501 and R502 judge this; here, those of several, and a schedule
    beside an optimizer that counts none. The other folders of the run show what is due.

    Example: `optimizer_1.bin` at 20 steps in `step_40`, where `optimizer.bin` has 40.

    Cure: none in the folder; take all parts from one checkpoint.

    Source: accelerate/checkpointing.py, `load_accelerator_state` (1.15), which takes files by their numbers.
    """
    known, ahead = habits_of(case.run).usual, facts_of(case.run).ahead
    others = dict(exchanged(case.checkpoint, known))
    for name, other in others.items():
        yield Problem(
            f"{name} holds what {other} holds in the other folders of this run: load_state takes files by their "
            "numbers, so one is loaded in the other's place",
            where=name,
            fix="",
        )
    for name, count, due in departures(case.member, known, ahead) if not others else ():
        yield Problem(
            f"{name} is at {count:,} where the other folders of this run call for {due:,}: it is of another moment",
            where=name,
            found=count,
            expected=due,
            fix="",
        )


@rule("P402", "epoch-step-mismatch", "warning")
def fewer_steps_counted(case: Case) -> Iterator[Problem]:
    """The script's own count of steps is lower than that of the optimizer.

    The scripts of kohya-ss start where `train_state.json` says. After a second resume some of their versions count the
    steps of the last run alone, and then train what lies before once more.

    Example: `current_step` 60 in the folder of epoch 25, beside 375 steps of Adam.

    Cure: put the optimizer's steps into the file.

    Source: kohya-ss/sd-scripts train_network.py, `save_model_hook`, which may be one step ahead; #2248, and
    bmaltais/kohya_ss#2771.
    """
    count, made = real(case.checkpoint.get(COUNTS, "current_step")), case.state.optimizer_step
    if count is not None and made is not None and 0 <= count < made - 1:
        yield Problem(
            f"{COUNTS} counts {count:,.0f} steps, and the optimizer has made {made:,}: a script that starts there "
            "trains what lies between once more",
            where=f"{COUNTS}.current_step",
            found=count,
            expected=made,
            fix=f'set "current_step" to {made} in {COUNTS}',
        )


RULES = (
    fewer_steps_counted,
    half_saved,
    no_moments,
    mid_epoch_data,
    random_states,
    copied_random_state,
    copied_weights,
    of_another_moment,
)
