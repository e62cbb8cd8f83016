"""What all files of a run have alike whatever their step, and what one file alone has otherwise.

A script that is changed on the way changes all files from there on, so only a file between others is held against them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from ckpt_doctor.trainers.copied import copied
from ckpt_doctor.trainers.lightning.callbacks import KINDS
from ckpt_doctor.trainers.lightning.layout import SCALERS, VERSION, is_weights_only, schedulers
from ckpt_doctor.trainers.lightning.loops import loops_of
from ckpt_doctor.trainers.lines import ENOUGH
from ckpt_doctor.trainers.state import PROGRESS
from ckpt_doctor.types import Checkpoint, Member, NotChecked, Run, TensorRef, mapping_of, real, wrapper_of
from ckpt_doctor.types.record import kept

_MOST = 8
"""Optimizers, schedules and param groups that are looked at."""
_OWN_KEYS = frozenset(
    {"epoch", "global_step", VERSION, "state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers"}
    | {"hparams_name", "hparams_type", "hyper_parameters", *SCALERS}
)
"""What the trainer itself writes (`dump_checkpoint`)."""
_MOST_TRAITS = 1_000
"""Of a run; a file can have any number of callbacks."""
Traits = Mapping[str, object]


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
    traits = [dict(_traits(member.checkpoint)) for member in ordered] if len(ordered) >= ENOUGH else []
    counters = [dict(_counters(member)) for member in ordered] if len(ordered) > ENOUGH else []
    counts = {**_odd(traits), **_odd(counters, begun=True)}
    traits = [{**own, **counted} for own, counted in zip(traits, counters, strict=True)] if counters else traits
    labels = {member.checkpoint.path: member.label for member in ordered}
    rest = {member.checkpoint.path: member.further for member in ordered}  # one of several optimizers may rest
    found: dict[str, list[NotChecked]] = {}
    for member, own in list(zip(ordered, traits, strict=False))[1:-1]:
        points = found.setdefault(member.label, [])
        for name, count in sorted(counts.items()):
            said = points and name.startswith(points[-1].what)  # what is in a list follows from its length
            if count[mine := own.get(name)] == 1 and not said:
                usual = next(value for value in count if value != mine)
                why = f"it is {mine or 'absent'} here, and {usual or 'absent'} in all other files of this run"
                points.append(NotChecked(name, why, "the script"))
    for path, twin in copied([(member, member.state.global_step or 0) for member in ordered]).items():
        if twin.part == "model" or not rest[path]:
            point = NotChecked(f"the moment of the {twin.noun}", f"{twin.told}: in one of the two they were copied", "")
            found.setdefault(labels[path], []).append(point)
    return found


def _odd(traits: Sequence[Traits], *, begun: bool = False) -> Mapping[str, Counter[object]]:
    """What one file has otherwise than all others, with how many have each value; the first few.

    Of what has `begun` in some files, others may have nothing."""
    counts = {name: Counter(own.get(name) for own in traits) for name in islice(_names(traits), _MOST_TRAITS)}
    if begun:
        for count in counts.values():
            del count[None]
        counts = {name: count for name, count in counts.items() if count.total() > ENOUGH}
    return {name: count for name, count in counts.items() if sorted(count.values())[:-1] == [1]}


def _names(traits: Sequence[Traits]) -> Iterator[str]:
    return iter(dict.fromkeys(name for own in traits for name in own))


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
        groups = state.get("param_groups")
        for index, group in enumerate(islice(groups if isinstance(groups, list) else (), _MOST)):
            held = mapping_of(group) or {}
            moving = {"lr"} if schedulers(checkpoint) or "initial_lr" in held else set()
            yield from _settings(f"optimizer_states[{at}].param_groups[{index}]", held, moving)
    for at, state in enumerate(_listed(checkpoint, "lr_schedulers")):
        yield from _settings(f"lr_schedulers[{at}]", state, PROGRESS)


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
        for key, value in islice((mapping_of(state) or {}).items(), _MOST_TRAITS):
            count = 0 if isinstance(value, (bool, float)) else real(value) or 0
            for number, base in own.items() if count > 0 else ():
                yield f"{name}.{key} beside the number of {base}", f"{count - number:+g}"


def _listed(checkpoint: Checkpoint, key: str) -> Iterator[Mapping[object, object]]:
    held = checkpoint.get(key)
    return (mapping_of(state) or {} for state in islice(held if isinstance(held, list) else (), _MOST))


def _settings(name: str, held: Mapping[object, object], moving: frozenset[str] | set[str]) -> Iterator[tuple[str, str]]:
    """Numbers and words; momentum that a schedule cycles left out."""
    cycled = {"momentum"} if "max_momentum" in held else set()
    for key, value in islice(held.items(), 2 * len(PROGRESS) + 40):
        numbers = value if isinstance(value, (list, tuple)) and key != "params" else (value,)
        plain = len(numbers) <= _MOST and all(isinstance(one, (str, int, float)) for one in numbers)
        if plain and key not in moving and key not in cycled:
            yield f"{name}.{key}", str(numbers[1:] if cycled and key == "betas" else value)[:80]
