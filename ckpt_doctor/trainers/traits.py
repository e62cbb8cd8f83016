"""What all files of a run have alike whatever their step, and what one file alone has otherwise.

A script that is changed on the way changes all files from there on, so only a file between others is held against them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from ckpt_doctor.inert.lines import ENOUGH
from ckpt_doctor.trainers.state import PROGRESS
from ckpt_doctor.types import NotChecked, mapping_of, real
from ckpt_doctor.types.record import record

MOST = 8
"""Optimizers, schedules and param groups that are looked at."""
MOST_TRAITS = 1_000
"""Of a run; a file can have any number of callbacks."""
Traits = Mapping[str, object]


@record(frozen=True)
class Described:
    """A file by its traits and counters."""

    label: str
    traits: Traits
    """What does not change from step to step."""
    counters: Traits
    """Counts by what they have beside the file's own steps, batches or epochs; absent until they begin."""


def odd_ones(ordered: Sequence[Described]) -> dict[str, list[NotChecked]]:
    """Label of each file between others -> what it has otherwise than all of them."""
    counts = {
        **_odd([one.traits for one in ordered] if len(ordered) >= ENOUGH else []),
        **_odd([one.counters for one in ordered], begun=True),
    }
    found: dict[str, list[NotChecked]] = {}
    for one in ordered[1:-1]:
        own, points = {**one.traits, **one.counters}, found.setdefault(one.label, [])
        for name, count in sorted(counts.items()):
            said = points and name.startswith(points[-1].what)  # what is in a list follows from its length
            if count[mine := own.get(name)] == 1 and not said:
                usual = next(value for value in count if value != mine)
                why = f"it is {mine or 'absent'} here, and {usual or 'absent'} in all other files of this run"
                points.append(NotChecked(name, why, "the script"))
    return found


def _odd(traits: Sequence[Traits], *, begun: bool = False) -> Mapping[str, Counter[object]]:
    """What one file has otherwise than all others, with how many have each value; the first few.

    Of what has `begun` in some files, others may have nothing."""
    counts = {name: Counter(own.get(name) for own in traits) for name in islice(_names(traits), MOST_TRAITS)}
    if begun:
        for count in counts.values():
            del count[None]
        counts = {name: count for name, count in counts.items() if count.total() > ENOUGH}
    return {name: count for name, count in counts.items() if sorted(count.values())[:-1] == [1]}


def _names(traits: Sequence[Traits]) -> Iterator[str]:
    return iter(dict.fromkeys(name for own in traits for name in own))


def settings(name: str, held: Mapping[object, object], moving: frozenset[str] | set[str]) -> Iterator[tuple[str, str]]:
    """Numbers and words; momentum that a schedule cycles left out."""
    cycled = {"momentum"} if "max_momentum" in held else set()
    for key, value in islice(held.items(), 2 * len(PROGRESS) + 40):
        numbers = value if isinstance(value, (list, tuple)) and key != "params" else (value,)
        plain = len(numbers) <= MOST and all(isinstance(one, (str, int, float)) for one in numbers)
        if plain and key not in moving and key not in cycled:
            yield f"{name}.{key}", str(numbers[1:] if cycled and key == "betas" else value)[:80]


def of_groups(name: str, optimizer: object, moving: frozenset[str] | set[str]) -> Iterator[tuple[str, str]]:
    """The settings of an optimizer's groups; their rates are those of a schedule where they have an `initial_lr`."""
    groups = (mapping_of(optimizer) or {}).get("param_groups")
    for index, group in enumerate(islice(groups if isinstance(groups, list) else (), MOST)):
        held = mapping_of(group) or {}
        yield from settings(f"{name}.param_groups[{index}]", held, moving | ({"lr"} if "initial_lr" in held else set()))


def counts_beside(name: str, state: object, own: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """The counts in a state, by what they have beside each of the file's own; `own`: a number -> what it counts."""
    for key, value in islice((mapping_of(state) or {}).items(), MOST_TRAITS):
        count = 0 if isinstance(value, (bool, float)) else real(value) or 0
        for number, base in own.items() if count > 0 else ():
            yield f"{name}.{key} beside the number of {base}", f"{count - number:+g}"
