"""Facts of the command that the evidence leaves open, where its candidates make different resumes of one file."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts, facts_of
from ckpt_doctor.trainers.time_llm.resume_point import (
    Position,
    at,
    on_more_processes,
    positions,
    trainer_start,
)
from ckpt_doctor.types import Member, OpenFact, ResumePoint, Run, same_rate

Candidate = tuple[str, str]
"""What a fact can be, and what follows."""


def open_facts(member: Member, run: Run) -> tuple[OpenFact, ...]:
    """What is open and matters to a resume from this file; empty where all candidates come to the same."""
    facts = facts_of(run)
    places = positions(member, facts)
    if member.checkpoint.layout != "training" or not places:
        return ()
    if facts.train_epochs is not None and places[0].finished_epochs >= facts.train_epochs.value:
        return ()  # nothing is left to train
    found = (
        ("--lradj", "the mode", _modes(member, facts, places[0])),
        ("--steps-per-epoch", "the number of steps per epoch", _lengths(member, facts, places)),
        ("--world-size", "the number of processes", _processes(member, facts, places[0])),
    )
    return tuple(
        OpenFact(name, tuple(candidates), option)
        for option, name, candidates in found
        if len({follows for _, follows in candidates}) > 1
    )


def _modes(member: Member, facts: TimeLLMFacts, place: Position) -> list[Candidate]:
    told: dict[str, list[str]] = {}
    for mode in facts.modes:
        if mode is not None:
            told.setdefault(_rate(member, at(member, facts, place, mode)), []).append(mode)
    return [(" or ".join(modes), follows) for follows, modes in told.items()]


def _rate(member: Member, point: ResumePoint) -> str:
    """What becomes of the rate, if the run was at this point."""
    state = member.state
    if point.lr is None or state.lr is None:
        return "the rate is open"
    moved = "" if state.last_epoch == point.last_epoch else f", with the schedule at {point.last_epoch}"
    if not same_rate(state.lr, point.lr[0]):
        return f"the next rate must be {point.lr[0]:.6g}, the file has {state.lr:.6g}{moved}"
    if point.beta1 and state.beta1 is not None and not same_rate(state.beta1, point.beta1[0]):
        return f"Adam's beta1 must be {point.beta1[0]:.6g}, the file has {state.beta1:.6g}{moved}"
    return f"the file's rate {state.lr:.6g} is right{moved}"


def _lengths(member: Member, facts: TimeLLMFacts, places: Sequence[Position]) -> list[Candidate]:
    """Where the steps per epoch are open, a step file may stand inside its epoch or at its end.

    On several processes the place in the epoch is open with them, but for what the complete trainer saves at its end.
    """
    step = member.state.global_step or 0
    on_several = facts.processes > 1 and facts.steps_per_epoch is None
    if on_several and places[0].finished_epochs and not (facts.is_complete and places[0].batches == 0):
        return [
            ("a length with which the skip comes out right", "the trainer starts where the run was"),
            ("any other", "the trainer starts elsewhere: it counts an epoch's batches before they are dealt out"),
        ]
    return [
        (f"{step // place.finished_epochs:,}", f"the file ends epoch {place.finished_epochs - 1}")
        if place.batches == 0
        else ("any other", f"the file is inside epoch {place.finished_epochs}")
        for place in places
    ]


def _processes(member: Member, facts: TimeLLMFacts, place: Position) -> list[Candidate]:
    """The trainer counts an epoch's batches before they are dealt out to the processes, and so skips too many."""
    if facts.world_size_open:
        return [("1", "the schedule is ahead of its steps"), ("more", "the schedule may be right")]
    found = [("1", _landing(member, facts, place))]
    for other, (length, world) in zip(on_more_processes(facts), facts.other_lengths, strict=True):
        name = f"{world} (with {length:,} steps per epoch)"
        found += [(name, _landing(member, other, stood)) for stood in positions(member, other)]
    first: dict[str, str] = {}  # several lengths of a loader mostly come to the same
    for name, follows in found:
        first.setdefault(follows, name)
    return [(name, follows) for follows, name in first.items()]


def _landing(member: Member, facts: TimeLLMFacts, stood: Position) -> str:
    """Where the trainer starts, against where the run was."""
    start = trainer_start(member, facts)
    if start is None or start == stood or stood.batches is None:
        return "the trainer starts where the run was"
    return f"the trainer starts at {_place(start)}, but the run was at {_place(stood)}"


def _place(place: Position) -> str:
    return f"epoch {place.finished_epochs}, batch {place.batches}"
