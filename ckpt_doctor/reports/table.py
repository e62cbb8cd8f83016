"""The terminal report of a scan: per run the facts, a table of its checkpoints, and what is wrong with its cure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt_doctor.reports import text
from ckpt_doctor.reports.cures import all_repairs, cures, is_command
from ckpt_doctor.reports.groups import Group, concerned, grouped, label, likewise, unchecked
from ckpt_doctor.types import Evidence, Facts, FileReport, Report, RunReport

STYLE = {"ok": "green", "repairable": "yellow", "broken": "red", "error": "red", "warning": "yellow", "info": "cyan"}
STYLE |= {"open": "yellow", "not judged": "dim", "impossible": "red"}
OUTLOOKS = ("ok", "open", "not judged", "impossible", "repairable", "broken")
"""What a file's outlook can be, in the order in which they are counted."""
MAX_TEXT = 110
"""Sentences get hard to read beyond this many columns, however wide the terminal is."""


@dataclass(frozen=True)
class Column:
    """One column of the table."""

    title: str
    align: str
    cells: tuple[str, ...]
    droppable: int = 0
    """Columns that are left out where the width does not suffice: the highest number goes first; 0 stays."""


def table(report: Report, *, width: int = 80, color: bool = False) -> str:
    """A whole report as text, in lines of at most `width` columns (but for single words that are longer)."""
    if not report.files and not report.findings:
        return "\n".join(text.wrap(nothing_found(report), width)) + "\n"
    names = text.shorten_all([text.clean(run.run.path) for run in report.runs], width)
    blocks = [run_block(run, name, report.paths, width, color) for run, name in zip(report.runs, names, strict=True)]
    return "\n\n".join([*blocks, "\n".join(text.wrap(summary(report), width))]) + "\n"


def nothing_found(report: Report) -> str:
    """What a scan that met no checkpoint says: where it looked, and for what."""
    where = ", ".join(text.clean(path) for path in report.paths) or "no path"
    return (
        f"No checkpoints in {where}: no file there is what torch.save or safetensors writes, "
        "and none is named like a checkpoint of the trainer."
    )


def run_block(run: RunReport, name: str, paths: Sequence[Path], width: int, color: bool) -> str:
    """One run: its path, what is known of it, its table, its findings."""
    lines = [text.styled(name, "bold", color)]
    lines += [f"  {contents(run)}", *fact_lines(run.run.facts, min(width, MAX_TEXT))]
    if run.files:
        lines += ["", *file_table(run, width, color)]
    lines += finding_lines(run, paths, min(width, MAX_TEXT), color)
    for item, n in unchecked(run.files):
        if item.settle != "--deep":
            files = f" ({n} of {len(run.files)} files)" if n < len(run.files) else ""
            sentence = f"not checked{files}: {text.clean(item.what)}: {text.clean(item.why)}."
            sentence += f" To settle it: {text.clean(item.settle)}" if item.settle else ""
            lines += text.wrap(sentence, min(width, MAX_TEXT), "  ", "    ")
    return "\n".join(lines)


def contents(run: RunReport) -> str:
    """`3 checkpoints, 9.3 GiB`."""
    return f"{text.plural(len(run.files), 'checkpoint')}, {text.size(sum(f.checkpoint.size for f in run.files))}"


def known_facts(facts: Facts) -> list[tuple[str, str]]:
    """What is known of the training command, each fact with the place that it was taken from."""
    pairs: list[tuple[str, Evidence[Any] | None]] = []
    if facts.lradj is not None:
        pairs.append((f"lradj {text.clean(facts.lradj.value)}", facts.lradj))
    if facts.steps_per_epoch is not None:
        pairs.append((f"{text.integer(facts.steps_per_epoch.value)} steps per epoch", facts.steps_per_epoch))
    if facts.train_epochs is not None:
        pairs.append((f"{text.integer(facts.train_epochs.value)} epochs", facts.train_epochs))
    if facts.learning_rate is not None:
        pairs.append((f"learning rate {text.rate(facts.learning_rate.value)}", facts.learning_rate))
    if facts.pct_start is not None and facts.pct_start.given:
        pairs.append((f"pct_start {text.rate(facts.pct_start.value)}", facts.pct_start))
    if facts.patience is not None:
        pairs.append((f"patience {text.integer(facts.patience.value)}", facts.patience))
    if facts.shuffle is not None:
        pairs.append(("shuffled" if facts.shuffle.value else "not shuffled", facts.shuffle))
    if facts.world_size is not None and (facts.world_size.given or facts.world_size.value != 1):
        n = facts.world_size.value
        pairs.append(("1 process" if n == 1 else f"{text.integer(n)} processes", facts.world_size))
    known = [(name, text.clean(evidence.source)) for name, evidence in pairs if evidence is not None]
    if facts.lradj is None and facts.lradj_candidates:
        known.insert(0, ("lradj not settled", " or ".join(map(text.clean, facts.lradj_candidates))))
    if facts.log is not None:
        known.append(("log", text.clean(nearest(facts.log.value))))
    return known


def nearest(path: Path) -> str:
    """A path as seen from the working folder, where that is shorter."""
    return min(os.fspath(path), os.path.relpath(path), key=len)


def fact_lines(facts: Facts, width: int) -> list[str]:
    """The known facts, one under the other, their sources beside them."""
    known = known_facts(facts)
    room = min(24, max((text.display_width(name) for name, _ in known), default=0))
    lines = []
    for name, source in known:
        head = f"  {text.pad(name, room)}  "
        lines += text.wrap(source, width, head, " " * text.display_width(head))
    return [line.rstrip() for line in lines]


def file_table(run: RunReport, width: int, color: bool) -> list[str]:
    """The files of a run as aligned lines; columns that do not fit are left out, then names are shortened."""
    columns = trainer_columns(run) if any(f.member.role for f in run.files) or run.run.trainer else plain_columns(run)
    while (used := _width(columns)) > width and any(c.droppable for c in columns):
        columns.remove(max(columns, key=lambda c: c.droppable))
    if used > width:
        name = columns[0]
        room = max(12, max(map(text.display_width, name.cells)) - (used - width))
        columns[0] = Column(name.title, name.align, tuple(text.shorten_all(name.cells, room)))
    rows = [["", *(c.title for c in columns)]]
    rows += [["", *cells] for cells in zip(*(c.cells for c in columns), strict=True)]
    styles = [["", *["dim"] * len(columns)]]
    styles += [["", *[""] * (len(columns) - 1), STYLE[file.outlook]] for file in run.files]
    return text.grid(rows, "<" + "".join(c.align for c in columns), styles=styles if color else None)


def _width(columns: Sequence[Column]) -> int:
    widths = [max(map(text.display_width, (c.title, *c.cells))) for c in columns]
    return sum(widths) + 2 * len(widths)


def trainer_columns(run: RunReport) -> list[Column]:
    """What matters in a file that a trainer will resume from."""
    files = run.files
    return [
        Column("file", "<", tuple(label(f, run.run.path) for f in files)),
        Column("role", "<", tuple(f.member.role or "-" for f in files), droppable=5),
        Column("size", ">", tuple(text.size(f.checkpoint.size) for f in files), droppable=4),
        Column("epoch", ">", tuple(text.integer(f.member.state.epoch) for f in files)),
        Column("step", ">", tuple(text.integer(f.member.state.global_step) for f in files)),
        Column("schedule", ">", tuple(map(schedule, files)), droppable=2),
        Column("best score", ">", tuple(map(shown_score, files)), droppable=3),
        Column("resume", "<", tuple(f.resume for f in files)),
        Column("verdict", "<", tuple(f.outlook for f in files)),
    ]


def plain_columns(run: RunReport) -> list[Column]:
    """What there is to say of a file that no known trainer wrote."""
    files = run.files
    return [
        Column("file", "<", tuple(label(f, run.run.path) for f in files)),
        Column("format", "<", tuple(f.checkpoint.container for f in files)),
        Column("holds", "<", tuple(f.checkpoint.layout for f in files), droppable=1),
        Column("tensors", ">", tuple(text.integer(len(f.checkpoint.tensors)) for f in files), droppable=2),
        Column("size", ">", tuple(text.size(f.checkpoint.size) for f in files)),
        Column("verdict", "<", tuple(f.outlook for f in files)),
    ]


def schedule(file: FileReport) -> str:
    """The scheduler's position, `idle` where an uninterrupted run never steps it."""
    state = file.member.state
    if state.last_epoch == 0 and file.resume_point.last_epoch == 0 and state.global_step:
        return "idle"
    return text.integer(state.last_epoch)


def shown_score(file: FileReport) -> str:
    """EarlyStopping's memory: the score, `missing` where there should be one, `none yet` before any validation."""
    state, expected = file.member.state, file.resume_point.early_stopping
    if state.best_score is not None:
        return text.real(state.best_score)
    if any(finding.name == "missing-best-score" for finding in file.findings):
        return "missing"
    return "none yet" if expected is not None and expected.value.best_score is None else "-"


def finding_lines(run: RunReport, paths: Sequence[Path], width: int, color: bool) -> list[str]:
    """What is wrong, with the cures; then, apart, what is worth knowing and changes nothing."""
    groups = grouped(run)
    lines = [""] if groups else []
    serious = [group for group in groups if group.first.severity != "info"]
    for group in serious:
        lines += paragraph(group, run, paths, width, color)
    if command := all_repairs(run, groups, paths):
        lines += ["", f"  all repairs at once: {command}"]
    rest = groups[len(serious) :]
    if rest:
        lines += [*([""] if serious else []), "  worth knowing, with no effect on the trainer's resume:"]
    for group in rest:
        lines += paragraph(group, run, paths, width, color)
    return lines


def paragraph(group: Group, run: RunReport, paths: Sequence[Path], width: int, color: bool) -> list[str]:
    """A group of findings: what, in how many files, the consequence; then the cure on its own line."""
    finding = group.first
    files = concerned(group, run)
    title = text.clean(f"{finding.code} {finding.name}")
    head = f"{title} ({files}):" if files else f"{title}:"
    indent = " " * 7
    lines = text.wrap(f"{head} {text.clean(finding.message)}", width, "  ", indent)
    lines[0] = lines[0].replace(title, text.styled(title, STYLE[finding.severity], color), 1)
    if others := likewise(group, run):
        lines += text.wrap(others, width, f"{indent}also ", indent + "     ")
    for cure in cures(group, run, paths):
        head = f"{indent}cure: "
        lines += [head + cure] if is_command(cure) else text.wrap(cure, width, head, indent + "      ")
    return lines


def summary(report: Report) -> str:
    """`3 checkpoints: 3 repairable, 0 broken. Not checked: ... 0.09 s, 210 KB read of 9.3 GiB.`."""
    files = report.files
    found = [file.outlook for file in files]
    counts = [f"{found.count(word)} {word}" for word in OUTLOOKS if word in (*found, "repairable", "broken")]
    sentences = [f"{text.plural(len(files), 'checkpoint')}: {', '.join(counts)}."]
    if left := not_deep(files):
        sentences.append(f"Not checked: {left}.")
    read = sum(map(bytes_read, files))
    total = sum(f.checkpoint.size for f in files)
    sentences.append(f"{text.seconds(report.seconds)}, {text.size(read)} read of {text.size(total)}.")
    return " ".join(sentences)


def bytes_read(file: FileReport) -> int:
    """How much of a file was read; parts that were read twice count once."""
    checkpoint = file.checkpoint
    return min(checkpoint.size, checkpoint.bytes_read + (checkpoint.deep.bytes_read if checkpoint.deep else 0))


def not_deep(files: Sequence[FileReport]) -> str:
    """What only `--deep` looks at, as `stored checksums and NaN (--deep)`; empty when nothing is left."""
    whats = list(dict.fromkeys(text.clean(item.what) for item, _ in unchecked(files) if item.settle == "--deep"))
    return f"{' and '.join(whats)} (--deep)" if whats else ""
