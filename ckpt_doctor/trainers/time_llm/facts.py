"""What the training command was, inferred from the run's files and log: never guessed, each fact with its source.

A fact that the evidence leaves open stays None; the rules that need it say "not checked" and name the option.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.trainers.time_llm import rates
from ckpt_doctor.trainers.time_llm.command import TABLE, TimeLLMFacts, real_steps
from ckpt_doctor.trainers.time_llm.doubts import changed_epochs, disagreements, length_doubts
from ckpt_doctor.trainers.time_llm.layout import COMPLETE_ONLY
from ckpt_doctor.trainers.time_llm.log_facts import LogFacts
from ckpt_doctor.trainers.time_llm.modes import IDLE, JUMPS, MODES, PER_STEP, adjust_learning_rate
from ckpt_doctor.trainers.time_llm.processes import (
    LIKELY,
    Known,
    counted_step,
    divisors,
    epoch_ends,
    first_length,
    fits,
    infer_world_size,
    is_open,
    least_steps,
    possible_lengths,
    shifted_lengths,
    stands,
)
from ckpt_doctor.types import Checkpoint, Evidence, Member, same_rate

SHUFFLES = Evidence(True, "Time-LLM's data provider does; if yours does not, give --no-shuffle")
"""`shuffle_flag = True` for training and validation (data_provider/data_factory.py); a file or a log never says so."""


def infer_facts(members: Sequence[Member], given: TimeLLMFacts, log: LogFacts | None = None) -> TimeLLMFacts:
    """The facts of one run; those in `given` win, and a given fact that the evidence contradicts is reported."""
    by_hand = given
    if log is not None:
        given = _prefer(given, log.arguments)
    trained = [m for m in members if m.checkpoint.layout == "training"]
    generation = given.generation or _generation(trained, log)
    lradj, candidates, doubts = _lradj(trained, given, log)
    kind, mode = generation.value if generation else "", lradj.value if lradj else ""
    world_size = given.world_size or _world_size(trained, given, mode, kind)
    world = world_size.value if world_size else 1
    world_size_open = world_size is None and is_open(trained, mode, kind)
    steps, step_doubts = _steps_per_epoch(trained, given, log, world, kind)
    known = _known(trained, given, log)
    disproved = disagreements(trained, by_hand, log, known, mode, kind, steps)
    spoken_of = {"train_epochs"} if steps else set()  # R505, P404
    disproved["lradj"] = doubts
    if given.steps_per_epoch:
        disproved["steps_per_epoch"] = step_doubts or disproved["steps_per_epoch"]
        step_doubts = []
    others = possible_lengths(trained, mode, kind, known, LIKELY[1:], goes_on=True) if world_size is None else ()
    return replace(
        given,
        generation=generation,
        lradj=lradj,
        candidates={"lradj": candidates} if candidates else {},
        world_size=world_size,
        world_size_open=world_size_open,
        other_lengths=() if world_size_open else tuple(others),
        steps_per_epoch=steps,
        least_steps=least_steps([m for m in trained if m.role == "step"]),
        train_epochs=given.train_epochs or _train_epochs(trained, steps),
        learning_rate=given.learning_rate or _learning_rate(trained),
        shuffle=given.shuffle or SHUFFLES,
        base_lr=_base_lr(log, lradj),
        patience=given.patience or (log.patience if log else None),
        log=given.log or (Evidence(log.path, "found near the run") if log else None),
        contradictions=(
            *given.contradictions,
            *step_doubts,
            *changed_epochs(by_hand, known.total_steps, mode, steps),
            *(doubt for name, told in disproved.items() if name not in spoken_of for doubt in told),
        ),
        disproved={name: told[0] for name, told in disproved.items() if told},
    )


def _known(trained: Sequence[Member], given: TimeLLMFacts, log: LogFacts | None) -> Known:
    return Known(
        given.steps_per_epoch.value if given.steps_per_epoch else None,
        log.real_steps.value if log is not None and log.real_steps else None,
        _total_steps(trained),
        given.train_epochs.value if given.train_epochs else None,
        log.epochs_begun if log is not None else 0,
        log.skips if log is not None else (),
    )


def _prefer(given: TimeLLMFacts, other: TimeLLMFacts) -> TimeLLMFacts:
    values: dict[str, Any] = {fact.name: given.get(fact.name) or other.get(fact.name) for fact in TABLE}
    return replace(given, **values)


# --- generation ------------------------------------------------------------------------------------------------------


def written_keys(checkpoint: Checkpoint) -> set[str]:
    """Top-level keys that the trainer wrote: without those that a migration added."""
    added = (edit.get("key") for edit in checkpoint.earlier_edits if edit.get("before") in (None, "absent"))
    return set(checkpoint.keys) - set(map(str, added))


def _generation(trained: Sequence[Member], log: LogFacts | None) -> Evidence[str] | None:
    for member in trained:
        extra = [key for key in COMPLETE_ONLY if key in written_keys(member.checkpoint)]
        if extra:
            return Evidence("complete", f"{member.label} holds {extra[0]}")
    if log is not None and log.restores:
        return Evidence("complete", f"{log.path.name}: a resume restored EarlyStopping")
    if trained:
        return Evidence("first-patch", "no checkpoint of the run holds EarlyStopping's state")
    return None


# --- schedule mode ---------------------------------------------------------------------------------------------------


def _lradj(
    trained: Sequence[Member], given: TimeLLMFacts, log: LogFacts | None
) -> tuple[Evidence[str] | None, tuple[str, ...], list[str]]:
    """The mode, or the modes that remain possible; and what contradicts a given one."""
    inferred, candidates = _inferred_lradj(trained, given, log)
    if inferred is not None:
        candidates = (inferred.value,)
    if given.lradj is None:
        return inferred, candidates, []
    mode = given.lradj.value
    if not candidates or mode in candidates:
        return given.lradj, (mode,), []
    source = inferred.source if inferred else "the rates in the checkpoints"
    doubt = f"{given.lradj.source} says lradj {mode}, the checkpoints say {' or '.join(candidates)} ({source})"
    return given.lradj, (mode,), [doubt]


def _inferred_lradj(
    trained: Sequence[Member], given: TimeLLMFacts, log: LogFacts | None
) -> tuple[Evidence[str] | None, tuple[str, ...]]:
    kinds = Counter(m.state.scheduler for m in trained)
    if 0 < kinds["CosineAnnealingLR"] == kinds["OneCycleLR"]:
        return None, MODES
    if kinds["CosineAnnealingLR"] > kinds["OneCycleLR"]:
        return Evidence("COS", "the scheduler is CosineAnnealingLR, which only COS builds"), ()
    if "OneCycleLR" not in kinds:
        if log is not None and log.lradj_candidates:
            return _settled(log.lradj_candidates, f"the rates in {log.path.name}")
        return None, ()
    cycled = [m for m in trained if m.state.scheduler == "OneCycleLR"]
    # One file whose schedule was moved by hand, or reset, must not speak for all others.
    still = [m for m in cycled if m.state.last_epoch == 0 and (m.state.global_step or 0) > 1]
    movers = [m for m in cycled if (m.state.last_epoch or 0) > 0]
    if movers and len(movers) >= len(still):
        first = movers[0]
        return Evidence("TST", f"{first.label}: OneCycleLR has moved (last_epoch {first.state.last_epoch})"), ()
    moved = next((m for m in still if _rate_has_cycled(m)), None)
    if moved is not None:
        return Evidence("TST", f"{moved.label}: the optimizer's rate and beta1 lie on OneCycleLR's curve"), ()
    if all((m.state.global_step or 0) <= 1 for m in cycled):
        return None, (PER_STEP, *IDLE)
    possible = set(IDLE)
    source = "OneCycleLR was never stepped, and the optimizer's rate fits no other mode"
    if log is not None and log.lradj_candidates and possible & set(log.lradj_candidates):
        # What the trainer printed comes first: a rate in a file may be one that a resume has brought along.
        possible &= set(log.lradj_candidates)
        source = f"OneCycleLR was never stepped; rates in {log.path.name} and in the checkpoints"
    told = log is not None and bool(log.lradj_candidates)
    rate = given.learning_rate.value if given.learning_rate else None
    for member in cycled:
        finished = possible_finished_epochs(member, given, resumed=log is None or log.resumed)
        fits = set(rates.idle_modes_of(member, finished, rate))
        possible = possible & fits or possible
        told = told or bool(fits)
    if not told:
        return None, (PER_STEP, *IDLE)  # a schedule of TST may have been reset, with a rate of its own
    return _settled(tuple(mode for mode in IDLE if mode in possible), source)


def _settled(candidates: tuple[str, ...], source: str) -> tuple[Evidence[str] | None, tuple[str, ...]]:
    return (Evidence(candidates[0], source), ()) if len(candidates) == 1 else (None, candidates)


def _rate_has_cycled(member: Member) -> bool:
    """Whether rate or beta1 were moved along OneCycleLR's curve although `last_epoch` is 0 (a reset scheduler)."""
    step = member.state.global_step or 0
    here = [rates.rates_at(member, PER_STEP, t, 0) for t in (step, step - 1) if t > 1]
    rate, beta1 = member.state.lr, member.state.beta1
    return any(
        point is not None and same_rate(rate, point.lr[0]) and (point.beta1 is None or same_rate(beta1, point.beta1[0]))
        for point in here
    )


def possible_finished_epochs(member: Member, given: TimeLLMFacts, *, resumed: bool) -> tuple[int, ...]:
    """How many epochs' rate updates the file can have behind it, by its `epoch` and `global_step`.

    A best file lacks the update of the epoch that it ends, and so does, for one epoch, a run `resumed` from it.
    """
    told = _finished_epochs(member, given)
    return tuple(dict.fromkeys((*told, max(min(told) - 1, 0)))) if resumed and told else told


def _finished_epochs(member: Member, given: TimeLLMFacts) -> tuple[int, ...]:
    epoch, step = member.state.epoch, counted_step(member)
    if epoch is None or epoch < 0:
        return ()
    # A best file is saved before the update of the epoch that it ends, and names that epoch or the next; so does a step
    # file of an epoch's end whose `epoch` was put right.
    as_saved = member.role == "step" and all(edit.get("key") != "epoch" for edit in member.checkpoint.earlier_edits)
    near = (epoch, epoch + 1) if as_saved else (epoch, epoch + 1, max(epoch - 1, 0))
    if given.steps_per_epoch is None or not step:
        return near
    length = real_steps(given.steps_per_epoch.value, given.processes)
    exact = step // length
    told = (exact, max(exact - 1, 0)) if step % length == 0 else (exact,)
    # Several processes that nobody has mentioned make fewer steps per epoch than were given.
    return told if given.world_size or set(told) & set(near) else (*told, *near)


def _world_size(trained: Sequence[Member], given: TimeLLMFacts, mode: str, generation: str) -> Evidence[int] | None:
    length = given.steps_per_epoch.value if given.steps_per_epoch else None
    told = infer_world_size(trained, mode, length, generation)
    if told is not None or length is not None:
        return told
    planned = infer_world_size(trained, mode, _planned_length(trained, given), generation)
    # More than one could also be a schedule that was made for more epochs than are given now.
    return planned if planned is not None and planned.value == 1 else None


# --- lengths ---------------------------------------------------------------------------------------------------------


def _steps_per_epoch(
    trained: Sequence[Member], given: TimeLLMFacts, log: LogFacts | None, world: int, generation: str
) -> tuple[Evidence[int] | None, list[str]]:
    """`len(train_loader)`: the one candidate that fits every checkpoint's `epoch`, `global_step` and `total_steps`."""
    if given.steps_per_epoch is not None:
        doubts = length_doubts(given.steps_per_epoch, trained, world)
        counted = log.steps_per_epoch or log.real_steps if log is not None and world == 1 else None
        if not doubts and counted is not None and counted.value != given.steps_per_epoch.value:
            doubts = [
                f"{given.steps_per_epoch.source} says {given.steps_per_epoch.value:,} steps per epoch, the log "
                f"{counted.value:,} ({counted.source})"
            ]
        return given.steps_per_epoch, doubts
    skips = log.skips if log is not None else ()
    total = _total_steps(trained)

    def possible(length: int) -> bool:
        """What holds for every run, whatever epochs it has repeated."""
        return (not total or total % length == 0) and all(step % length == skip for step, skip in skips)

    if log is not None and world == 1:
        for told in (log.steps_per_epoch, log.real_steps):
            if told is not None and possible(told.value):
                return told, length_doubts(told, trained, world)
    placed = [m for m in trained if (m.state.global_step or 0) > 0 and (m.state.epoch or 0) >= 0]
    placed = [m for m in placed if m.state.epoch is not None]
    candidates: dict[int, str] = {}
    for member in placed:
        shifted = f"{member.label}: its global_step was shifted for {world} processes"
        candidates.update({length: shifted for length, w in shifted_lengths(member) if w == world})
        if member.role == "best":
            candidates.update(_from_epoch_end(member, world, generation))
    if total:
        length = _planned_length(trained, given)
        standing = sum(stands(m, length, world, generation) for m in placed) if length is not None else 0
        # A best file stands at an epoch's end. In the first epoch every length fits the step files.
        ends = length is not None and all(
            counted_step(m) % real_steps(length, world) == 0 or m.checkpoint.migrations
            for m in placed
            if m.role == "best"
        )
        if length is not None and ends and (not candidates or 2 * standing > len(placed)):
            epochs = given.train_epochs.value if given.train_epochs else 0
            candidates = {length: f"total_steps {total:,} over {epochs} epochs"}
        elif log is not None and log.real_steps is not None:
            # only the number of processes keeps this from being the loader's length
            source = f"total_steps {total:,} and {log.real_steps.source} on each of {world} processes"
            candidates = {n: source for n in divisors(total) if real_steps(n, world) == log.real_steps.value}
        elif not candidates and world == 1:
            candidates = dict.fromkeys(divisors(total), f"the only divisor of total_steps {total:,} that fits")
    candidates = {n: source for n, source in candidates.items() if possible(n)}
    fitting = {n: source for n, source in candidates.items() if all(fits(m, n, world) for m in placed)}
    if not fitting and candidates:
        # One wrong file must not hide the length that all others agree on.
        score = {n: sum(fits(m, n, world) for m in placed) for n in candidates}
        best = max(score.values())
        fitting = {n: candidates[n] for n in candidates if score[n] == best and best > len(placed) / 2}
    if len(fitting) == 1:
        ((length, source),) = fitting.items()
        return Evidence(length, source), []
    return None, []


def _total_steps(trained: Sequence[Member]) -> int | None:
    """The schedule's length, where all files agree on it."""
    totals = {m.state.total_steps for m in trained if m.state.total_steps}
    return totals.pop() if len(totals) == 1 else None


def _from_epoch_end(best: Member, world: int, generation: str) -> Iterable[tuple[int, str]]:
    """A best file is written at an epoch's end."""
    step, each = counted_step(best), f" on each of {world} processes" if world > 1 else ""
    for real in epoch_ends(best, generation):
        source = f"{best.label}: {step:,} steps at epoch {step // real}{each}"
        yield from ((length, source) for length in range(real * world, real * world + world))


def _planned_length(trained: Sequence[Member], given: TimeLLMFacts) -> int | None:
    """`len(train_loader)` if the schedule was made for the given number of epochs; None where it can't have been.

    A run may be resumed with another `--train_epochs` than it was started with.
    """
    total = first_length(trained)
    epochs = given.train_epochs.value if given.train_epochs else 0
    if not total or not epochs or total % epochs or any((m.state.epoch or 0) > epochs for m in trained):
        return None
    return total // epochs


def _train_epochs(trained: Sequence[Member], steps: Evidence[int] | None) -> Evidence[int] | None:
    total = first_length(trained)
    if total is None or steps is None or total % steps.value:
        return None
    return Evidence(total // steps.value, f"total_steps {total:,} of the scheduler / {steps.value:,} steps per epoch")


def _learning_rate(trained: Sequence[Member]) -> Evidence[float] | None:
    """The run's `--learning_rate`: OneCycleLR's `max_lr`; in COS the base rate."""
    for member in trained:
        for group in param_groups(member):
            for key in ("max_lr", "initial_lr"):
                if isinstance(group.get(key), float):
                    return Evidence(group[key], f"{key} of the optimizer")
    return None


def _base_lr(log: LogFacts | None, lradj: Evidence[str] | None) -> Evidence[float] | None:
    """The idle modes set `base * factor` after the first epoch. Exact but in PEMS, whose factor is not 1."""
    if log is None or log.first_rate is None or lradj is None or lradj.value not in JUMPS:
        return None
    factor = adjust_learning_rate(lradj.value, 1.0, 1)
    return Evidence(log.first_rate.value / factor, log.first_rate.source) if factor else None
