"""The training state of a checkpoint, read from the places that its trainer names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ckpt_doctor.inert.pairing import model_of, pairing_of
from ckpt_doctor.inert.scheduler_kinds import MOST_KEYS, kind_of, scheduler_kind
from ckpt_doctor.inert.shapes import Optimizer, Part, Scheduler, Shapes
from ckpt_doctor.inert.tensor_list import walk_tensors
from ckpt_doctor.inert.tree import items
from ckpt_doctor.types import (
    CPU_GENERATOR,
    Checkpoint,
    KeyPath,
    Member,
    Places,
    ReadScalars,
    TensorRef,
    TrainingState,
    dotted,
    holds_rate,
    mapping_of,
    real,
)
from ckpt_doctor.types.record import kept

PROGRESS = frozenset(
    {"last_epoch", "_step_count", "_last_lr", "_is_initial", "_get_lr_called_within_step", "verbose", "T_cur", "T_i"}
    | {"num_bad_epochs", "best", "cooldown_counter"}
)
"""Keys of schedulers that move with training."""
LONGEST_BASE = 1_000
"""Characters of a schedule's base rates that are compared."""


def training_state(checkpoint: Checkpoint, places: Places, read_scalars: ReadScalars) -> TrainingState:
    """The training state of a dict-format checkpoint; a slot that has no place is None.

    Tensors of one element, and random states, beside the model get their value, so that rules, which open no files, can
    judge it. Values that a trainer cannot work with are left out here (rules L303 and O707 speak of them).
    """
    if not isinstance(checkpoint.root, (dict, list, tuple)) or checkpoint.layout == "state-dict":
        return TrainingState()
    model = places.get("model", ())
    for part in checkpoint.parts or (checkpoint,):
        if (
            part.container == "json"
            or part.is_damaged("byte-order-suspect")
            or (checkpoint.parts and (checkpoint.name_of(part),) == model[:1])
        ):
            continue
        scalars = list(_scalars(part.root, checkpoint.get(*model) if model and not checkpoint.parts else None))
        for tensor, value in zip(scalars, read_scalars(part, scalars), strict=True):
            tensor.value = value
    return state_at(checkpoint, places)


def state_at(checkpoint: Checkpoint, places: Places) -> TrainingState:
    """The training state at some places of a checkpoint whose scalars have been read."""

    def at(slot: str, *path: str | int) -> object:
        return checkpoint.get(*places[slot], *path) if slot in places else None

    scheduler = at("scheduler")
    return TrainingState(
        epoch=integer(at("epoch")),
        global_step=integer(at("step")),
        scheduler=scheduler_kind(scheduler) if isinstance(scheduler, dict) and scheduler else None,
        last_epoch=integer(at("scheduler", "last_epoch")),
        step_count=integer(at("scheduler", "_step_count")),
        total_steps=integer(at("scheduler", "total_steps")),
        optimizer_step=_optimizer_step(at("optimizer", "state"), at("optimizer", "param_groups")),
        lr=real(at("optimizer", "param_groups", 0, "lr")),
        beta1=real(at("optimizer", "param_groups", 0, "betas", 0)),
        best_score=real(at("best")),
        val_loss_min=real(at("best_loss")),
        counter=integer(at("patience")),
    )


def position_of(scheduler: object) -> int | None:
    """`last_epoch`; of a ChainedScheduler, which has none, that of all its members, None where they differ."""
    state = mapping_of(scheduler) or {}
    held = state.get("_schedulers")
    if "last_epoch" in state or not isinstance(held, list):
        return integer(state.get("last_epoch"))
    positions = {integer(one.get("last_epoch")) for one in held if isinstance(one, dict)}
    return positions.pop() if len(positions) == 1 else None


def first_of(found: Mapping[str, Sequence[Optimizer | Part | Scheduler]]) -> dict[str, KeyPath]:
    """Slot -> where the first is of what was found for it; a slot for which nothing was found is absent."""
    return {slot: parts[0].path for slot, parts in found.items() if parts}


def of_each_optimizer(shapes: Shapes) -> list[dict[str, KeyPath]]:
    """For each optimizer of a checkpoint where it is, with its schedule and its model as far as these show."""
    pairing = pairing_of(shapes)
    found = []
    for at, optimizer in enumerate(shapes.optimizers):
        own = {"optimizer": optimizer.path}
        if at in pairing.schedulers:
            own["scheduler"] = shapes.schedulers[pairing.schedulers[at]].path
        if (model := model_of(optimizer, shapes)) is not None:
            own["model"] = model.path
        found.append(own)
    return found


def with_further(member: Member, own: Sequence[Places]) -> Member:
    """A member of a checkpoint with several optimizers, of which each after the first has slots of its own."""
    if len(own) < 2:
        return member
    shared = {slot: path for slot, path in member.places.items() if slot not in ("optimizer", "scheduler", "model")}
    places = [{**shared, **slots} for slots in own[1:]]
    return replace(member, further=tuple((state_at(member.checkpoint, at), at) for at in places))


def as_written(checkpoint: Checkpoint, path: KeyPath, now: object) -> object:
    """The value that the trainer wrote at a path: before the first migration that changed it, else as it is now."""
    if not checkpoint.migrations:  # as of nearly all files
        return now
    key = dotted(path)
    return next((edit.get("before") for edit in checkpoint.earlier_edits if edit.get("key") == key), now)


def _scalars(root: object, model: object) -> Iterator[TensorRef]:
    """Tensors of one element, and what may be a random state, in a training checkpoint; those of the model left out."""
    for _, tensor in walk_tensors(mapping_of(root) or root, lambda value: () if value is model else items(value)):
        if tensor is not None and (
            (count := math.prod(tensor.shape)) == 1 or (count == CPU_GENERATOR and tensor.dtype == "uint8")
        ):
            yield tensor


@kept
def param_groups(member: Member) -> Sequence[Mapping[Any, Any]]:
    """The param groups of the optimizer; empty where one of them is not a dict."""
    groups = member.at("optimizer", "param_groups")
    listed = tuple(groups) if isinstance(groups, (list, tuple)) else ()
    return listed if all(isinstance(group, dict) for group in listed) else ()


@kept
def own_rates(member: Member) -> tuple[float, ...] | None:
    """The rate of each param group; None where one has none."""
    return numbers(group.get("lr") for group in param_groups(member))


def trains(member: Member) -> bool:
    """Whether every rate of the next step is above 0: no weight moves without."""
    return all(rate > 0 for rate in own_rates(member) or (0.0,))


def last_rates(member: Member) -> tuple[float, ...] | None:
    """The rates that the scheduler set last (`_last_lr`); None where it has none."""
    last = member.at("scheduler", "_last_lr")
    return numbers(last) if isinstance(last, (list, tuple)) else None


def has_other_rates(member: Member) -> bool:
    """Whether the optimizer has other rates than its scheduler set last."""
    last, groups = last_rates(member), param_groups(member)
    if last is None or len(last) != len(groups):
        return False
    return any(not holds_rate(group.get("lr"), rate) for group, rate in zip(groups, last, strict=True))


def formula_of(member: Member, has_base: bool = True) -> str:
    """What a schedule is computed from, in words that are the same in all files of a run; empty without one."""
    return formula_of_state(member.at("scheduler"), has_base)


def formula_of_state(held: object, has_base: bool = True) -> str:
    """The same of a scheduler's state."""
    state = mapping_of(held)
    if not state or len(state) > MOST_KEYS:
        return ""
    kept = {key: state[key] for key in state if key not in PROGRESS}
    plain = {key: value for key, value in kept.items() if isinstance(value, (str, int, float, bool, type(None)))}
    base = str(state.get("base_lrs") if has_base else None)[:LONGEST_BASE]
    return f"{kind_of(state)} {sorted(map(str, kept))} {sorted(plain.items(), key=str)} {base}"


def base_rates(member: Member) -> tuple[float, ...] | None:
    """The rates that the schedule began with: `base_lrs`, else each group's `initial_lr`, from which torch fills it."""
    base, groups = member.at("scheduler", "base_lrs"), param_groups(member)
    if not isinstance(base, (list, tuple)) or (groups and len(base) != len(groups)):
        base = [group.get("initial_lr") for group in groups]
    return numbers(base)


def numbers(values: Iterable[object]) -> tuple[float, ...] | None:
    """Values as numbers; None where there are none, or one of them is not a number."""
    found = [real(value) for value in values]
    known = tuple(value for value in found if value is not None)
    return known if known and len(known) == len(found) else None


def integer(value: object) -> int | None:
    """A whole number: an int, or a float without a fraction."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 1 << 62 else None
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53 else None


def highest_step(state: object) -> int | None:
    """The most steps that an optimizer's state counts for any parameter: one that joined late has made fewer."""
    entries = (mapping_of(entry) or {} for entry in (mapping_of(state) or {}).values())
    return max((step for entry in entries if (step := integer(real(entry.get("step")))) is not None), default=None)


def _optimizer_step(state: object, groups: object) -> int | None:
    """Adam's `step`, where all parameters that have one agree. A 0-d float32 tensor since torch 1.12, an int before.

    Apex's fused optimizers count in their groups (`step`), and so do schedule-free ones and Prodigy (`k`)."""
    if not isinstance(state, dict) or not state:
        return None
    steps = {real(entry["step"]) for entry in state.values() if isinstance(entry, dict) and "step" in entry}
    if not steps and isinstance(groups, (list, tuple)):
        known = [group for group in groups if isinstance(group, dict)]
        steps = {real(group[key]) for group in known for key in ("step", "k") if key in group}
    steps.discard(None)  # not read: behind a URL some are taken for all
    return integer(steps.pop()) if len(steps) == 1 else None
