"""Findings that say the same of several files, brought together: one paragraph each instead of one per file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ckpt_doctor.reports import text
from ckpt_doctor.reports.text import clean, plural
from ckpt_doctor.types import FileReport, Finding, NotChecked, Report, RunReport, Severity

RANK: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}
NUMBER = re.compile(r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?:, \d+)*")
"""A number, or several in a list."""
MOST_TENSORS = 12
"""Damaged tensors of one file that are named beside the first."""


@dataclass(frozen=True)
class Group:
    """Findings of one rule with one cause and one cure."""

    findings: tuple[tuple[FileReport | None, Finding], ...]
    """With the file of each; None for a finding about the run as a whole."""

    @property
    def first(self) -> Finding:
        """The finding whose sentence stands for all."""
        return self.findings[0][1]

    @property
    def files(self) -> tuple[FileReport, ...]:
        """The files concerned, each once."""
        return tuple({id(file): file for file, _ in self.findings if file is not None}.values())

    @property
    def differs(self) -> bool:
        """Whether what was found, or expected, is not the same in all."""
        return len({(text.brief(f.found), text.brief(f.expected)) for _, f in self.findings}) > 1


def cause(file: FileReport | None, finding: Finding) -> tuple[object, ...]:
    """What two findings must share to be told as one: rule, cure, and the sentence but for its numbers.

    Of damaged tensors also the file: its own are told together, by name.
    """
    sentence = finding.message
    for name in finding.tensors:
        sentence = sentence.replace(name, "N")
    sentence = re.sub(r"\blines? N", "line N", NUMBER.sub("N", sentence))
    return (finding.code, finding.severity, finding.fix or "", sentence, id(file) if finding.tensors else None)


def grouped(run: RunReport) -> list[Group]:
    """The findings of a run by cause: errors first, then warnings, then info; within these by code."""
    found: dict[tuple[object, ...], list[tuple[FileReport | None, Finding]]] = {}
    everything: list[tuple[FileReport | None, Finding]] = [(None, finding) for finding in run.findings]
    everything += [(file, finding) for file in run.files for finding in file.findings]
    for file, finding in everything:
        found.setdefault(cause(file, finding), []).append((file, finding))
    groups = [Group(tuple(members)) for members in found.values()]
    return sorted(groups, key=lambda group: (RANK[group.first.severity], group.first.code))


def label(file: FileReport, run: Path) -> str:
    """What a file is called within its run: `checkpoint`, `checkpoint_step_17000`, `sub/model.safetensors`."""
    path = file.checkpoint.path
    if file.member.role == "step" and path.parent != run:
        path = path.parent
    if path.is_relative_to(run):
        path = path.relative_to(run)
    return clean(path if path.name else file.checkpoint.path.name)


def concerned(group: Group, run: RunReport) -> str:
    """Which files of the run a group's sentence is about, as `3 files` or by name; empty where only one can be meant.

    Where the values differ it is about the first; `likewise` tells of the others.
    """
    files = group.files
    if not files or len(run.files) == 1:
        return ""
    if group.differs:
        return label(files[0], run.run.path)
    if len(files) == len(run.files):
        return plural(len(files), "file")
    names = [label(file, run.run.path) for file in files]
    return ", ".join(names) if len(names) <= 2 else f"{len(files)} of {len(run.files)} files"


def likewise(group: Group, run: RunReport, most: int = 3) -> str:
    """What the other findings of a group are about, where that differs from the first.

    Other files with their values, `checkpoint_step_140 (found 139, expected 140)`; in the same file the place, or the
    damaged tensors by name.
    """
    if group.first.tensors:
        others = (name for _, finding in group.findings[1:] for name in finding.tensors)
        return text.listing(map(text.clean, dict.fromkeys(others)), MOST_TENSORS)
    mine = group.findings[0][0]
    told = []
    for file, finding in group.findings[1:]:
        same = file is mine
        if not group.differs and (not same or finding.where == group.first.where):
            continue
        name = finding.where if same else label(file, run.run.path) if file is not None else "the run"
        values = instance(finding) if group.differs else ""
        told.append(" ".join(part for part in (text.clean(name), f"({values})" if values else "") if part))
    return text.listing(told, most)


def instance(finding: Finding) -> str:
    """The values of one finding where several files share a sentence."""
    values = (("found", finding.found), ("expected", finding.expected))
    return ", ".join(f"{name} {text.brief(value)}" for name, value in values if value is not None)


def unchecked(files: Sequence[FileReport]) -> list[tuple[NotChecked, int]]:
    """What was not checked, each once, with the number of files for which it was not."""
    counts: dict[NotChecked, int] = {}
    for file in files:
        for item in dict.fromkeys(file.not_checked):
            counts[item] = counts.get(item, 0) + 1
    return list(counts.items())


def count(report: Report, severity: Severity) -> int:
    """How many findings of this severity a report has."""
    return sum(finding.severity == severity for finding in report.findings)
