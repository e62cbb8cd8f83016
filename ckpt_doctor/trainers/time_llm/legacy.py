"""A bare state_dict as the training checkpoint that it would have been: the evidence for every key it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ckpt_doctor.trainers import schedules
from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.trainers.time_llm import rates
from ckpt_doctor.trainers.time_llm.command import facts_of
from ckpt_doctor.trainers.time_llm.early_stopping import improved
from ckpt_doctor.trainers.time_llm.history import History
from ckpt_doctor.trainers.time_llm.lineage import Unsettled
from ckpt_doctor.trainers.time_llm.modes import IDLE, PER_EPOCH, PER_STEP
from ckpt_doctor.trainers.time_llm.random_state import late_random_state
from ckpt_doctor.trainers.time_llm.resume_point import resume_point
from ckpt_doctor.types import (
    Checkpoint,
    EarlyStoppingState,
    Evidence,
    InertDict,
    Member,
    Rates,
    ResumePoint,
    Run,
    TensorRef,
    Upgrade,
)
from ckpt_doctor.types.record import record

T_MAX, ETA_MIN = 20, 1e-8
"""`CosineAnnealingLR(model_optim, T_max=20, eta_min=1e-8)` in run_main.py."""


def upgrade(member: Member, run: Run, *, epoch: int | None = None, best_score: float | None = None) -> Upgrade:
    """What stands beside `model` in the upgraded file, each with its evidence; or why it cannot be made.

    `epoch` (finished epochs) and `best_score` are those that a person gives; else the log's last improvement says
    when the file was saved. Optimizer and schedule come from a sibling of the same model, or are computed where the
    facts allow it, or are None, which the complete trainer accepts. All of it, Adam's moments too, comes from a
    training checkpoint of the very same weights, where there is one.
    """
    twin = None if epoch is not None else _twin(member, run)
    if twin is not None:
        return _as(twin, run, best_score)
    stopping: Evidence[EarlyStoppingState] | None = None
    notes = ["Adam's moments are not in the file and cannot be recovered: losses diverge from the second step on"]
    if epoch is not None:
        finished, source = epoch, "given by hand"
    else:
        way = run.history.last_best() if isinstance(run.history, History) else Unsettled("no log of the run was found")
        if isinstance(way, Unsettled):
            return Upgrade(
                refusal=f"in which epoch the weights were saved is not known: {way.reason}",
                settle="--log FILE or --epoch N",
            )
        finished, source = way.epochs[-1].epoch, way.source
        stopping = Evidence(way.uninterrupted, way.source)
        if way.stretches[-1].attempt.end == "open":
            notes.append("the log was cut off: if a later epoch improved, these weights are that one's")
    if best_score is not None:
        stopping = Evidence(improved(-best_score), "given by hand", given=True)
    steps, length = run.facts.steps_per_epoch, facts_of(run).real_steps
    if steps is None or length is None:
        return Upgrade(refusal="the number of steps per epoch is not known", settle="--steps-per-epoch N")
    done = finished * length
    optimizer, scheduler, more = _optimizer_and_scheduler(member, run, done, finished)
    values: dict[str, Evidence[object]] = {
        "optimizer": optimizer,
        "scheduler": scheduler,
        "epoch": Evidence(finished, f"{finished} finished epochs ({source})"),
        "global_step": Evidence(finished * steps.value, f"{finished} epochs of {steps.value:,} steps ({steps.source})"),
    }
    if stopping is not None:
        values |= _remembered(stopping) | {"counter": Evidence(0, "0 in a best checkpoint: the loss improved")}
    return Upgrade(values, notes=(*notes, *more))


@record(frozen=True)
class _Twin:
    """A training checkpoint of the same weights, and the state that it must be resumed in."""

    member: Member
    resume: ResumePoint
    rates: Rates
    scheduler: Mapping[Any, Any]


def _twin(member: Member, run: Run) -> _Twin | None:
    for other in run.members:
        if not _same_weights(member.checkpoint, other.checkpoint):
            continue
        resume = resume_point(other, run)
        scheduler = other.checkpoint.get("scheduler")
        if None in (resume.epoch, resume.global_step, resume.last_epoch) or not isinstance(scheduler, Mapping):
            continue
        if resume.lr is not None and resume.last_lr is not None:
            rates_there = Rates(resume.lr, resume.beta1, resume.last_lr)
            return _Twin(other, resume, rates_there, scheduler)
    return None


def _as(twin: _Twin, run: Run, best_score: float | None) -> Upgrade:
    """The values of a checkpoint of the same weights, as they are once it is repaired."""
    checkpoint, resume = twin.member.checkpoint, twin.resume
    source = f"{twin.member.label}: the same weights, by their stored checksums"
    optimizer = checkpoint.get("optimizer")
    moments = optimizer.get("state") if isinstance(optimizer, Mapping) else {}
    groups = [_moved(group, twin.rates, index) for index, group in enumerate(param_groups(twin.member))]
    values: dict[str, Evidence[object]] = {
        "optimizer": Evidence({"state": moments, "param_groups": groups}, source),
        "scheduler": Evidence(_scheduler_at(twin.scheduler, resume.last_epoch or 0, twin.rates), source),
        "epoch": Evidence(resume.epoch, source),
        "global_step": Evidence(resume.global_step, source),
    }
    stopping = resume.early_stopping
    if best_score is not None:
        stopping = Evidence(improved(-best_score), "given by hand", given=True)
    values |= _remembered(stopping) if stopping is not None else {}
    late = late_random_state(twin.member, run, resume)
    if late is None and isinstance(checkpoint.get("rng_state"), Mapping):
        values["rng_state"] = Evidence(checkpoint.get("rng_state"), source)
    return Upgrade(values, donor=checkpoint)


def _remembered(stopping: Evidence[EarlyStoppingState]) -> dict[str, Evidence[object]]:
    """EarlyStopping's memory, key by key."""
    return {
        field.name: Evidence(getattr(stopping.value, field.name), stopping.source) for field in fields(stopping.value)
    }


def _optimizer_and_scheduler(
    member: Member, run: Run, steps: int, finished: int
) -> tuple[Evidence[object], Evidence[object], list[str]]:
    mode, world = facts_of(run).mode, run.facts.processes
    sibling = next((m for m in run.members if _same_model(member.checkpoint, m.checkpoint)), None)
    last_epoch = rates.position(mode, global_step=steps, finished_epochs=finished, world_size=world) if mode else 0
    if sibling is not None and mode is not None:
        at = rates.rates_at(sibling, mode, last_epoch, finished)
        scheduler = sibling.checkpoint.get("scheduler")
        if at is not None and isinstance(scheduler, Mapping):
            source = f"sibling {sibling.label}, moved to where {mode} is after {finished} epochs"
            groups = [_moved(g, at, i) for i, g in enumerate(param_groups(sibling))]
            state = _scheduler_at(scheduler, last_epoch, at)
            return Evidence({"state": {}, "param_groups": groups}, source), Evidence(state, source), []
    nothing = Evidence(None, "absent: no file shows which parameters are trained")
    computed = _computed(run, mode, last_epoch)
    if computed is not None:
        return nothing, computed, [_fresh_rate(mode)]
    absent = Evidence(None, "absent: the facts that it is computed from are not known")
    if mode in IDLE:
        source = f"absent: {mode} never steps it, a fresh one is the same"
        return nothing, Evidence(None, source), [_fresh_rate(mode)]
    return (
        nothing,
        absent,
        [
            "the schedule will start at its beginning; to have it computed give --lradj, --train-epochs, "
            "--learning-rate and --pct-start"
        ],
    )


def _fresh_rate(mode: str | None) -> str:
    """What follows from param groups that stand in no file."""
    if mode == PER_EPOCH:
        return "the rate begins at a new optimizer's, and COS computes every later one from it (no param groups)"
    first = "batch" if mode == PER_STEP else "epoch"
    return f"the first {first} after the resume uses the rate that a new optimizer begins with (no param groups)"


def _scheduler_at(state: Mapping[Any, Any], last_epoch: int, at: Rates) -> dict[Any, Any]:
    return {**state, "last_epoch": last_epoch, "_step_count": last_epoch + 1, "_last_lr": list(at.last_lr)}


def _moved(group: Mapping[Any, Any], at: Rates, index: int) -> dict[Any, Any]:
    moved = {**group, "lr": at.lr[index]}
    betas = group.get("betas")
    if at.beta1 is not None and isinstance(betas, tuple) and betas:
        moved["betas"] = (at.beta1[index], *betas[1:])
    return moved


def _computed(run: Run, mode: str | None, last_epoch: int) -> Evidence[object] | None:
    """The scheduler's state from the training command's facts; None where one of them is missing."""
    facts = facts_of(run)
    if mode is None or facts.learning_rate is None:
        return None
    rate = facts.learning_rate.value
    try:
        if mode == PER_EPOCH:
            state = schedules.cosine_annealing_state([rate], T_MAX, ETA_MIN, last_epoch)
            return Evidence(state, f"CosineAnnealingLR from learning rate {rate:g} ({facts.learning_rate.source})")
        if facts.train_epochs is None or facts.steps_per_epoch is None or facts.pct_start is None:
            return None
        total = facts.train_epochs.value * facts.steps_per_epoch.value
        group = schedules.one_cycle_group(rate)
        state = schedules.one_cycle_state(group, total, last_epoch, facts.pct_start.value)
    except ValueError:
        return None
    return Evidence(state, f"OneCycleLR of {total:,} steps from learning rate {rate:g} ({facts.learning_rate.source})")


def _same_model(legacy: Checkpoint, other: Checkpoint) -> bool:
    """Whether a training checkpoint holds a model of the same keys and shapes."""
    model = other.get("model")
    if other.layout != "training" or not isinstance(model, (dict, InertDict)) or not isinstance(legacy.root, dict):
        return False
    return _form(model) == _form(legacy.root)


def _same_weights(legacy: Checkpoint, other: Checkpoint) -> bool:
    """Whether a training checkpoint holds the very same model, byte for byte by the checksums that both files store."""
    if {legacy.container, other.container} != {"torch-zip"} or not _same_model(legacy, other):
        return False
    if legacy.metadata.get("byteorder") != other.metadata.get("byteorder"):
        return False
    model = other.get("model")
    pairs = [(legacy.get(key), model.get(key)) for key in legacy.root] if isinstance(model, dict) else []  # type: ignore[attr-defined]
    return bool(pairs) and all(
        isinstance(mine, TensorRef)
        and isinstance(yours, TensorRef)
        and _view(mine) == _view(yours)
        and legacy.checksums.get(mine.storage.key, -1) == other.checksums.get(yours.storage.key, -2)
        for mine, yours in pairs
    )


def _view(tensor: TensorRef) -> tuple[object, ...]:
    return tensor.dtype, tensor.shape, tensor.stride, tensor.storage_offset, tensor.storage.nbytes


def _form(model: Mapping[Any, Any]) -> list[tuple[str, object]]:
    return sorted((str(key), value.shape) for key, value in model.items() if isinstance(value, TensorRef))
