"""Paths -> Report: find the checkpoints, read them inertly, understand the run, judge."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ckpt_doctor.audit.discovery import checkpoint_files, existing, existing_logs, is_file
from ckpt_doctor.errors import ForeignFile, UsageError, WriteRefused
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.detect import is_unpacked
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
    Global,
    Member,
    NotChecked,
    Report,
    Resume,
    ResumePoint,
    Run,
    RunReport,
    Verdict,
    selects,
    trusts,
)
from ckpt_doctor.validators import FILE_RULES, RULES, RUN_RULES
from ckpt_doctor.validators.files import UNREADABLE, UNTRUSTED
from ckpt_doctor.validators.rule import Rule
from ckpt_doctor.writer import names

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
    trust: Sequence[str] = (),
    logs: Sequence[Path | str] = (),
    progress: Progress | None = None,
) -> Report:
    """Audit files and run folders, read-only.

    `facts` are those given by a person (`ckpt_doctor.facts`), which outrank what is inferred. `deep` reads every byte
    (checksums, NaN). `select` and `ignore` take codes, their beginnings and names (`E601`, `E`, `missing-best-score`).
    `trust` takes packages that loading may call into (S204).
    Raises UsageError for a path or a log that does not exist, and for a rule that does not."""
    began = time.monotonic()
    given = existing(paths)
    logs = existing_logs(logs)
    wanted = {file for path in given for file in checkpoint_files(path)}
    runs = [
        _audit_run(folder, files, siblings_of(folder, files), facts or Facts(), logs, deep, progress, gate=False)
        for folder, files in time_llm.find_runs(wanted).items()
    ]
    runs = [_chosen(run, select, ignore, trust) for run in runs]
    return Report(tuple(runs), time.monotonic() - began, tuple(given))


def check(
    path: Path | str,
    *,
    facts: Facts | None = None,
    logs: Sequence[Path | str] = (),
    deep: bool = False,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    trust: Sequence[str] = (),
    progress: Progress | None = None,
    gate: bool = True,
) -> Report:
    """Judge the one file that the trainer would resume from; its siblings and log serve as evidence.

    A folder stands for the file that the trainer takes from it: `checkpoint.pt`, else `checkpoint`. Without `gate` the
    file is judged as a scan does, which does not ask whether to resume from a file of another trainer.
    """
    began = time.monotonic()
    file = resume_file(existing(path)[0])
    logs = existing_logs(logs)
    folder = time_llm.run_folder(file)
    run = _audit_run(folder, [file], siblings_of(folder, [file]), facts or Facts(), logs, deep, progress, gate=gate)
    return Report((_chosen(run, select, ignore, trust),), time.monotonic() - began, (Path(path),))


def check_all(
    files: Sequence[Path],
    *,
    facts: Facts | None = None,
    logs: Sequence[Path | str] = (),
    ignore: Sequence[str] = (),
    trust: Sequence[str] = (),
) -> list[RunReport]:
    """As `check`, of several files, each read once."""
    logs = existing_logs(logs)
    runs = [
        _audit_run(folder, inside, siblings_of(folder, inside), facts or Facts(), logs, False, None, gate=True)
        for folder, inside in time_llm.find_runs(files).items()
    ]
    return [_chosen(run, (), ignore, trust) for run in runs]


def resume_file(path: Path) -> Path:
    """The file that `--resume_from_checkpoint PATH` loads; UsageError for a folder that has none."""
    if not path.is_dir():
        return path
    file = trainers_file(path)
    if file is None:
        below = list(checkpoint_files(path))
        if below and all(is_unpacked(other.parent) for other in below):
            return below[0]  # F116 says more than that there is nothing
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
    trust: Sequence[str] = (),
    repairable: bool = False,
    deep: bool = False,
) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest checkpoint of a run that is safe to resume from, and why newer ones were passed over.

    Newest by training progress, not by the number in a name; one that leaves the uninterrupted run's path for good only
    where no older one stays on it. `repairable` also accepts one that a migration cures. With `deep` the one that would
    be it is read to its last byte, and passed over when that shows damage.
    """
    report = scan(one_run(run_dir), facts=facts, logs=logs, ignore=ignore, trust=trust)
    accepted = ("ok", "repairable") if repairable else ("ok",)
    files = sorted(((file, run.run) for run in report.runs for file in run.files), key=_progress, reverse=True)
    while True:
        safe = [file for file, _ in files if file.plan is not None and file.verdict in accepted]
        chosen = next((file for file in safe if not _departs(file)), safe[0] if safe else None)
        if not deep or chosen is None or chosen.checkpoint.deep is not None:
            break
        files = [(read_through(file, run, ignore, trust) if file is chosen else file, run) for file, run in files]
    passed_over: list[tuple[Path, str]] = []
    for file, _ in files:
        if file is chosen:
            return file.checkpoint.path, passed_over
        told = ", ".join(f"{f.code} {f.name}" for f in file.findings if f.severity != "info")
        if chosen is not None and file in safe:
            told += f"; an older one {'continues identically' if chosen.keeps_its_path else 'has none of these'}"
        passed_over.append((file.checkpoint.path, told or "not a checkpoint that the trainer resumes from"))
    return None, passed_over


def _departs(file: FileReport) -> bool:
    """Whether a resume leaves, or may leave, the uninterrupted run's path for good, whatever is repaired."""
    return any(
        finding.code in ("P405", "P411", "P413", "R510") and finding.migration is None for finding in file.findings
    )


def read_through(
    file: FileReport, run: Run, ignore: Sequence[str] = (), trust: Sequence[str] = (), *, gate: bool = False
) -> FileReport:
    """The same file, judged with every byte of it read."""
    member = replace(file.member, checkpoint=_deepened(file.checkpoint, None))
    report = RunReport(run, (), (judge(case_of(member, run, gate=gate)),))
    return _chosen(report, (), ignore, trust).files[0]


def _progress(judged: tuple[FileReport, Run]) -> tuple[int, int, int]:
    """Sort key: how far training had come; a damaged file by its folder's number, then by time."""
    file = judged[0]
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
    found = [finding for rule in RUN_RULES for finding in _applied(rule, run) if isinstance(finding, Finding)]
    return RunReport(run, tuple(found) if run.trainer else (), tuple(judged))


def open_file(path: Path) -> Checkpoint:
    """Read a file inertly, with what stands beside it: the records of its migrations, a journal of one cut off."""
    checkpoint, target = open_checkpoint(path), Path(os.path.realpath(path))
    if not checkpoint.migrations and os.path.lexists(names.undo_file(target)):
        checkpoint = _with_undo_file(checkpoint)
    if os.path.lexists(names.journal(target)):
        checkpoint = _with_journal(checkpoint)
    if os.path.lexists(names.new(target)):
        checkpoint = _half_exchanged(checkpoint)
    return checkpoint


def _half_exchanged(checkpoint: Checkpoint) -> Checkpoint:
    from ckpt_doctor.writer import came_out  # needed here only

    before = came_out(checkpoint.path)
    if before is None:
        return checkpoint
    message = f"a migration was cut off before its last look; what had been saved here is in {before.name}"
    return _damaged(checkpoint, "interrupted-migration", message)


def _with_journal(checkpoint: Checkpoint) -> Checkpoint:
    from ckpt_doctor.writer.in_place import interrupted  # the writer is needed for this only

    try:
        journal = interrupted(checkpoint.path)
    except ForeignFile as error:
        return _damaged(checkpoint, "corrupt-undo-data", str(error))
    except WriteRefused as error:
        return _damaged(checkpoint, "interrupted-migration", str(error))
    if journal is None:
        return checkpoint
    message = f"a migration was cut off; the first {journal.previous_size:,} bytes are whole"
    return _damaged(checkpoint, "interrupted-migration", message)


def _with_undo_file(checkpoint: Checkpoint) -> Checkpoint:
    """With the migrations of a stream or tar file; none where the undo file belongs to an earlier file of that name."""
    from ckpt_doctor.readers.torch_zip import parse_migration
    from ckpt_doctor.writer.sidecar import history  # needed for migrated files only

    try:
        records = [parse_migration(dict(record)) for record in history(checkpoint.path)]
    except OSError:  # of the file itself
        return checkpoint
    except WriteRefused as error:
        return _damaged(checkpoint, "corrupt-undo-data", str(error))
    return replace(checkpoint, migrations=tuple(record for record in records if record is not None))


def _damaged(checkpoint: Checkpoint, kind: str, message: str) -> Checkpoint:
    return replace(checkpoint, damage=(Damage(kind, message), *checkpoint.damage))


def _deepened(checkpoint: Checkpoint, progress: Progress | None) -> Checkpoint:
    from ckpt_doctor.readers.deep import deep_check  # numpy is needed for this only

    path = checkpoint.path
    checkpoint = deep_check(checkpoint, (lambda count: progress(path, count)) if progress else None)
    deep = checkpoint.deep
    if not checkpoint.migrations or deep is None:
        return checkpoint
    from ckpt_doctor.writer import undo_damage  # needed for migrated files only

    try:
        message, hashed = undo_damage(path)
    except OSError:  # which the deep check has met, too
        return checkpoint
    damage = (Damage("corrupt-undo-data", message),) if message else ()
    unhashed = NotChecked("what undo restores", "an older version migrated the file and kept no hash", "undo it")
    unsure = () if hashed or message else (unhashed,)
    deep = replace(deep, damage=(*deep.damage, *damage), not_checked=(*deep.not_checked, *unsure))
    return replace(checkpoint, deep=deep)


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
    unread = () if logs else trainer.unread_logs(folder)
    return Run(folder, trainer.NAME, tuple(ours), facts, others, history, unread), members


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
    from ckpt_doctor.trainers.time_llm import rates
    from ckpt_doctor.trainers.time_llm.divergence import divergence
    from ckpt_doctor.trainers.time_llm.open_facts import open_facts
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
        rates.next_step_fails(member),
        late_random_state=late,
        open_facts=open_facts(member, run),
        diverged=divergence(member, run, resume),
        gate=gate,
    )


def judge(case: Case) -> FileReport:
    """Apply every rule that may speak about this checkpoint."""
    member, run = case.member, case.run
    ours = is_ours(member, run)
    findings: list[Finding] = []
    not_checked: list[NotChecked] = [*member.checkpoint.not_checked, *run.not_checked]
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
    plan = case.plan
    if plan is not None and (errors := dict.fromkeys(f.code for f in findings if f.severity == "error")):
        plan = replace(plan, why_not_exact=(f"{', '.join(errors)} must be cured first", *plan.why_not_exact))
    resume = resume_of(findings, _but_for_findings(case))
    return FileReport(member, case.resume, plan, tuple(findings), unsure, verdict_of(findings), resume)


def _applied(rule: Rule, subject: Case | Run) -> list[Finding | NotChecked]:
    """What a rule says; a value that it was not written for keeps no other rule, and no other file, from judgement.

    The file is not ok then: an error of that rule, for nothing is known of what it looks for.
    """
    try:
        return list(rule(subject))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        why = (
            f"the file has a value that this rule cannot judge ({type(error).__name__}: {str(error)[:80]}); "
            "please report the file to ckpt-doctor's authors"
        )
        return [Finding(rule.code, rule.name, "error", why)]


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """`broken`: the trainer cannot resume and nothing here cures it; `repairable`: a migration cures something."""
    serious = [finding for finding in findings if finding.severity != "info"]
    unreadable = any(finding.code == UNREADABLE for finding in serious)
    if unreadable or any(finding.severity == "error" and finding.migration is None for finding in serious):
        return "broken"
    return "repairable" if any(finding.migration for finding in serious) else "ok"


def resume_of(findings: Iterable[Finding], otherwise: Resume) -> Resume:
    """What happens on a resume, by the findings and by what holds `otherwise`.

    A run that has left its path stays off it whatever else is open (P411).
    """
    serious = {finding.code: finding.severity for finding in findings if finding.severity != "info"}
    if "error" in serious.values():
        return "impossible"
    if "P411" in serious and otherwise not in ("impossible", "not judged"):
        return "differs"
    if "P413" in serious and otherwise in ("differs", "identical"):
        return "open"
    return "differs" if serious and otherwise == "identical" else otherwise


def _but_for_findings(case: Case) -> Resume:
    """`identical` only where place and rate are known."""
    plan, resume, facts = case.plan, case.resume, case.run.facts
    if not is_ours(case.member, case.run) or plan is None:
        return "not judged"
    if facts.contradictions or resume.start_epoch is None or resume.lr is None:
        return "open"
    return "differs" if plan.why_not_exact else "identical"


def curves(report: Report) -> list[Curve]:
    """What there is to draw of each run whose trainer is known."""
    from ckpt_doctor.trainers.time_llm.curve import curve

    return [curve(run) for run in report.runs if run.run.trainer == time_llm.NAME]


def _chosen(run: RunReport, select: Sequence[str], ignore: Sequence[str], trust: Sequence[str]) -> RunReport:
    """The report with the selected codes only. Verdicts follow: a defect that is ignored, or trusted, is accepted."""
    if not select and not ignore and not trust:
        return run
    chosen, ignored, trusted = codes(select), codes(ignore), packages(trust)

    def counts(finding: Finding) -> bool:
        return finding.code not in ignored and not trusts(trusted, finding)

    def keep(finding: Finding) -> bool:
        return (not select or finding.code in chosen) and counts(finding)

    files = []
    for file in run.files:
        verdict = verdict_of(filter(counts, file.findings))
        files.append(replace(file, findings=tuple(filter(keep, file.findings)), verdict=verdict))
    return replace(run, findings=tuple(filter(keep, run.findings)), files=tuple(files))


def packages(words: Sequence[str]) -> tuple[str, ...]:
    """The packages of `--trust`. Raises UsageError for what is no package's name, and for those that have a list."""
    for word in words:
        if not all(part.isidentifier() for part in word.split(".")):
            raise UsageError(f"--trust {word!r} is not the name of a package, like transformers or my_project.models")
        if Global(word, "").is_standard:
            raise UsageError(
                f"--trust {word}: what torch, numpy and Python's own modules may call is judged by name; it is for "
                "other packages"
            )
    return tuple(words)


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
