"""What one Lightning file has otherwise than all others of its run, or another one has byte for byte as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from ckpt_doctor.trainers.copied import copied
from ckpt_doctor.trainers.lightning.callbacks import KINDS
from ckpt_doctor.trainers.lightning.layout import SCALERS, VERSION, is_weights_only, schedulers
from ckpt_doctor.trainers.lightning.loops import loops_of
from ckpt_doctor.trainers.state import PROGRESS
from ckpt_doctor.trainers.traits import MOST, Described, counts_beside, odd_ones, of_groups, settings
from ckpt_doctor.types import Checkpoint, Member, NotChecked, Run, TensorRef, mapping_of, wrapper_of
from ckpt_doctor.types.record import kept

_OWN_KEYS = frozenset(
    {"epoch", "global_step", VERSION, "state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers"}
    | {"hparams_name", "hparams_type", "hyper_parameters", *SCALERS}
)
"""What the trainer itself writes (`dump_checkpoint`)."""


def departures(member: Member, run: Run) -> Sequence[NotChecked]:
    """What a file has otherwise than all others, or another one has byte for byte as well."""
    return _departures(run).get(member.label, ())


def is_wrapped_alone(member: Member, run: Run) -> bool:
    """Whether the model's keys have the prefix of a wrapper in this file, and not in the others."""
    return any(point.what == _WRAPPER for point in departures(member, run))


_WRAPPER = "the prefix of all keys in state_dict"


@kept
def _departures(run: Run) -> Mapping[str, Sequence[NotChecked]]:
    whole = [member for member in run.members if not is_weights_only(member.checkpoint)]
    ordered = sorted(whole, key=lambda member: member.state.global_step or 0)
    found = odd_ones([Described(one.label, dict(_traits(one.checkpoint)), dict(_counters(one))) for one in ordered])
    labels = {member.checkpoint.path: member.label for member in ordered}
    rest = {member.checkpoint.path: member.further for member in ordered}  # one of several optimizers may rest
    for path, twin in copied([(member, member.state.global_step or 0) for member in ordered]).items():
        if twin.part == "model" or not rest[path]:
            point = NotChecked(f"the moment of the {twin.noun}", f"{twin.told}: in one of the two they were copied", "")
            found.setdefault(labels[path], []).append(point)
    return found


def _traits(checkpoint: Checkpoint) -> Iterator[tuple[str, object]]:
    """What of a file does not change from step to step."""
    weights = mapping_of(checkpoint.get("state_dict")) or {}
    kinds = {value.dtype for value in weights.values() if isinstance(value, TensorRef) and "float" in value.dtype}
    yield "the type of the weights", ", ".join(sorted(kinds))
    yield _WRAPPER, wrapper_of(weights)
    for key in mapping_of(checkpoint.get("callbacks")) or {}:
        if not str(key).startswith(KINDS):
            yield f"callbacks.{key}", "there"
    for key in _of_hooks(checkpoint):
        yield key, "there"
    for key in ("optimizer_states", "lr_schedulers"):
        held = checkpoint.get(key)
        yield key, f"of length {len(held)}" if isinstance(held, list) else None
    for at, state in enumerate(_listed(checkpoint, "optimizer_states")):
        yield from of_groups(f"optimizer_states[{at}]", state, {"lr"} if schedulers(checkpoint) else set())
    for at, state in enumerate(_listed(checkpoint, "lr_schedulers")):
        yield from settings(f"lr_schedulers[{at}]", state, PROGRESS)


def _of_hooks(checkpoint: Checkpoint) -> list[str]:
    """The keys that data modules, callbacks and the script's `on_save_checkpoint` add to a file."""
    return [key for key in checkpoint.keys if key not in _OWN_KEYS and not key.startswith("datamodule_")]


def _counters(member: Member) -> Iterator[tuple[str, str]]:
    """Counts of callbacks and hooks that have begun, by what they have beside the file's own steps, batches and epochs.

    One that is made with each step, batch or epoch is as far from these in every file."""
    checkpoint, loops = member.checkpoint, loops_of(member.checkpoint)
    if loops is None:
        return
    own = {loops.entered: "epochs", loops.batches: "batches", member.state.global_step or 0: "steps"}
    held = mapping_of(checkpoint.get("callbacks")) or {}
    states = [(f"callbacks.{key}", held[key]) for key in held if not str(key).startswith(KINDS)]
    for name, state in [*states, *((key, checkpoint.get(key)) for key in _of_hooks(checkpoint))]:
        yield from counts_beside(name, state, own)


def _listed(checkpoint: Checkpoint, key: str) -> Iterator[Mapping[object, object]]:
    held = checkpoint.get(key)
    return (mapping_of(state) or {} for state in islice(held if isinstance(held, list) else (), MOST))
