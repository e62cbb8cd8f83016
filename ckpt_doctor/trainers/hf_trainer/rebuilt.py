"""Parts that can be written anew: `scheduler.pt` from the optimizer, `trainer_state.json` from a sibling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from ckpt_doctor.inert.scheduler_kinds import kind_of
from ckpt_doctor.trainers import schedules
from ckpt_doctor.trainers.hf_trainer import best, rates
from ckpt_doctor.trainers.hf_trainer.best_path import run_path
from ckpt_doctor.trainers.hf_trainer.command import Command, command_in, facts_of
from ckpt_doctor.trainers.hf_trainer.kin import own_callbacks
from ckpt_doctor.trainers.hf_trainer.layout import SCHEDULER, STATE, file_names, has_optimizer, has_scheduler
from ckpt_doctor.trainers.hf_trainer.parts import is_lost
from ckpt_doctor.trainers.hf_trainer.progress import true_step
from ckpt_doctor.trainers.state import base_rates, integer, own_rates
from ckpt_doctor.types import Case, Evidence, Member, real

_STANDARD = "LambdaLR"


def fixes_of_lost_parts(case: Case) -> Iterator[tuple[str, str]]:
    """Parts that cannot be read and can be written anew, each with the name of the fix."""
    if is_lost(case.checkpoint, STATE) and trainer_state(case):
        yield STATE, "add-trainer-state"
    if is_lost(case.checkpoint, SCHEDULER) and scheduler_state(case):
        yield SCHEDULER, "sync-scheduler"


# --- scheduler.pt ----------------------------------------------------------------------------------------------------


def scheduler_state(case: Case) -> Evidence[dict[str, object]] | None:
    """What `scheduler.pt` holds at the resume point, where it is not there or lost; None without evidence.

    The base rates are the groups' `initial_lr`, the position is the step, and the formula is not in the file. None for
    schedules that follow a metric, whose memory is lost, and where a sibling's schedule is not one of transformers'.
    """
    member, is_there = case.member, has_scheduler(case.checkpoint) and not is_lost(case.checkpoint, SCHEDULER)
    if is_there or not has_optimizer(case.checkpoint):
        return None
    step, base, own = true_step(member), base_rates(member), own_rates(member)
    position = None if step is None else rates.position_at(member, step.value)
    if step is None or position is None or base is None or own is None or len(base) != len(own):
        return None
    others = (m.at("scheduler") for m in case.run.members)
    forms = [other for other in others if isinstance(other, dict)]
    if any(kind_of(form) != _STANDARD for form in forms):
        return None
    state: dict[str, object] = {
        "base_lrs": list(base),
        **schedules.progress(position, list(own)),
        "lr_lambdas": _lambdas(forms[0] if forms else {}, len(base)),
    }
    if forms:  # in the form that this run's torch writes
        state = {key: state.get(key, value) for key, value in forms[0].items()}
    return Evidence(state, f"optimizer.pt (initial_lr, lr) and {step.source}")


def _lambdas(form: Mapping[object, object], count: int) -> list[object]:
    """Empty for each function, as `LambdaLR.state_dict` has them: None for a plain one, what a partial one has."""
    found = form.get("lr_lambdas")
    kept = found if isinstance(found, list) and len(found) == count else [None] * count
    return [None if one is None else {} for one in kept]


# --- trainer_state.json ----------------------------------------------------------------------------------------------


def trainer_state(case: Case) -> Evidence[dict[str, Any]] | None:
    """What `trainer_state.json` holds at this step, where it is not there or lost; None without evidence."""
    is_there = STATE in file_names(case.checkpoint) and not is_lost(case.checkpoint, STATE)
    return None if is_there else state_from_others(case)


def is_of_another_step(case: Case) -> bool:
    """Whether `trainer_state.json` as a whole, and not its `global_step` alone, is of another step than the rest.

    Its log goes beyond the step, or has nothing after the one that it tells.
    """
    step, told = case.resume.global_step, case.state.global_step
    logged = max(map(best.step_of, best.history(case.checkpoint)), default=-1)
    return step is not None and told is not None and told != step and (logged > step or 0 < logged <= told < step)


def state_from_others(case: Case) -> Evidence[dict[str, Any]] | None:
    """The state at this step by those of other steps, of which the folder's own may be one; None without evidence."""
    step, length, command = true_step(case.member), facts_of(case.run).steps_per_epoch, command_in(case.checkpoint)
    if step is None or length is None:
        return None
    known = (m for m in case.run.members if m.state.global_step is not None)
    stated = [m for m in known if command.is_of_one_run(command_in(m.checkpoint))]
    callbacks = [own_callbacks(m.checkpoint) for m in stated]
    if any(one != other for one, other in pairwise(callbacks)):
        return None  # what they count at this step is in no file
    later = min((m for m in stated if _at(m) > step.value), key=_at, default=None)
    earlier = max((m for m in stated if _at(m) < step.value), key=_at, default=None)
    if later is not None:
        state = _from_later(case, later, step.value, length.value)
        return Evidence(state, f"{later.label}, with its log cut at step {step.value:,}")
    if earlier is not None and not _evaluates_between(earlier, step.value, length.value):
        state = _moved(earlier, step.value, length.value)
        return Evidence(state, f"{earlier.label}, with no evaluation in between; the log lines in between are lost")
    return None


def _at(member: Member) -> int:
    return member.state.global_step or 0


def _moved(member: Member, step: int, length: int) -> dict[str, Any]:
    """A sibling's state with this step, its epoch, and what grows in proportion."""
    saved, there = member.checkpoint.get(STATE), _at(member)
    state: dict[str, Any] = dict(saved) if isinstance(saved, dict) else {}
    state["global_step"], state["epoch"] = step, _epoch(member, step, length)
    for name in ("total_flos", "num_input_tokens_seen"):
        value = state.get(name)
        if there and isinstance(value, (int, float)) and not isinstance(value, bool):
            state[name] = type(value)(value * step / there)
    return state


def _epoch(member: Member, step: int, length: int) -> float:
    """As the log has it at this step, else by the steps of an epoch."""
    logged = (real(entry.get("epoch")) for entry in best.history(member.checkpoint) if best.step_of(entry) == step)
    found = next((epoch for epoch in logged if epoch is not None), None)
    return step / length if found is None else found


def _from_later(case: Case, later: Member, step: int, length: int) -> dict[str, Any]:
    state, command = _moved(later, step, length), command_in(later.checkpoint)
    log = [entry for entry in best.history(later.checkpoint) if _is_before(entry, step, command)]
    state["log_history"] = [dict(entry) for entry in log]
    waiting = best.early_stopping(later)
    found = best.replay(log, command, waiting[0].threshold if waiting else 0.0)
    if found is None:
        return state
    name = f"checkpoint-{found.step}"
    state["best_metric"] = found.metric
    if best.counts_every_evaluation(later.checkpoint):
        state["best_global_step"] = found.step
    told = state.get("best_model_checkpoint")
    around = told.rpartition("/")[0] if isinstance(told, str) and "/" in told else str(run_path(case.member))
    is_there = any(m.label == name for m in case.run.members)
    state["best_model_checkpoint"] = f"{around}/{name}" if is_there else None
    callbacks = state.get("stateful_callbacks")
    if isinstance(callbacks, dict) and len(waiting) == 1 and isinstance(one := callbacks.get(best.CALLBACK), dict):
        state["stateful_callbacks"] = {**callbacks, best.CALLBACK: best.counted(one, found.waited)}
    return state


def _is_before(entry: Mapping[str, object], step: int, command: Command) -> bool:
    """Whether an entry was logged before the save at a step: an epoch's evaluation comes after a save by steps."""
    at = best.step_of(entry)
    if at != step or not command.evaluates_after:
        return at <= step
    return not best.is_evaluation(entry)


def _evaluates_between(earlier: Member, step: int, length: int) -> bool:
    """Whether the run evaluated after the earlier checkpoint, up to this step; true where that is not known."""
    strategy, begin = command_in(earlier.checkpoint).eval_strategy, _at(earlier)
    if strategy == "no":
        return False
    every = integer(earlier.checkpoint.get(STATE, "eval_steps")) if strategy == "steps" else length
    return strategy not in ("steps", "epoch") or not every or step // every > begin // every
