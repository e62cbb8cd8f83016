"""How the Trainer's checkpoints are judged."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.trainers.hf_trainer import rates
from ckpt_doctor.trainers.hf_trainer.curve import curve
from ckpt_doctor.trainers.hf_trainer.facts import understand
from ckpt_doctor.trainers.hf_trainer.known import follows_formula, known_of
from ckpt_doctor.trainers.hf_trainer.layout import read_parts
from ckpt_doctor.trainers.hf_trainer.lineages import mixed_in
from ckpt_doctor.trainers.hf_trainer.rebuilt import fixes_of_lost_parts
from ckpt_doctor.trainers.hf_trainer.resume_point import WHY_OPEN, judged, plan, resume_point, schedule_of
from ckpt_doctor.trainers.hf_trainer.rules import RULES, folder
from ckpt_doctor.trainers.hf_trainer.terms import TERMS
from ckpt_doctor.trainers.random_twins import with_open_twin
from ckpt_doctor.trainers.schedules import inner_moves
from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.trainers.trainer import ByHand, Judging
from ckpt_doctor.types import Case, Member, Rates, ResumePlan, Run
from ckpt_doctor.validators.contents import read_by_torch


def _case(member: Member, run: Run, _by_hand: ByHand) -> Case:
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
        _with_open_run(with_open_twin(plan(member, run, resume), known_of(run).twins.get(member.label)), run),
        schedule,
        rates.scheduled(member, expected, follows_formula(run, member)) if is_known else None,
        (*(read_by_torch(member, schedule.moves) if member.has("optimizer") else ()), *read_parts(member)),
        why_open=WHY_OPEN if resume.unsettled else {},
        judged=judged(member, run),
        trains_all=False,
        changes=inner_moves(member.at("scheduler"), param_groups(member), resume.last_epoch),
    )
    return replace(case, written_anew=dict(fixes_of_lost_parts(case)))


def _with_open_run(plan: ResumePlan | None, run: Run) -> ResumePlan | None:
    """The plan, in which it is open which run goes on where the folder has several."""
    mixed = mixed_in(run)
    return plan if plan is None or mixed is None else replace(plan, open=(mixed.open_point, *plan.open))


JUDGING = Judging(understand, _case, rules=RULES, run_rules=folder.RULES, curve=curve, terms=TERMS)
