"""How the files of a hand-written loop are judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckpt_doctor.inert.lines import ENOUGH
from ckpt_doctor.trainers.plain import layout
from ckpt_doctor.trainers.plain.command import PlainFacts, facts_of
from ckpt_doctor.trainers.plain.label import has_counts, is_in_the_file, label_slot
from ckpt_doctor.trainers.plain.position import as_read, contradictions, standing, standings
from ckpt_doctor.trainers.plain.resume_point import plan, resume_point
from ckpt_doctor.trainers.plain.rules import RULES
from ckpt_doctor.trainers.plain.schedule import donors, is_alone_off
from ckpt_doctor.trainers.plain.sibling_rules import RULES as SIBLING_RULES
from ckpt_doctor.trainers.plain.terms import TERMS
from ckpt_doctor.trainers.trainer import ByHand, Judging
from ckpt_doctor.types import (
    Case,
    Evidence,
    Given,
    KeyPath,
    Member,
    Places,
    ResumePlan,
    ResumePoint,
    Run,
    Schedule,
    TrainingState,
    mapping_of,
    sets_first_rate,
)

_WHY_BEHIND = "right only where the script steps its scheduler at an epoch's start (then give --saved-after-step)"
_OTHERWISE = frozenset({"P403", "P404", "R505"})
"""Loops may accumulate, unfreeze and stop as they like: what these rules hold for wrong is healthy here."""


def _as_in_others(members: Sequence[Member]) -> list[Member]:
    """Members, with the label where the others of the run have it, also where it is not the number in its name."""
    places = Counter(
        (slot, member.places[slot])
        for member in members
        if (slot := label_slot(member)) in member.places and not has_counts(member.checkpoint)
    ).most_common(1)
    if not places or places[0][1] < ENOUGH:
        return list(members)
    (((slot, path), _),) = places
    return [member if is_in_the_file(member) else _placed(member, slot, path) for member in members]


def _as_in_its_run(member: Member, run: Run) -> Member:
    """The same of a member as it is now."""
    known = as_read(member, run)
    slot = label_slot(known)
    return _placed(member, slot, known.places[slot]) if slot in known.places else member


def _placed(member: Member, slot: str, path: KeyPath) -> Member:
    value = member.checkpoint.get(*path)
    if type(value) is not int or has_counts(member.checkpoint):
        return member

    def moved(state: TrainingState, places: Places) -> tuple[TrainingState, Places]:
        known = replace(state, epoch=value) if slot == "epoch" else replace(state, global_step=value)
        return known, {**places, slot: path}

    state, places = moved(member.state, member.places)
    further = tuple(moved(*one) for one in member.further)
    return replace(member, state=state, places=places, further=further)


def _place_of_code(members: Sequence[Member]) -> str | None:
    """Where a script that sets `initial_lr` is in one of its own files, as speed runs save it; None where in none."""
    for member in members[-1:]:
        for key, value in (mapping_of(member.checkpoint.root) or {}).items():
            if isinstance(value, str) and (line := sets_first_rate(value)) is not None:
                return f"line {line:,} of the code under {key} in {member.label}"
    return None


def _understand(run: Run, given: Given, _logs: Sequence[Path]) -> Run:
    values: dict[str, Any] = dict(given)
    facts = PlainFacts(**values)
    run = replace(run, members=tuple(_as_in_others(run.members)))
    found = standings(run.members, facts)
    lengths = {one.kin.length for one in found.values() if not one.kin.by_steps}
    if len(lengths) == 1 and (length := lengths.pop()) is not None:
        facts = replace(facts, steps_per_epoch=Evidence(length.value.each, length.source))
    if facts.rates_by_hand is None and (place := _place_of_code(run.members)) is not None:
        facts = replace(facts, rates_by_hand=Evidence(True, place))
    run = replace(run, facts=facts, history=found)
    told = dict(contradictions(run))
    return replace(run, facts=replace(facts, contradictions=tuple(told.values()), disproved=told))


def _case(member: Member, run: Run, _by_hand: ByHand) -> Case:
    if not is_in_the_file(member):
        member = _as_in_its_run(member, run)
    each = [(one, resume_point(one, run)) for one in member.optimizers]
    planned = plan(member, run, each)
    first, *further = (_of_one(one, run, resume, planned) for one, resume in each)
    return replace(first, further=tuple(further)) if further else first


def _of_one(member: Member, run: Run, resume: ResumePoint, planned: ResumePlan) -> Case:
    """The case of one optimizer, with the plan of the file."""
    here = standing(member, run)
    departed = here.departure
    is_late = departed is not None and "schedule" in departed.parts
    told = facts_of(run).rates_by_hand
    by_hand = told is not None and told.value
    return Case(
        member.checkpoint,
        member,
        run,
        resume,
        planned,
        schedule=Schedule(unit=here.kin.unit, why_behind="" if is_late else _WHY_BEHIND),
        judged=_OTHERWISE
        | ({"P409"} if departed is not None else set())
        | ({"R504"} if is_late or is_alone_off(member, run) else set())
        | ({"R508"} if donors(member, run) or by_hand else set()),
        several=layout.has_several(member.checkpoint),
    )


JUDGING = Judging(_understand, _case, rules=(*RULES, *SIBLING_RULES), terms=TERMS)
