"""How Time-LLM's checkpoints are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckpt_doctor.trainers.time_llm import rates
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts, facts_of
from ckpt_doctor.trainers.time_llm.curve import curve
from ckpt_doctor.trainers.time_llm.divergence import divergence
from ckpt_doctor.trainers.time_llm.expectation import expectation, why_open, with_evidence
from ckpt_doctor.trainers.time_llm.facts import infer_facts
from ckpt_doctor.trainers.time_llm.history import read_history
from ckpt_doctor.trainers.time_llm.legacy import upgrade
from ckpt_doctor.trainers.time_llm.log_files import unclaimed_logs
from ckpt_doctor.trainers.time_llm.near_logs import unread_logs
from ckpt_doctor.trainers.time_llm.open_facts import open_facts
from ckpt_doctor.trainers.time_llm.random_state import late_random_state
from ckpt_doctor.trainers.time_llm.resume_point import plan, resume_point, schedule_of
from ckpt_doctor.trainers.time_llm.rules import RULES, RUN_RULES
from ckpt_doctor.trainers.time_llm.terms import TERMS
from ckpt_doctor.trainers.trainer import ByHand, Judging
from ckpt_doctor.types import Case, Given, Member, ResumePoint, Run

_JUDGED = frozenset({"P409", "R511", "E611", "O705", "O706"})
"""P403, P404, R501, R502, E601 and O702 judge the same; a scaler is read with a default."""


def _understand(run: Run, given: Given, logs: Sequence[Path]) -> Run:
    history, log_facts, doubts = read_history(run.path, run.members, logs)
    values: dict[str, Any] = {**given, "contradictions": doubts}
    unread = () if logs else unread_logs(run.path)
    return replace(
        run, facts=infer_facts(run.members, TimeLLMFacts(**values), log_facts), history=history, not_checked=unread
    )


def _case(member: Member, run: Run, by_hand: ByHand) -> Case:
    stopping = by_hand.early_stopping
    if member.checkpoint.layout == "state-dict":
        score = stopping.value.best_score if stopping else None
        upgraded = upgrade(member, run, epoch=by_hand.epoch, best_score=score)
        return Case(member.checkpoint, member, run, ResumePoint(), upgrade=upgraded, loads_bare=True, maps_to_cpu=True)
    resume = resume_point(member, run)
    if stopping is not None:
        resume = replace(resume, early_stopping=stopping)
    late, expected = late_random_state(member, run, resume), expectation(member, run)
    return Case(
        member.checkpoint,
        member,
        run,
        resume,
        plan(member, run, resume, late),
        with_evidence(expected.schedule, facts_of(run), resume),
        schedule_of(member, run, resume),
        expected.reads,
        why_open(facts_of(run)),
        rates.next_step_fails(member),
        late_random_state=late,
        open_facts=open_facts(member, run),
        diverged=divergence(member, run, resume),
        loads_bare=True,
        maps_to_cpu=True,
        judged=_JUDGED,
    )


JUDGING = Judging(
    _understand, _case, expectation, rules=RULES, run_rules=RUN_RULES, curve=curve, logs=unclaimed_logs, terms=TERMS
)
