"""The Trainer of Hugging Face: what it writes, and how it resumes. TRL, axolotl and LLaMA-Factory write the same.

Only what recognises a folder is loaded at once: most files that are scanned are of no run of this trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor.trainers.hf_trainer import layout
from ckpt_doctor.trainers.hf_trainer.command import TABLE
from ckpt_doctor.trainers.hf_trainer.terms import TERMS
from ckpt_doctor.trainers.trainer import ByHand, Trainer, one_by_one
from ckpt_doctor.types import Case, Given, Member, Rates, Run

if TYPE_CHECKING:
    from ckpt_doctor.migrators import Migration
    from ckpt_doctor.validators.rule import Rule

NAME = "hf"


def _understand(run: Run, given: Given, _logs: Sequence[Path]) -> Run:
    from ckpt_doctor.trainers.hf_trainer.facts import understand

    return understand(run, given)


def _case(member: Member, run: Run, _by_hand: ByHand) -> Case:
    from ckpt_doctor.trainers.hf_trainer import rates
    from ckpt_doctor.trainers.hf_trainer.known import follows_formula, known_of
    from ckpt_doctor.trainers.hf_trainer.rebuilt import fixes_of_lost_parts
    from ckpt_doctor.trainers.hf_trainer.resume_point import WHY_OPEN, judged, plan, resume_point, schedule_of
    from ckpt_doctor.validators.contents import read_by_torch

    if member.label == known_of(run).best:
        member = replace(member, role="best")
    resume = resume_point(member, run)
    schedule = schedule_of(member, run)
    expected = Rates(resume.lr, None, resume.lr) if resume.lr else None
    is_known = resume.global_step is not None and not resume.unsettled
    case = Case(
        member.checkpoint,
        member,
        run,
        resume,
        plan(member, run, resume),
        schedule,
        rates.scheduled(member, expected, follows_formula(run, member)) if is_known else None,
        (*(read_by_torch(member, schedule.moves) if member.has("optimizer") else ()), *layout.read_parts(member)),
        why_open=WHY_OPEN if resume.unsettled else {},
        judged=judged(member, run),
    )
    return replace(case, written_anew=dict(fixes_of_lost_parts(case)))


def _rules() -> Sequence[Rule]:
    from ckpt_doctor.trainers.hf_trainer.rules import RULES

    return RULES


def _fixes() -> Sequence[Migration]:
    from ckpt_doctor.trainers.hf_trainer.fixes import FIXES

    return FIXES


HF = Trainer(
    name=NAME,
    run_of=layout.run_of,
    is_unit=layout.is_unit,
    reads_part=layout.reads_part,
    siblings=layout.siblings,
    resume_target=layout.resume_target,
    prunable=layout.prunable,
    recognises=one_by_one(layout.reads),
    reads=layout.reads,
    member_of=layout.member_of,
    understand=_understand,
    case=_case,
    rules=_rules,
    fixes=_fixes,
    facts=TABLE,
    loads_part=lambda name: layout.RANDOM.match(name) is not None,
    terms=TERMS,
)
