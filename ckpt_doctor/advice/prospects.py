"""A judged run -> what each of its checkpoints is good for, now or after a repair that a dry run would carry out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor import audit
from ckpt_doctor.advice.invocation import Invocation
from ckpt_doctor.advice.missing import OPEN, Missing, blank, missing, words_of
from ckpt_doctor.remote import is_url
from ckpt_doctor.types import Checkpoint, FileReport, RunReport
from ckpt_doctor.types.record import record
from ckpt_doctor.validators.series import original_of

if TYPE_CHECKING:  # loaded where something calls for a repair
    from ckpt_doctor.repair import FilePlan


MOST_PLANNED, MOST_PROBED = 32, 8
"""Of the newest files of a run with findings: how many are planned, more where none of them is of any use; and of how
many of these it is found out what they miss."""


@record(frozen=True)
class Prospect:
    """A checkpoint, what a dry run would do to it, and what it needs to be given first."""

    file: FileReport
    plan: FilePlan | None = None
    """None where no finding calls for anything, and for the older ones of very many."""
    complete: bool = True
    """Whether nothing is to be repaired, or all of it would be."""
    missing: Missing | None = None
    """What a person must give first; None where that was not looked for."""

    @property
    def asks(self) -> tuple[str, ...]:
        """Options whose answers no file shows."""
        return self.missing.options if self.missing else ()

    @property
    def is_repaired(self) -> bool:
        """Whether a repair would change it, and carry out all."""
        return self.complete and self.plan is not None and bool(self.plan.edits)

    @property
    def is_usable(self) -> bool:
        """Whether a resume from it is possible, at once or after a repair that asks for nothing."""
        if self.is_repaired:
            return self.file.checkpoint.layout != "other"
        return self.complete and self.file.verdict != "broken" and audit.is_resumable(self.file)

    @property
    def may_be_usable(self) -> bool:
        """Whether it is, or is once a person has given facts, or accepts what cannot be cured."""
        if self.plan is None:
            return self.is_usable
        able = self.file.verdict != "broken" and audit.is_resumable(self.file)
        return self.is_usable or able or bool(self.asks and not _is_blocked(self.plan))

    @property
    def departs(self) -> bool:
        """Whether a resume leaves, or may leave, the uninterrupted run's path for good, whatever is repaired."""
        return bool(audit.departs(self.file))


def _is_blocked(plan: FilePlan) -> bool:
    """Whether a file is left alone because of what it is: damaged, or dangerous to load."""
    return any(refusal.migration == "migrate" for refusal in plan.refusals)


def prospects(run: RunReport, asked: Invocation) -> list[Prospect]:
    """Of every file of a run; plans are made only where a finding calls for something, and of the newest."""
    troubled = [file for file in run.files if file.serious]
    if not troubled:
        return [Prospect(file) for file in run.files]
    from ckpt_doctor import repair

    newest = sorted(troubled, key=lambda file: audit.progress((file, run.run)), reverse=True)
    request = asked.every_repair()
    found: dict[Path, Prospect] = {}
    lacking, useful = 0, False
    plans = repair.foresee(run, [file.checkpoint.path for file in newest], request)
    for file, plan in zip(newest, plans, strict=False):
        complete = _is_complete(plan)
        lacking += not complete
        misses = missing(run, plan, request) if not complete and lacking <= MOST_PROBED else None
        found[file.checkpoint.path] = one = Prospect(file, plan, complete, misses)
        useful = useful or one.may_be_usable
        if len(found) >= MOST_PLANNED and useful:
            break
    return [found.get(file.checkpoint.path) or Prospect(file, complete=not file.serious) for file in run.files]


def _is_complete(plan: FilePlan) -> bool:
    """Whether a dry run would carry out all, and no fact is open on which the resume depends."""
    return plan.result.complete and not any(finding.code == OPEN for finding in plan.before.serious)


def borne_out(prospect: Prospect, run: RunReport, asked: Invocation) -> FileReport:
    """The file with a verdict, and with cures, that a dry run bears out.

    What a refused repair would have cured has another cure: the command in which a person fills in what is missing.
    """
    file, plan = prospect.file, prospect.plan
    if prospect.is_repaired:
        command = asked.command("migrate --all", run.run.facts, paths=(file.checkpoint.path,))
        return replace(file, repair=command)
    if plan is None or prospect.complete:
        return file
    refused = {refusal.migration for refusal in plan.refusals}
    called = {finding.migration for finding in file.serious if finding.migration}
    lost = called if "migrate" in refused else called & refused
    cure = _filled_in(prospect, run)
    findings = tuple(replace(f, fix=cure, migration=None) if f.migration in lost else f for f in file.findings)
    return replace(file, findings=findings, verdict=audit.verdict_of(findings), asks=prospect.asks)


def _filled_in(prospect: Prospect, run: RunReport) -> str | None:
    """The command that repairs a file once a person has filled in what is missing."""
    if not prospect.asks or prospect.missing is None:
        return None
    words = words_of(blank(option, run) for option in prospect.asks)
    accepted = ("--ignore", ",".join(prospect.missing.accepted)) if prospect.missing.accepted else ()
    elsewhere = ("--output", "DIR") if is_url(prospect.file.checkpoint.path) else ()
    return " ".join(["ckpt-doctor migrate --all", *words, *accepted, *elsewhere, "FILE"])


def copies_of(run: RunReport) -> dict[Path, Path]:
    """Copy -> original, of the files of a run that hold the same, byte for byte by their stored checksums.

    One that has another moment's name, or whose bytes are not those of its checksums, is told by itself."""
    alike: dict[object, list[FileReport]] = {}
    for file in run.files:
        checkpoint = file.checkpoint
        is_damaged = checkpoint.damage or any(finding.code[0] == "F" for finding in file.findings)
        if checkpoint.checksums and not is_damaged and not original_of(run.run, checkpoint.path):
            alike.setdefault((checkpoint.size, checkpoint.container, file.member.state), []).append(file)
    copies: dict[Path, Path] = {}
    for group in alike.values():
        first: dict[object, FileReport] = {}
        for file in sorted(group, key=_rank) if len(group) > 1 else ():
            original = first.setdefault(tuple(file.checkpoint.checksums.items()), file)
            if original is not file and _is_same(original.checkpoint, file.checkpoint):
                copies[file.checkpoint.path] = original.checkpoint.path
    return copies


def _rank(file: FileReport) -> tuple[bool, int]:
    """The one that lies where its trainer looks for it comes first, then the shorter name."""
    return file.member.role is None, len(str(file.checkpoint.path))


def _is_same(one: Checkpoint, other: Checkpoint) -> bool:
    from ckpt_doctor.inert.tree import same  # few runs have files of one size and one state

    return any(one.checksums.values()) and same(one.root, other.root) is None
