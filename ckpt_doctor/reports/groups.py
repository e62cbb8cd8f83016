"""Findings that say the same of several files, brought together: one paragraph each instead of one per file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from ckpt_doctor.reports import text
from ckpt_doctor.types import RANKS, FileReport, Finding, Located, NotChecked, RunReport
from ckpt_doctor.types.record import record

NUMBER = r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?:, \d+)*"
"""A number, or several in a list."""
MOST_TENSORS = 12
"""Damaged tensors of one file that are named beside the first."""


@record(frozen=True)
class Group:
    """Findings of one rule with one cause and one cure."""

    findings: tuple[Located, ...]

    @property
    def first(self) -> Finding:
        """The finding whose sentence stands for all."""
        return self.findings[0].finding

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files concerned, and the run folder for a finding about the run as a whole, each once."""
        return tuple(dict.fromkeys(item.path for item in self.findings))

    @property
    def differs(self) -> bool:
        """Whether what was found, or expected, is not the same in all."""
        return len({(text.brief(i.finding.found), text.brief(i.finding.expected)) for i in self.findings}) > 1


def located(run: RunReport) -> list[Located]:
    """The findings of a run and then of its files, errors first in each."""
    placed = [(run.run.path, run.findings), *((file.checkpoint.path, file.findings) for file in run.files)]
    order = {path: sorted(findings, key=lambda f: (RANKS[f.severity], f.code)) for path, findings in placed}
    return [Located(finding, path) for path, findings in order.items() for finding in findings]


def cause(item: Located) -> tuple[object, ...]:
    """What two findings must share to be told as one: rule, cure, and the sentence but for its numbers.

    Of damaged tensors also the file: its own are told together, by name.
    """
    finding = item.finding
    sentence = finding.message
    for name in finding.tensors:
        sentence = sentence.replace(name, "N")
    sentence = re.sub(NUMBER, "N", sentence)
    sentence = re.sub(r"\blines? N", "line N", sentence) if "lines N" in sentence else sentence
    return (finding.code, finding.severity, finding.fix or "", sentence, item.path if finding.tensors else None)


def grouped(run: RunReport) -> list[Group]:
    """The findings of a run by cause: errors first, then warnings, then info; within these by code."""
    found: dict[tuple[object, ...], list[Located]] = {}
    for item in located(run):
        found.setdefault(cause(item), []).append(item)
    groups = [Group(tuple(members)) for members in found.values()]
    return sorted(groups, key=lambda group: (RANKS[group.first.severity], group.first.code))


def concerned(group: Group, names: Mapping[Path, str]) -> str:
    """Which files of the run (path -> name) a group's sentence is about, as `3 files` or by name.

    Empty where only one can be meant. Where the values differ it is about the first; `likewise` tells of the others.
    """
    files = [names[path] for path in group.paths if path in names]
    if not files or len(names) == 1:
        return ""
    if group.differs:
        return files[0]
    if len(files) == len(names):
        return text.plural(len(files), "file")
    return ", ".join(files) if len(files) <= 2 else f"{len(files)} of {len(names)} files"


def likewise(group: Group, names: Mapping[Path, str]) -> str:
    """What the other findings of a group are about, where that differs from the first.

    Other files with their values, `epoch_3.pt (found 139, expected 140)`; in the same file the place, or the
    damaged tensors by name.
    """
    first, others, differs = group.findings[0], group.findings[1:], group.differs
    if group.first.tensors:
        tensors = dict.fromkeys(name for item in others for name in item.finding.tensors)
        return text.listing(map(text.clean, tensors), MOST_TENSORS)
    told = []
    for item in others:
        same = item.path == first.path
        if not differs and (not same or item.finding.where == group.first.where):
            continue
        pairs = (("found", item.finding.found), ("expected", item.finding.expected))
        values = ", ".join(f"{name} {text.brief(value)}" for name, value in pairs if value is not None)
        place = text.clean(item.finding.where) if same else names.get(item.path, "the run")
        told.append(" ".join(part for part in (place, f"({values})" if values and differs else "") if part))
    return text.listing(told)


def unchecked(files: Iterable[FileReport]) -> list[tuple[NotChecked, int]]:
    """What was not checked, each once, with the number of files for which it was not."""
    return list(Counter(item for file in files for item in dict.fromkeys(file.not_checked)).items())
