"""What one checkpoint of the Trainer has otherwise than all others of its run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ckpt_doctor.trainers.hf_trainer.best import CALLBACK, CALLBACKS
from ckpt_doctor.trainers.hf_trainer.command import RESTORE, command_in
from ckpt_doctor.trainers.hf_trainer.layout import OPTIMIZER, SCHEDULER
from ckpt_doctor.trainers.state import PROGRESS
from ckpt_doctor.trainers.traits import Described, counts_beside, odd_ones, of_groups, settings
from ckpt_doctor.types import Checkpoint, Member, NotChecked, mapping_of

_OWN_CALLBACKS = frozenset({CALLBACK, "TrainerControl"})


def departures(members: Sequence[Member]) -> Mapping[str, Sequence[NotChecked]]:
    """Label of a checkpoint -> what it has otherwise than the others; F114 speaks of parts that it lacks."""
    ordered = sorted(members, key=lambda member: member.state.global_step or 0)
    found = odd_ones([Described(one.label, dict(_traits(one.checkpoint)), dict(_counters(one))) for one in ordered])
    return {label: [one for one in points if one.what not in (OPTIMIZER, SCHEDULER)] for label, points in found.items()}


def own_callbacks(checkpoint: Checkpoint) -> Mapping[str, object]:
    """The states of the script's own callbacks, where a resume restores them."""
    held = mapping_of(checkpoint.get(*CALLBACKS)) or {}
    restored = command_in(checkpoint).is_on(RESTORE)
    return {str(key): held[key] for key in held if key not in _OWN_CALLBACKS} if restored else {}


def _traits(checkpoint: Checkpoint) -> Iterator[tuple[str, object]]:
    """What does not change from step to step."""
    optimizer, scheduler = checkpoint.get(OPTIMIZER), mapping_of(checkpoint.get(SCHEDULER))
    if mapping_of(optimizer) is not None:
        yield OPTIMIZER, "there"
        yield f"{OPTIMIZER}.state", f"of {len(mapping_of(checkpoint.get(OPTIMIZER, 'state')) or {}):,} parameters"
        yield from of_groups(OPTIMIZER, optimizer, {"lr"})
    if scheduler is not None:
        yield SCHEDULER, "there"
        yield from settings(SCHEDULER, scheduler, PROGRESS)
    for name in own_callbacks(checkpoint):
        yield f"stateful_callbacks.{name}", "there"


def _counters(member: Member) -> Iterator[tuple[str, str]]:
    for name, state in own_callbacks(member.checkpoint).items():
        counted = (mapping_of(state) or {}).get("attributes")
        yield from counts_beside(f"stateful_callbacks.{name}", counted, {member.state.global_step or 0: "steps"})
