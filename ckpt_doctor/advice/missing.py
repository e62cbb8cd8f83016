"""What a repair needs and no file shows: all of it at once, found by planning again as if each answer were there."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor import audit, reports
from ckpt_doctor.trainers import trainer_named
from ckpt_doctor.types import (
    Blank,
    Choice,
    Evidence,
    Fact,
    FileReport,
    Finding,
    Flag,
    LeftLog,
    Refusal,
    RunReport,
    option_of,
)
from ckpt_doctor.types.record import record

if TYPE_CHECKING:  # loaded where something calls for a repair
    from ckpt_doctor.repair import FilePlan, Request

OPEN = "P413"
"""The code of an open fact; its finding stands at the option that settles it."""
LOG, LOSS, EPOCH = "--log", "--val-loss", "--epoch"
PLACEHOLDERS = {
    LOSS: ("LOSS", "the best validation loss up to this checkpoint"),
    EPOCH: ("EPOCH", "how many epochs were finished"),
}
"""Options of `migrate` that are no facts of the training command, the likeliest to be known first: a word that stands
for the answer, and what it is."""
MOST_ROUNDS = 4
MOST_LOGS = 8
"""Logs near a run that are tried."""
_OPTION = r"--[a-z][a-z-]*"


@record(frozen=True)
class Missing:
    """What a person must give for one file so that a dry run would carry out all of its repair."""

    options: tuple[str, ...] = ()
    """Empty where there is nothing that anyone could give."""
    accepted: tuple[str, ...] = ()
    """Codes of findings that nothing can cure, to be ignored in the same command."""
    edits: bool = False
    """Whether the repair would change the file, once all is given."""
    notes: tuple[str, ...] = ()
    """What to know of the repair beside its edits."""


def asked_for(planned: FilePlan, run: RunReport) -> list[str]:
    """The options that would settle what keeps a plan from being carried out, one for each question.

    An open fact first, for what else is asked may follow from it.
    """
    facts = {option_of(fact.name) for fact in run.run.facts.table}
    open_ = [finding.where for finding in planned.before.findings if finding.code == OPEN]
    found = (_preferred(settle, facts) for settle in open_ or [refusal.settle for refusal in planned.refusals])
    return list(dict.fromkeys(option for option in found if option))


def codes_of(findings: Collection[Finding], migrations: Collection[str]) -> tuple[str, ...]:
    """The codes of the findings that only these migrations could have cured, or that ask for one of them."""
    from ckpt_doctor import repair

    asking = {code for code, names in repair.ASKED_BY.items() if set(names) & set(migrations)}
    serious = (finding for finding in findings if finding.severity != "info")
    return tuple(dict.fromkeys(f.code for f in serious if f.migration in migrations or f.code in asking))


def _asked_for_next(planned: FilePlan, run: RunReport, request: Request) -> list[str]:
    """What an upgraded file would ask for: a bare state_dict has no place yet for what it will lack."""
    from ckpt_doctor import repair

    wrapped = any(edit.op == "wrap" for edit in planned.edits)
    after = repair.repaired(run, planned, request) if wrapped else None
    fixes = [finding.fix for finding in after.serious if finding.migration and finding.fix] if after else []
    return [option for fix in fixes if (option := _preferred(fix, ()))]


def _preferred(settle: str, facts: Collection[str]) -> str:
    """The one of several options that is most likely to be known; empty where no option settles it."""
    named = [] if settle.startswith("leave out") else re.findall(_OPTION, settle)
    order = [*PLACEHOLDERS, *(option for option in named if option in facts)]
    return next((option for option in order if option in named), "")


def blank(option: str, run: RunReport) -> Blank:
    """What a person must fill in behind an option."""
    fact = _fact(option, run)
    if fact is None:
        return Blank(option, *PLACEHOLDERS[option])
    open_values = run.run.facts.candidates.get(fact.name, ())
    what = " or ".join(open_values) or fact.help.rstrip(".").partition(": ")[0].lower()
    word = "" if isinstance(fact.kind, Flag) else option.removeprefix("--").replace("-", "_").upper()
    return Blank(option, word, what)


def words_of(blanks: Iterable[Blank]) -> tuple[str, ...]:
    """The words of a command line in which they are filled in."""
    return tuple(word for blank in blanks for word in (blank.option, blank.word) if word)


def _fact(option: str, run: RunReport) -> Fact | None:
    return next((fact for fact in run.run.facts.table if option_of(fact.name) == option), None)


def missing(run: RunReport, planned: FilePlan, request: Request) -> Missing:
    """All that a file's repair needs to be given."""
    from ckpt_doctor import repair

    path, trial, options, plan = planned.checkpoint.path, request, dict[str, None](), planned
    for _ in range(MOST_ROUNDS):
        asked = asked_for(plan, run) or _asked_for_next(plan, run, trial)
        new = [option for option in asked if option not in options]
        if not new:
            break
        options.update(dict.fromkeys(new))
        trial = _assumed(trial, new, run, plan)
        plan = repair.foresee_one(run, path, trial)
    lost = codes_of(plan.before.serious, {refusal.migration for refusal in plan.refusals})
    if lost:
        plan = repair.foresee_one(run, path, replace(trial, ignore=[*trial.ignore, *lost]))
    return Missing(tuple(options), lost, bool(plan.edits), plan.notes) if not plan.refusals else Missing()


@record(frozen=True)
class NearLogs:
    """The logs near a run that nobody else there claims."""

    fitting: Path | None = None
    """The one with which the repair would be carried out, if it is the run's."""
    notes: tuple[str, ...] = ()
    """What to know of that repair."""
    left: tuple[LeftLog, ...] = ()


def near_logs(run: RunReport, planned: FilePlan, request: Request) -> NearLogs:
    """Which of the logs near a run would give what a repair needs; several that would are as good as none."""
    settles = [word for refusal in planned.refusals for word in re.findall(_OPTION, refusal.settle)]
    if LOG not in settles or request.logs:
        return NearLogs()
    fitting, left = _tried(run, planned.checkpoint.path, request)
    if len(fitting) != 1:
        return NearLogs(left=tuple(left))
    ((log, plan),) = fitting
    return NearLogs(log, plan.notes, tuple(left))


def _assumed(request: Request, options: Sequence[str], run: RunReport, planned: FilePlan) -> Request:
    """The request as if these were given."""
    for option in options:
        fact = _fact(option, run)
        if option == LOSS:
            request = replace(request, score=-1.0)
        elif option == EPOCH:
            request = replace(request, epoch=1)
        elif fact is not None:
            value = _possible(fact, run, planned.before)
            request = replace(request, facts={**request.facts, fact.name: Evidence(value, option, given=True)})
    return request


def _possible(fact: Fact, run: RunReport, file: FileReport) -> object:
    """A value that the evidence leaves open."""
    told = [str(word) for f in file.findings if f.where == option_of(fact.name) for word in _listed(f.found)]
    words = (*run.run.facts.candidates.get(fact.name, ()), *(part for word in told for part in word.split(" or ")))
    values: Iterator[object] = (int(word) if word.isdecimal() else word for word in words)
    kinds = fact.kind.words if isinstance(fact.kind, Choice) else (True, audit.steps_done(file), 1)
    return next(value for value in (*values, *kinds, 1.0) if fact.kind.fits(value))


def _listed(found: object) -> Sequence[object]:
    return found if isinstance(found, (list, tuple)) else ()


def _tried(run: RunReport, path: Path, request: Request) -> tuple[list[tuple[Path, FilePlan]], list[LeftLog]]:
    """The logs near a run with which the repair of a file would be carried out, and why the others are not taken."""
    from ckpt_doctor import repair

    fitting: list[tuple[Path, FilePlan]] = []
    left: list[LeftLog] = []
    for found in trainer_named(run.run.trainer).judging().logs(run.run.path)[:MOST_LOGS]:
        log = Path(reports.nearest(found))
        plan = repair.foresee_one(run, path, replace(request, logs=(log,)))
        if repair.is_complete(plan):
            fitting.append((log, plan))
        else:
            left.append(LeftLog(log, _why_left(plan, log)))
    return fitting, left


def _why_left(plan: FilePlan, log: Path) -> str:
    """Why a log is not this run's, by what it says; else what it leaves open."""
    against = (doubt for doubt in plan.case.run.facts.contradictions if log.name in doubt)
    told = next(against, "").partition(": ")[2] or next((r.reason for r in _asking(plan.refusals)), "")
    return told or "it shows nothing that the repair needs"


def _asking(refusals: Sequence[Refusal]) -> Iterator[Refusal]:
    return (refusal for refusal in refusals if LOG in refusal.settle)
