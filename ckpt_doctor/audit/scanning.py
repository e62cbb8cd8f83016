"""Paths -> Report: find the checkpoints, read them inertly, understand their runs, judge."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ckpt_doctor import reports
from ckpt_doctor.audit.discovery import checkpoint_files, existing, existing_logs
from ckpt_doctor.audit.judging import (
    Counts,
    case_of,
    chosen,
    counting,
    judge,
    judged,
    run_findings,
    unsure_of_the_model,
)
from ckpt_doctor.audit.opening import Progress, deepened, unreadable
from ckpt_doctor.audit.runs import find_runs, resume_file, run_folder, understand, with_siblings
from ckpt_doctor.remote import as_path, take_traffic
from ckpt_doctor.trainers import trainer_named
from ckpt_doctor.types import Checkpoint, Curve, FileReport, Given, Member, Report, Run, RunReport, TrainingState
from ckpt_doctor.types.record import record

DEFAULT_PATH = "checkpoints"
"""Where most trainers save."""


@record(frozen=True)
class Ask:
    """What a call was given, and what it wants to know of every run."""

    facts: Given = field(default_factory=dict)
    logs: Sequence[Path] = ()
    ignore: Sequence[str] = ()
    trust: Sequence[str] = ()
    trainer: str = ""
    deep: bool = False
    gate: bool = False
    """Whether the question is to resume from this very file, which asks for more than a scan does."""
    silenced: Counts | None = None
    progress: Progress | None = None
    read: Mapping[Path, Checkpoint] = field(default_factory=dict)
    """What was read before, and is not read again where it is unchanged."""

    @property
    def counts(self) -> Counts:
        """What counts of the findings."""
        return counting(self.ignore, self.trust, self.silenced)


def stated(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a call was given, as fields of an `Ask`. Raises UsageError for a log that does not exist."""
    said = {name: value for name, value in given.items() if value is not None}
    return said | {"logs": existing_logs(said.get("logs", ()))}


def scan(paths: Path | str | Sequence[Path | str] = (DEFAULT_PATH,), **given: Any) -> Report:
    """Judge files, units and run folders by themselves; `advice.scan` has the arguments, and adds what to do."""
    began = time.monotonic()
    named, found = runs_below(paths)
    ask = Ask(**stated(given))
    runs = [audit_run(folder, files, ask) for folder, files in found.items()]
    return Report(tuple(runs), time.monotonic() - began, named, shown)


def runs_below(paths: Path | str | Sequence[Path | str]) -> tuple[tuple[Path, ...], dict[Path, list[Path]]]:
    """The paths, and the checkpoints that lie there by the folders of their runs, both in path order."""
    given = existing(paths)
    return tuple(given), find_runs({file for path in given for file in checkpoint_files(path)})


def check(path: Path | str, *, gate: bool = True, **given: Any) -> Report:
    """Judge the one file that a trainer would resume from; its siblings and log serve as evidence.

    A folder stands for the file that the trainer takes from it. Other arguments as of `advice.scan`. Without `gate`
    the file is judged as a scan does, which does not ask what only a resume from this very file needs to know.
    """
    began = time.monotonic()
    path = as_path(path)
    file = resume_file(path)
    run = audit_run(run_folder(file), [file], Ask(**stated(given), gate=gate))
    return Report((run,), time.monotonic() - began, (path,), partial(shown, plan=True))


def check_all(files: Sequence[Path], **given: Any) -> list[RunReport]:
    """As `check`, of several files, each read once."""
    ask = Ask(**stated(given), gate=True)
    return [audit_run(folder, inside, ask) for folder, inside in find_runs(files).items()]


def audit_run(folder: Path, files: Sequence[Path], ask: Ask) -> RunReport:
    """One run, judged; its siblings are read as evidence."""
    run, members = understand(folder, with_siblings(folder, files, ask.read), ask.facts, ask.logs, ask.trainer)
    counts = ask.counts
    asked = members[: len(files)]
    if ask.deep:
        asked = [replace(one, checkpoint=deepened(one.checkpoint, ask.progress)) for one in asked]
    of_files = judged([case_of(member, run, gate=ask.gate) for member in asked], counts)
    found = run_findings(run)
    if any(finding.code == "O703" and counts(finding, run.path) for finding in found):
        of_files = [unsure_of_the_model(file) for file in of_files]
    report = RunReport(run, found, tuple(of_files), trainer_named(run.trainer).judging().terms)
    requests, received = take_traffic()
    return chosen(replace(report, requests=requests, received=received), counts)


def lost_run(folder: Path, files: Sequence[Path], ask: Ask, why: str) -> RunReport:
    """A run that could not be judged: nothing is known of its files but why."""
    run, counts = Run(folder, "", (), unjudged=tuple(files)), ask.counts
    unread = (unreadable(path, why) for path in files)
    members = (Member(checkpoint, TrainingState(), None) for checkpoint in unread)
    return chosen(RunReport(run, (), tuple(judged([case_of(member, run) for member in members], counts))), counts)


def read_through(
    file: FileReport, run: Run, ignore: Sequence[str] = (), trust: Sequence[str] = (), *, gate: bool = False
) -> FileReport:
    """The same file, judged with every byte of it read: once, if it is passed on to be judged again."""
    whole = file.checkpoint if file.checkpoint.deep is not None else deepened(file.checkpoint, None)
    member, counts = replace(file.member, checkpoint=whole), counting(ignore, trust)
    report = RunReport(run, (), (judge(case_of(member, run, gate=gate), counts),))
    return chosen(report, counts).files[0]


def curve_of(run: RunReport) -> Curve:
    """What there is to draw of a run."""
    return trainer_named(run.run.trainer).judging().curve(run)


def shown(report: Report, form: str, *, plan: bool = False) -> str:
    """What a person sees of a scan, or with its plan of a check, in a notebook or printed."""
    if form == "html":
        return reports.fragment(report, list(map(curve_of, report.runs)), plan=plan)
    return reports.judged(report, form, plan=plan)
