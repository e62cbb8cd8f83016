"""Hand-written training loops: what they save, and what their files show together.

Only what recognises a file is loaded at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpt_doctor.trainers.plain import layout
from ckpt_doctor.trainers.plain.command import TABLE, PlainFacts
from ckpt_doctor.trainers.plain.terms import TERMS
from ckpt_doctor.trainers.trainer import ByHand, Trainer, one_by_one
from ckpt_doctor.types import Case, Given, Member, Run, Schedule

if TYPE_CHECKING:
    from ckpt_doctor.migrators import Migration
    from ckpt_doctor.validators.rule import Rule

NAME = "plain"


def _understand(run: Run, given: Given, logs: Sequence[Path]) -> Run:
    from ckpt_doctor.trainers.plain.position import contradictions, families_of

    values: dict[str, Any] = dict(given)
    facts = PlainFacts(**values)
    kin = families_of(run.members, facts)
    lengths = {one.steps_per_epoch for one in kin.values()}
    if len(lengths) == 1:
        facts = replace(facts, steps_per_epoch=lengths.pop())
    run = replace(run, facts=facts, history=kin)
    told = dict(contradictions(run))
    return replace(run, facts=replace(facts, contradictions=tuple(told.values()), disproved=told))


def _case(member: Member, run: Run, by_hand: ByHand) -> Case:
    from ckpt_doctor.trainers.plain.position import departure, kin_of
    from ckpt_doctor.trainers.plain.resume_point import plan, resume_point
    from ckpt_doctor.trainers.plain.schedule import donors

    resume, departed = resume_point(member, run), departure(member, run)
    is_late = departed is not None and "schedule" in departed.parts
    return Case(
        member.checkpoint,
        member,
        run,
        resume,
        plan(member, run, resume),
        Schedule(unit=kin_of(member, run).unit, why_behind="" if is_late else _WHY_BEHIND),
        judged=_OTHERWISE
        | ({"P409"} if departed is not None else set())
        | ({"R504"} if is_late else set())
        | ({"R508"} if donors(member, run) else set()),
    )


_WHY_BEHIND = "right only where the script steps its scheduler at an epoch's start (then give --saved-after-step)"
_OTHERWISE = frozenset({"P403", "P404", "R505"})
"""Loops may accumulate, unfreeze and stop as they like: what these rules hold for wrong is healthy here."""


def _rules() -> Sequence[Rule]:
    from ckpt_doctor.trainers.plain.rules import RULES

    return RULES


def _fixes() -> Sequence[Migration]:
    from ckpt_doctor.trainers.plain.fixes import FIXES

    return FIXES


PLAIN = Trainer(
    name=NAME,
    is_unit=layout.is_unit,
    reads_part=lambda name: not name.endswith(".json"),
    recognises=one_by_one(layout.fits),
    reads=layout.reads,
    member_of=layout.member_of,
    understand=_understand,
    case=_case,
    rules=_rules,
    fixes=_fixes,
    facts=TABLE,
    terms=TERMS,
    by_shape=True,
    relatives=layout.relatives,
    named=layout.named,
)
