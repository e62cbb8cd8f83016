"""Two traces -> where the resumed run leaves the uninterrupted one, quantity by quantity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from ckpt_doctor.errors import UsageError
from ckpt_doctor.rehearsal.recorder import PROCESS_ENDED, STOPPED
from ckpt_doctor.rehearsal.traces import Load, Save, State, Step, Trace
from ckpt_doctor.types import equal

RESTORED = ("weights", "optimizer", "rate", "beta", "schedule", "scaler")
"""What a checkpoint can restore, in the order in which a difference is told."""
APART = ("batch", "random state", "loss", "update", "length")
"""What no file brings back in every case, the weights after a step, which follow from all else, and the last step."""
UNCOUNTED = ("_step_count", "_get_lr_called_within_step", "_is_initial", "_init_step", "verbose")
"""Numbers of a scheduler's state that no rate depends on."""
SHIFTS = 64
"""How many steps late or early a schedule is looked for."""


@dataclass(frozen=True)
class Difference:
    """One quantity that differs, where it does first."""

    quantity: str
    """One of `RESTORED` or `APART`."""
    optimizer: int
    step: int
    """The step of the uninterrupted run, from 1. State is that before this step."""
    expected: object
    found: object
    says: str = ""
    """What the difference is, where it can be told: `the schedule is 1 step late`."""
    code: str = ""
    """The rule that speaks of it."""


@dataclass(frozen=True)
class Comparison:
    """A resumed run beside the uninterrupted one."""

    resumed_at: Mapping[int, int]
    """Optimizer -> steps of the uninterrupted run that the resumed one has behind it as it begins."""
    checkpoint: str
    """The file that was loaded."""
    compared: int
    """Steps of the first optimizer that both made."""
    differences: tuple[Difference, ...]
    rank: int = 0
    """The process whose traces these are: of several the one that differs most."""
    unrepeated: frozenset[str] = frozenset()
    """Quantities that the command does not repeat from run to run: they are not compared."""

    @property
    def restored(self) -> list[Difference]:
        """The differences in what a checkpoint can restore."""
        return [one for one in self.differences if one.quantity in RESTORED]

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def without(self, unrepeated: frozenset[str]) -> Comparison:
        """The same comparison without what the command does not repeat."""
        kept = tuple(one for one in self.differences if one.quantity not in unrepeated)
        return replace(self, differences=kept, unrepeated=unrepeated)


def compare(reference: Sequence[Trace], resumed: Sequence[Trace]) -> Comparison:
    """Compare a resumed run with the uninterrupted one, step by step; of all ranks the one that differs most.

    The steps are matched by what was loaded: a save of the reference that has the weights, else the numbers, else the
    path of what the resumed run loaded. Raises `UsageError` where that is nothing, or no step is common to both.
    """
    save, at = _resume_point(reference, resumed)
    comparisons = [_compared(one, other, save.path, at) for one, other in _pairs(reference, resumed)]
    if not comparisons or comparisons[0].compared < 1:
        raise UsageError("the two runs have no step in common after the checkpoint")
    return max(comparisons, key=lambda one: (len(one.restored), len(one.differences), -one.rank))


def varying(first: Sequence[Trace], second: Sequence[Trace]) -> frozenset[str]:
    """The quantities that a command does not repeat: those that differ in two runs of it from their beginnings."""
    pairs = _pairs(first, second)
    return frozenset(one.quantity for pair in pairs for one in _compared(*pair, "", {}).differences)


def _pairs(reference: Sequence[Trace], resumed: Sequence[Trace]) -> list[tuple[Trace, Trace]]:
    """The traces of each rank; of several processes with one rank those that made the most steps."""
    ours, theirs = (
        {trace.rank: trace for trace in sorted(traces, key=lambda trace: len(trace.all(Step)))}
        for traces in (reference, resumed)
    )
    return [(ours[rank], theirs[rank]) for rank in sorted(ours) if rank in theirs]


def _compared(reference: Trace, resumed: Trace, checkpoint: str, at: Mapping[int, int]) -> Comparison:
    """One rank, whose optimizers had made `at` steps in the uninterrupted run before the resumed one begins."""
    first: dict[tuple[str, int], Difference] = {}
    for optimizer in resumed.steps:
        for one in _differences(reference, resumed, optimizer, at.get(optimizer, 0)):
            known = first.setdefault((one.quantity, optimizer), one)
            if one.step < known.step:
                first[one.quantity, optimizer] = one
    ranked = sorted(first.values(), key=lambda one: (one.step, (*RESTORED, *APART).index(one.quantity), one.optimizer))
    compared = min(len(reference.steps.get(0, [])) - at.get(0, 0), len(resumed.steps.get(0, [])))
    return Comparison(at, checkpoint, compared, tuple(ranked), reference.rank)


# --- where the resumed run begins -------------------------------------------------------------------------------------


def _resume_point(traces: Sequence[Trace], others: Sequence[Trace]) -> tuple[Save, Mapping[int, int]]:
    """The save that was resumed from, and the steps of each optimizer that the reference had made by then.

    Often one rank alone saves; what it saves is loaded by all.
    """
    reference = next((trace for trace in traces if any(_saves(trace))), None)
    if reference is None:
        raise UsageError(f"{traces[0].path} saved no checkpoint: nothing to resume from")
    resumed = next((other for other in others if _loads(other)), None)
    if resumed is None:
        raise UsageError(f"{others[0].path} loaded no checkpoint: it is not a resumed run")
    saves, loads = list(_saves(reference)), _loads(resumed)
    started = {state.optimizer: state.weights for state in resumed.all(State) if state.done == 0}
    held = {(state.optimizer, state.done): state.weights for state in reference.all(State)}

    def likeness(save: Save, at: Mapping[int, int]) -> tuple[bool, bool, int, int]:
        weights = bool(started) and all(held.get((o, at.get(o, 0))) == w for o, w in started.items())
        numbers = any(save.counters and load.counters == save.counters for load in loads)
        path = max(_common_end(save.path, load.path) for load in loads)
        return weights, numbers, path, max(at.values(), default=0)

    save, at = max(saves, key=lambda pair: likeness(*pair))
    weights, numbers, path, _ = likeness(save, at)
    if not (weights or numbers or path):
        raise UsageError(f"{resumed.path} loaded no checkpoint that {reference.path} saved")
    return save, at


def _saves(trace: Trace) -> Iterator[tuple[Save, Mapping[int, int]]]:
    made = Counter[int]()
    for event in trace.events:
        if isinstance(event, Step):
            made[event.optimizer] += 1
        elif type(event) is Save and made:
            yield event, dict(made)


def _loads(trace: Trace) -> list[Load]:
    """What was loaded before the first step."""
    loads: list[Load] = []
    for event in trace.events:
        if isinstance(event, Step):
            break
        if isinstance(event, Load):
            loads.append(event)
    return loads


def _common_end(one: str, other: str) -> int:
    """How many last components two paths share."""
    pairs = zip(reversed(Path(one).parts), reversed(Path(other).parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


# --- what differs -----------------------------------------------------------------------------------------------------


def _differences(reference: Trace, resumed: Trace, optimizer: int, at: int) -> list[Difference]:
    """Of one optimizer, which had made `at` steps in the uninterrupted run before the resumed one begins."""
    state = list(_state_differences(reference, resumed, optimizer, at))
    shifted = any(one.quantity == "schedule" for one in state)
    steps = _step_differences(reference, resumed, optimizer, at, shifted)
    return [*state, *steps, *_length_difference(reference, resumed, optimizer, at)]


def _state_differences(reference: Trace, resumed: Trace, optimizer: int, at: int) -> Iterator[Difference]:
    """The state before the first step after the load."""
    expected = next((s for s in reference.all(State) if (s.optimizer, s.done) == (optimizer, at)), None)
    found = next((s for s in resumed.all(State) if (s.optimizer, s.done) == (optimizer, 0)), None)
    if expected is None or found is None:
        return
    step = at + 1
    if expected.weights != found.weights:
        yield Difference("weights", optimizer, step, expected.weights, found.weights, "the weights differ", "")
    if expected.moments != found.moments:
        says, code = "the optimizer's state differs", "O702"
        if not found.moments:
            says, code = "the optimizer has no state: it starts anew", "O705"
        yield Difference("optimizer", optimizer, step, expected.moments, found.moments, says, code)
    for (_, name, old), (_, _, new) in zip(expected.schedules, found.schedules, strict=False):
        key = next((k for k in old if k not in UNCOUNTED and not _same(old[k], new.get(k))), None)
        if key is not None:
            yield Difference("schedule", optimizer, step, old[key], new.get(key), *_schedule_words(name, key, old, new))
    if expected.scaler != found.scaler and expected.scaler is not None:
        says = "the gradient scaler starts anew" if found.scaler is None else "the gradient scaler's state differs"
        yield Difference("scaler", optimizer, step, expected.scaler, found.scaler, says, "O706")


def _schedule_words(name: str, key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, str]:
    """What differs in a scheduler's state, and the rule that says so."""
    before, now = old.get("last_epoch"), new.get("last_epoch")
    if isinstance(before, int) and isinstance(now, int) and before != now:
        return _late(before - now, name), "R501" if now < before else "R502"
    return f"{name}'s {key} differs", "R504" if key == "_last_lr" else "R505"


def _late(steps: int, name: str) -> str:
    plural = "s" * (abs(steps) != 1)
    return f"{name} is {abs(steps)} step{plural} {'late' if steps > 0 else 'early'}"


def _step_differences(reference: Trace, resumed: Trace, optimizer: int, at: int, shifted: bool) -> Iterator[Difference]:
    """Each quantity of a step that differs, at its first step; `shifted` where the schedule's own state differs."""
    expected, found = reference.steps.get(optimizer, []), resumed.steps[optimizer]
    drawn = _drawn(reference)
    seen: set[str] = set()
    for n, (old, new) in enumerate(zip(expected[at:], found, strict=False)):
        for quantity, before, now in _quantities(reference, resumed, drawn, old, new):
            if quantity in seen or _same(before, now):
                continue
            seen.add(quantity)
            says, code = "", ""
            if quantity == "rate":
                late = _lateness(expected, found[n:], at + n)
                says = _late(late, "the schedule") if late else ""
                code = "" if shifted else "R506"  # else it follows from the schedule's own state
                if late and shifted:
                    code = "R501" if late > 0 else "R502"
            yield Difference(quantity, optimizer, at + n + 1, before, now, says, code)


def _length_difference(reference: Trace, resumed: Trace, optimizer: int, at: int) -> Iterator[Difference]:
    """Where both ended by themselves, the last steps of both."""
    last, now = len(reference.steps.get(optimizer, ())), at + len(resumed.steps[optimizer])
    if last != now and {reference.ended, resumed.ended} <= {STOPPED, PROCESS_ENDED}:
        says = f"the run ends after this step; the uninterrupted run ends after step {last}"
        yield Difference("length", optimizer, now, last, now, says)


def _quantities(
    reference: Trace, resumed: Trace, drawn: Sequence[int], old: Step, new: Step
) -> Iterator[tuple[str, object, object]]:
    yield "rate", old.rates, new.rates
    yield "beta", old.betas, new.betas
    yield "batch", _batch(reference, old), _batch(resumed, new)
    yield "random state", _states(old, drawn), _states(new, drawn)
    yield "loss", old.losses, new.losses
    yield "update", old.sample, new.sample


def _drawn(trace: Trace) -> list[int]:
    """The generators that the run draws from: the state of another may differ, and nothing follows."""
    states = [step.random for steps in trace.steps.values() for step in steps[:SHIFTS]]
    return [n for n in range(len(states[0])) if len({state[n] for state in states}) > 1] if states else []


def _states(step: Step, drawn: Sequence[int]) -> list[int | None]:
    return [step.random[n] for n in drawn if n < len(step.random)]


def _batch(trace: Trace, step: Step) -> int | None:
    batch = step.batches.get(trace.training_loader) if trace.training_loader is not None else None
    return batch.content if batch is not None else None


def _lateness(expected: Sequence[Step], found: Sequence[Step], at: int) -> int:
    """By how many steps the rates come late; 0 where they are not those of steps before or after."""
    new = [step.rates for step in found]
    for shift in sorted(range(-min(SHIFTS, at), SHIFTS + 1), key=abs):
        pairs = list(zip((step.rates for step in expected[at + shift :]), new, strict=False))
        if shift and len({rates for _, rates in pairs}) > 1 and all(_same(old, now) for old, now in pairs):
            return -shift
    return 0


def _same(one: object, other: object) -> bool:
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    return equal(one, other)
