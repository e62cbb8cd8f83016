"""Paths -> Report: find the checkpoints, read them inertly, understand the run, judge."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor import reports
from ckpt_doctor.audit.discovery import checkpoint_files, existing, existing_logs, is_file
from ckpt_doctor.errors import UsageError, WriteRefused
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.tensor_bytes import read_scalars
from ckpt_doctor.trainers import TRAINERS, time_llm
from ckpt_doctor.types import (
    Case,
    Checkpoint,
    Curve,
    Damage,
    EarlyStoppingState,
    Evidence,
    Facts,
    FileReport,
    Finding,
    Member,
    Migration,
    NotChecked,
    Report,
    ResumePoint,
    Run,
    RunReport,
    Verdict,
    selects,
)
from ckpt_doctor.validators import FILE_RULES, RULES, RUN_RULES
from ckpt_doctor.validators.files import UNTRUSTED
from ckpt_doctor.validators.rule import Rule
from ckpt_doctor.writer import names

if TYPE_CHECKING:
    from ckpt_doctor.writer.in_place import Journal

DEFAULT_PATH = "checkpoints"
"""The trainer's own `--checkpoints`."""

Progress = Callable[[Path, int], None]
"""Called with a file and the number of its bytes read since the last call."""


def scan(
    paths: Path | str | Sequence[Path | str] = (DEFAULT_PATH,),
    *,
    facts: Facts | None = None,
    deep: bool = False,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    logs: Sequence[Path | str] = (),
    progress: Progress | None = None,
) -> Report:
    """Audit files and run folders, read-only.

    `facts` are those given by a person (`ckpt_doctor.facts`), which outrank what is inferred. `deep` reads every byte
    (checksums, NaN). `select` and `ignore` take codes, their beginnings and names (`E601`, `E`, `missing-best-score`).
    Raises UsageError for a path or a log that does not exist, and for a rule that does not."""
    began = time.monotonic()
    given = existing(paths)
    logs = existing_logs(logs)
    wanted = {file for path in given for file in checkpoint_files(path)}
    runs = [
        _audit_run(folder, files, siblings_of(folder, files), facts or Facts(), logs, deep, progress, gate=False)
        for folder, files in time_llm.find_runs(wanted).items()
    ]
    runs = [_chosen(run, select, ignore) for run in runs]
    return Report(tuple(runs), time.monotonic() - began, tuple(given), reports.scan_fragment)


def check(
    path: Path | str,
    *,
    facts: Facts | None = None,
    logs: Sequence[Path | str] = (),
    deep: bool = False,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Judge the one file that the trainer would resume from; its siblings and log serve as evidence.

    A folder stands for the file that the trainer takes from it: `checkpoint.pt`, else `checkpoint`.
    """
    began = time.monotonic()
    file = resume_file(existing(path)[0])
    logs = existing_logs(logs)
    folder = time_llm.run_folder(file)
    run = _audit_run(folder, [file], siblings_of(folder, [file]), facts or Facts(), logs, deep, progress, gate=True)
    return Report((_chosen(run, select, ignore),), time.monotonic() - began, (Path(path),), reports.check_fragment)


def check_all(
    files: Sequence[Path], *, facts: Facts | None = None, logs: Sequence[Path | str] = (), ignore: Sequence[str] = ()
) -> list[FileReport]:
    """As `check`, of several files, each read once."""
    logs = existing_logs(logs)
    runs = [
        _audit_run(folder, inside, siblings_of(folder, inside), facts or Facts(), logs, False, None, gate=True)
        for folder, inside in time_llm.find_runs(files).items()
    ]
    return [file for run in runs for file in _chosen(run, (), ignore).files]


def resume_file(path: Path) -> Path:
    """The file that `--resume_from_checkpoint PATH` loads; UsageError for a folder that has none."""
    if not path.is_dir():
        return path
    file = trainers_file(path)
    if file is None:
        hint = f"; `ckpt-doctor latest {path}` finds one" if any(path.glob("checkpoint_step_*")) else _runs_below(path)
        raise UsageError(
            f"{path} holds neither checkpoint.pt nor checkpoint: the trainer finds nothing to resume from{hint}"
        )
    return file


def _runs_below(folder: Path) -> str:
    """For a message: the runs of a folder that is none itself."""
    runs = [str(run) for run in time_llm.find_runs(checkpoint_files(folder)) if run != folder]
    if not runs:
        return ""
    return f"; below it are {', '.join(runs[:2])}" + (f" and {len(runs) - 2} more" if len(runs) > 2 else "")


def trainers_file(folder: Path) -> Path | None:
    """What the trainer loads from a folder: `checkpoint.pt`, else `checkpoint`."""
    return next((folder / name for name in ("checkpoint.pt", "checkpoint") if is_file(folder / name)), None)


def one_run(folder: Path | str) -> Path:
    """The folder, if it is one run's. UsageError for one that is not there, is a file, or holds several runs."""
    path = existing(folder)[0]
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder")
    runs = [run for run in time_llm.find_runs(checkpoint_files(path)) if run != path]
    if len(runs) > 1:
        names_ = ", ".join(str(run.relative_to(path)) for run in runs[:3]) + (", ..." if len(runs) > 3 else "")
        raise UsageError(f"{path} holds {len(runs)} runs ({names_}); name one of them")
    return path


def latest(
    run_dir: Path | str,
    *,
    facts: Facts | None = None,
    logs: Sequence[Path | str] = (),
    ignore: Sequence[str] = (),
    repairable: bool = False,
) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest checkpoint of a run that is safe to resume from, and why newer ones were passed over.

    Newest by training progress, not by the number in a name. `repairable` also accepts one that a migration cures.
    """
    report = scan(one_run(run_dir), facts=facts, logs=logs, ignore=ignore)
    files = sorted(report.files, key=_progress, reverse=True)
    accepted = ("ok", "repairable") if repairable else ("ok",)
    passed_over: list[tuple[Path, str]] = []
    for file in files:
        if file.plan is not None and file.verdict in accepted:
            return file.checkpoint.path, passed_over
        reasons = [f"{f.code} {f.name}" for f in file.findings if f.severity != "info"]
        passed_over.append(
            (file.checkpoint.path, ", ".join(reasons) or "not a checkpoint that the trainer resumes from")
        )
    return None, passed_over


def _progress(file: FileReport) -> tuple[int, int, int]:
    """Sort key: how far training had come; a damaged file by its folder's number, then by time."""
    state, stamp = file.member.state, file.checkpoint.stamp
    step = state.global_step if state.global_step is not None else file.member.named_step
    # At the same step: what the trainer itself looks for before a copy under another name (`checkpoint (1).pt`).
    rank = {"best": 2, "step": 1, None: 0}[file.member.role]
    return (-1 if step is None else step, rank, stamp.mtime_ns if stamp else 0)


def siblings_of(folder: Path, files: Collection[Path]) -> list[Path]:
    """The other checkpoints of a run, read as evidence: those that the trainer itself would have put there."""
    folders = [path for path in folder.glob("checkpoint_step_*") if time_llm.STEP_FOLDER.match(path.name)]
    steps = [path / name for path in folders for name in ("checkpoint.pt", "checkpoint")]
    known = {os.path.realpath(file) for file in files}
    return [path for path in (folder / "checkpoint", *steps) if is_file(path) and os.path.realpath(path) not in known]


def _audit_run(
    folder: Path,
    files: Sequence[Path],
    siblings: Sequence[Path],
    given: Facts,
    logs: Sequence[Path],
    deep: bool,
    progress: Progress | None,
    *,
    gate: bool,
) -> RunReport:
    run, members = understand(folder, [open_file(path) for path in (*files, *siblings)], given, logs)
    judged = []
    for member in members[: len(files)]:
        if deep:
            member = replace(member, checkpoint=_deepened(member.checkpoint, progress))
        judged.append(judge(case_of(member, run, gate=gate)))
    found = [finding for rule in RUN_RULES for finding in rule(run) if isinstance(finding, Finding)]
    return RunReport(run, tuple(found) if run.trainer else (), tuple(judged))


def open_file(path: Path) -> Checkpoint:
    """Read a file inertly, with what stands beside it: the records of its migrations, a journal of one cut off."""
    checkpoint = open_checkpoint(path)
    if not checkpoint.migrations and names.undo_file(Path(os.path.realpath(path))).exists():
        checkpoint = replace(checkpoint, migrations=_migrations_beside(path))
    try:
        journal = _interrupted(path)
    except WriteRefused as error:
        return replace(checkpoint, damage=(Damage("interrupted-migration", str(error)), *checkpoint.damage))
    if journal is None:
        return checkpoint
    cut_off = Damage(
        "interrupted-migration", f"a migration was cut off; the first {journal.previous_size:,} bytes are whole"
    )
    return replace(checkpoint, damage=(cut_off, *checkpoint.damage))


def _interrupted(path: Path) -> Journal | None:
    if not names.journal(Path(os.path.realpath(path))).exists():
        return None
    from ckpt_doctor.writer.in_place import interrupted  # the writer is needed for this only

    return interrupted(path)


def _migrations_beside(path: Path) -> tuple[Migration, ...]:
    """Of a stream or tar file; none where the undo file is damaged or belongs to an earlier file of that name."""
    from ckpt_doctor.readers.torch_zip import parse_migration
    from ckpt_doctor.writer.sidecar import history  # needed for migrated files only

    try:
        records = [parse_migration(dict(record)) for record in history(path)]
    except (WriteRefused, OSError):
        return ()
    return tuple(record for record in records if record is not None)


def _deepened(checkpoint: Checkpoint, progress: Progress | None) -> Checkpoint:
    from ckpt_doctor.readers.deep import deep_check  # numpy is needed for this only

    path = checkpoint.path
    return deep_check(checkpoint, (lambda count: progress(path, count)) if progress else None)


def understand(
    folder: Path, checkpoints: Iterable[Checkpoint], given: Facts, logs: Sequence[Path] = ()
) -> tuple[Run, list[Member]]:
    """The run that checkpoints of one folder belong to, with its facts and history; and a member for each of them.

    `Run.members` holds only those that a trainer recognises and that could be read to the end.
    """
    checkpoints = list(checkpoints)
    trainer = next((t for t in TRAINERS if any(t.recognises(c) for c in checkpoints)), None)
    if trainer is None:
        return Run(folder, "", (), given), [
            Member(c, time_llm.training_state(c, read_scalars), None) for c in checkpoints
        ]
    members = [trainer.member_of(checkpoint, read_scalars) for checkpoint in checkpoints]
    ours = [m for m in members if trainer.recognises(m.checkpoint) and not m.checkpoint.is_damaged(*UNTRUSTED)]
    history, log_facts, doubts = trainer.read_history(folder, ours, logs)
    facts = trainer.infer_facts(ours, replace(given, contradictions=(*given.contradictions, *doubts)), log_facts)
    others = tuple(member.checkpoint.path for member in members if member not in ours)
    return Run(folder, trainer.NAME, tuple(ours), facts, others, history), members


def is_ours(member: Member, run: Run) -> bool:
    """Whether the trainer's rules may speak about the file: recognised, and read to the end."""
    return any(member.checkpoint.path == other.checkpoint.path for other in run.members)


def case_of(
    member: Member,
    run: Run,
    *,
    gate: bool = False,
    stopping: Evidence[EarlyStoppingState] | None = None,
    epoch: int | None = None,
) -> Case:
    """All that rules and migrations may look at. `stopping` and `epoch` (of a bare state_dict) are given by hand."""
    if not is_ours(member, run):
        return Case(member.checkpoint, member, run, ResumePoint(), gate=gate)
    if member.checkpoint.layout == "state-dict":
        score = stopping.value.best_score if stopping else None
        upgrade = time_llm.upgrade(member, run, epoch=epoch, best_score=score)
        return Case(member.checkpoint, member, run, ResumePoint(), upgrade=upgrade, gate=gate)
    from ckpt_doctor.trainers.time_llm.random_state import late_random_state
    from ckpt_doctor.trainers.time_llm.resume_point import plan, resume_point, schedule_of

    resume = resume_point(member, run)
    if stopping is not None:
        resume = replace(resume, early_stopping=stopping)
    late = late_random_state(member, run, resume)
    return Case(
        member.checkpoint,
        member,
        run,
        resume,
        plan(member, run, resume, late),
        schedule_of(member, run, resume),
        late_random_state=late,
        gate=gate,
    )


def judge(case: Case) -> FileReport:
    """Apply every rule that may speak about this checkpoint."""
    member, run = case.member, case.run
    ours = is_ours(member, run)
    findings: list[Finding] = []
    not_checked: list[NotChecked] = list(member.checkpoint.not_checked)
    for rule in FILE_RULES:
        if rule.scope == "file" or ours:
            for result in _applied(rule, case):
                if isinstance(result, Finding):
                    findings.append(result)
                else:
                    not_checked.append(result)
    deep = member.checkpoint.deep
    if deep is not None:
        not_checked.extend(deep.not_checked)
    elif member.checkpoint.tensors:
        not_checked.append(NotChecked("stored checksums and NaN", "every byte would have to be read", "--deep"))
    unsure = tuple(dict.fromkeys(not_checked))
    return FileReport(member, case.resume, case.plan, tuple(findings), unsure, verdict_of(findings))


def _applied(rule: Rule, case: Case) -> list[Finding | NotChecked]:
    """What a rule says; a value that it was not written for keeps no other rule, and no other file, from judgement."""
    try:
        return list(rule(case))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        why = f"a value in the file is none that the rule knows ({type(error).__name__}: {str(error)[:80]})"
        return [NotChecked(f"{rule.code} {rule.name}", why, "a report of this file to ckpt-doctor's authors")]


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """`broken`: the trainer cannot resume and nothing here cures it; `repairable`: a migration cures something."""
    serious = [finding for finding in findings if finding.severity != "info"]
    if any(finding.severity == "error" and finding.migration is None for finding in serious):
        return "broken"
    return "repairable" if any(finding.migration for finding in serious) else "ok"


def curves(report: Report) -> list[Curve]:
    """What there is to draw of each run whose trainer is known."""
    from ckpt_doctor.trainers.time_llm.curve import curve

    return [curve(run) for run in report.runs if run.run.trainer == time_llm.NAME]


def _chosen(run: RunReport, select: Sequence[str], ignore: Sequence[str]) -> RunReport:
    """The report with the selected codes only. Verdicts follow: a defect that is ignored is accepted."""
    if not select and not ignore:
        return run
    chosen, ignored = codes(select), codes(ignore)

    def keep(finding: Finding) -> bool:
        return (not select or finding.code in chosen) and finding.code not in ignored

    files = []
    for file in run.files:
        accepted = [finding for finding in file.findings if finding.code not in ignored]
        files.append(replace(file, findings=tuple(filter(keep, file.findings)), verdict=verdict_of(accepted)))
    return replace(run, findings=tuple(filter(keep, run.findings)), files=tuple(files))


def codes(words: Sequence[str]) -> set[str]:
    """The codes that codes, their beginnings and names stand for. Raises UsageError for a word that stands for none."""
    found: set[str] = set()
    for word in words:
        named = {rule.code for rule in RULES if selects(word, rule.code, rule.name)}
        # Settings may name the rules for scripts (X901), which are none of ours, beside those for checkpoints.
        if not word or not (named or re.fullmatch(r"X\d{0,3}", word.upper())):
            raise UsageError(f"no rule has the code or name {word!r}; `ckpt-doctor rule` lists them")
        found |= named
    return found
