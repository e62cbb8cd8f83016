"""Time-LLM: what its trainer writes, and how it resumes.

Only what recognises a file is loaded at once: most files that are scanned are of no run of this trainer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpt_doctor.trainers.time_llm import layout
from ckpt_doctor.trainers.time_llm.command import TABLE, TimeLLMFacts, facts_of
from ckpt_doctor.trainers.time_llm.terms import TERMS
from ckpt_doctor.trainers.trainer import ByHand, Expectation, Trainer
from ckpt_doctor.types import Case, Checkpoint, Curve, Given, Member, ResumePoint, Run, RunReport

if TYPE_CHECKING:
    from ckpt_doctor.migrators import Migration
    from ckpt_doctor.validators.rule import Rule

NAME = "time-llm"


def _recognises(folder: Path, checkpoints: Sequence[Checkpoint], logs: Sequence[Path]) -> Collection[Path]:
    """Those that fit, where one of them carries a sign of this trainer, or a log of the run lies near."""
    ours = [checkpoint for checkpoint in checkpoints if layout.fits(checkpoint)]
    if not ours or not (any(map(layout.is_signed, ours)) or _has_log(folder, logs)):
        return ()
    return {checkpoint.path for checkpoint in ours}


def _has_log(folder: Path, logs: Sequence[Path]) -> bool:
    """Whether a log speaks of this run folder in this trainer's lines."""
    from ckpt_doctor.trainers.time_llm.history import read_history

    history, _, _ = read_history(folder, (), logs)
    return history is not None and history.confirmed


def _understand(run: Run, given: Given, logs: Sequence[Path]) -> Run:
    from ckpt_doctor.trainers.time_llm.facts import infer_facts
    from ckpt_doctor.trainers.time_llm.history import read_history, unread_logs

    history, log_facts, doubts = read_history(run.path, run.members, logs)
    values: dict[str, Any] = {**given, "contradictions": doubts}
    unread = () if logs else unread_logs(run.path)
    return replace(
        run, facts=infer_facts(run.members, TimeLLMFacts(**values), log_facts), history=history, not_checked=unread
    )


def _case(member: Member, run: Run, by_hand: ByHand) -> Case:
    stopping = by_hand.early_stopping
    if member.checkpoint.layout == "state-dict":
        from ckpt_doctor.trainers.time_llm.legacy import upgrade

        score = stopping.value.best_score if stopping else None
        upgraded = upgrade(member, run, epoch=by_hand.epoch, best_score=score)
        return Case(member.checkpoint, member, run, ResumePoint(), upgrade=upgraded, loads_bare=True, maps_to_cpu=True)
    from ckpt_doctor.trainers.time_llm import rates
    from ckpt_doctor.trainers.time_llm.divergence import divergence
    from ckpt_doctor.trainers.time_llm.expectation import expectation, why_open, with_evidence
    from ckpt_doctor.trainers.time_llm.open_facts import open_facts
    from ckpt_doctor.trainers.time_llm.random_state import late_random_state
    from ckpt_doctor.trainers.time_llm.resume_point import plan, resume_point, schedule_of

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


def _expects(member: Member, run: Run) -> Expectation:
    from ckpt_doctor.trainers.time_llm.expectation import expectation

    return expectation(member, run)


def _rules() -> Sequence[Rule]:
    from ckpt_doctor.trainers.time_llm.rules import RULES

    return RULES


def _run_rules() -> Sequence[Rule]:
    from ckpt_doctor.trainers.time_llm.rules import RUN_RULES

    return RUN_RULES


def _fixes() -> Sequence[Migration]:
    from ckpt_doctor.trainers.time_llm.fixes import FIXES

    return FIXES


_JUDGED = frozenset({"P409", "R511", "E611", "O705", "O706"})
"""P403, P404, R501, R502, E601 and O702 judge the same; a scaler is read with a default."""


def _curve(run: RunReport) -> Curve:
    from ckpt_doctor.trainers.time_llm.curve import curve

    return curve(run)


TIME_LLM = Trainer(
    name=NAME,
    run_of=layout.run_of,
    siblings=layout.siblings,
    resume_target=layout.resume_target,
    prunable=layout.prunable,
    recognises=_recognises,
    reads=layout.reads,
    member_of=layout.member_of,
    understand=_understand,
    case=_case,
    expects=_expects,
    rules=_rules,
    run_rules=_run_rules,
    fixes=_fixes,
    facts=TABLE,
    terms=TERMS,
    curve=_curve,
)
