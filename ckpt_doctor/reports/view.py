"""A run in words: its facts, its rows, its findings with their cures. Table, HTML and markdown only lay it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from ckpt_doctor.reports import text
from ckpt_doctor.reports.answer import Answer, answer
from ckpt_doctor.reports.columns import columns, label, outcomes
from ckpt_doctor.reports.cures import all_repairs, cures
from ckpt_doctor.reports.facts import known_facts
from ckpt_doctor.reports.groups import Group, concerned, grouped, likewise, unchecked
from ckpt_doctor.types import Column, FileReport, NotChecked, RunReport, Severity, Verdict
from ckpt_doctor.types.record import record

_COLOURS: Mapping[str, Verdict] = {
    "differs": "repairable",
    "open": "repairable",
    "needs facts": "repairable",
    "impossible": "broken",
}


@record(frozen=True)
class Row:
    """A checkpoint in a table."""

    name: str
    cells: tuple[str, ...]
    """One for each of the run's columns."""
    outcomes: tuple[str, ...]
    """What comes of it, in words; the last is the verdict, as what it means for a resume."""
    colour: Verdict
    """The verdict whose colour its outlook has."""
    is_troubled: bool = True
    """Whether a finding calls for something."""


@record(frozen=True)
class Paragraph:
    """Findings of one cause: what is wrong, in which files, and the cure."""

    rule: str
    """`E601 missing-best-score`."""
    files: str
    """`3 files`; empty where only one can be meant."""
    message: str
    also: str
    """The other files, where their values differ; empty where they don't."""
    cures: tuple[str, ...]
    severity: Severity
    names: tuple[str, ...] = ()
    """All files concerned."""

    @property
    def title(self) -> str:
        """`E601 missing-best-score (3 files)`."""
        return f"{self.rule} ({self.files})" if self.files else self.rule

    @property
    def code(self) -> str:
        """`E601`."""
        return self.rule.partition(" ")[0]


@record(frozen=True)
class OpenPoint:
    """What was not checked."""

    sentence: str
    settle: str
    """What would settle it; empty where nothing is known to."""

    def __str__(self) -> str:
        return f"{self.sentence} To settle it: {self.settle}" if self.settle else self.sentence


@record(frozen=True)
class RunView:
    """A run, ready to be laid out. Every text is one line and harmless to print."""

    path: Path
    """As it is, for a format may take it apart."""
    contents: str
    """`3 checkpoints, 9.3 GiB`."""
    facts: tuple[tuple[str, str], ...]
    """What is known of the training command, with its sources."""
    columns: tuple[Column, ...]
    """Those between a row's name and its outcomes."""
    outcomes: tuple[Column, ...]
    """Those after them."""
    rows: tuple[Row, ...]
    serious: tuple[Paragraph, ...]
    notes: tuple[Paragraph, ...]
    """Findings that call for nothing."""
    all_repairs: str
    """The command for all repairs at once; empty where one finding's cure is all that is needed."""
    open_points: tuple[OpenPoint, ...]
    """What stays unchecked, but for what `--deep` would check."""
    answer: Answer | None = None
    """What to do; None where nobody asked."""
    advised: str = ""
    """The name of the file that the answer is about."""
    epochs: Mapping[str, int] = field(default_factory=dict)
    """Name of a file -> its epoch, where it tells one."""


def view(run: RunReport, paths: Sequence[Path]) -> RunView:
    """What there is to show of a run in a report on `paths`."""
    run = without_copies(run)
    names = {file.checkpoint.path: label(file, run.run.path) for file in run.files}
    shown, last = columns(run), outcomes(run)
    rows = [
        Row(
            _with_copies(names[file.checkpoint.path], file, run),
            tuple(column.cell(file) for column in shown),
            tuple(column.cell(file) for column in last),
            colour_of(file),
            bool(file.serious) or file.verdict != "ok",
        )
        for file in run.files
    ]
    groups = grouped(run)
    serious = [group for group in groups if group.first.severity != "info"]
    notes = groups[len(serious) :]

    def paragraph(group: Group) -> Paragraph:
        first = group.first
        return Paragraph(
            text.clean(f"{first.code} {first.name}"),
            concerned(group, names),
            text.clean(first.message),
            likewise(group, names),
            tuple(cures(group, run, paths)),
            first.severity,
            tuple(names[path] for path in group.paths if path in names),
        )

    states = ((names[file.checkpoint.path], file.member.state.epoch) for file in run.files)
    return RunView(
        run.run.path,
        contents(run),
        known_facts(run.run.facts),
        shown,
        last,
        tuple(rows),
        tuple(map(paragraph, serious)),
        tuple(map(paragraph, notes)),
        all_repairs(run, groups, paths),
        tuple(open_point(point, n, len(rows)) for point, n in unchecked(run.files) if point.settle != "--deep"),
        None if run.advice is None else answer(run.advice),
        "" if run.advice is None else run.advice.label,
        {name: epoch for name, epoch in states if epoch is not None},
    )


def contents(run: RunReport) -> str:
    """`3 checkpoints, 9.3 GiB`."""
    return f"{text.plural(len(run.files), 'checkpoint')}, {text.size(sum(f.checkpoint.size for f in run.files))}"


def colour_of(file: FileReport) -> Verdict:
    """The verdict whose colour a file's outlook has: nothing but what is ok is green."""
    return _COLOURS.get(file.outlook, file.verdict)


def without_copies(run: RunReport) -> RunReport:
    """The run with one file of those that hold the same."""
    return replace(run, files=tuple(file for file in run.files if file.checkpoint.path not in run.copies))


def _with_copies(name: str, file: FileReport, run: RunReport) -> str:
    """A file's name, with those of the copies that hold the same."""
    same = [copy.name for copy, original in run.copies.items() if original == file.checkpoint.path]
    return f"{name} (= {', '.join(map(text.clean, same))})" if same else name


def open_point(point: NotChecked, n: int = 1, of: int = 1) -> OpenPoint:
    """What was not checked in `n` files of a run's `of`."""
    files = f" ({n} of {of} files)" if n < of else ""
    sentence = f"not checked{files}: {text.clean(point.what)}: {text.clean(point.why)}."
    return OpenPoint(sentence, text.clean(point.settle))


def nothing_found(paths: Sequence[Path]) -> str:
    """What a scan that met no checkpoint says: where it looked, and for what."""
    where = ", ".join(map(text.clean, paths)) or "no path"
    return (
        f"No checkpoints in {where}: no file there is what torch.save or safetensors writes, "
        "and none is named like a checkpoint."
    )
