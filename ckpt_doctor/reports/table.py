"""The terminal report of a scan: per run the facts, a table of its checkpoints, and what is wrong with its cure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ckpt_doctor.reports import text
from ckpt_doctor.reports.answer import Spoken, answer_lines, is_idle, packed, spoken, unpacked
from ckpt_doctor.reports.columns import outcomes
from ckpt_doctor.reports.groups import grouped, located
from ckpt_doctor.reports.paragraphs import folded_findings, least_lines, paragraph_lines
from ckpt_doctor.reports.rendered import Ending, Place, Style, Told
from ckpt_doctor.reports.tally import omitted, summary, tally
from ckpt_doctor.reports.view import Paragraph, Row, RunView, contents, nothing_found, view, without_copies
from ckpt_doctor.types import RunReport
from ckpt_doctor.types.record import record

SCREEN = 24
"""Lines of a terminal."""
LEAST = 12
"""Lines that a run with findings gets in any case."""
MOST_ROWS, LEAST_ROWS = 8, 3
"""Files with findings that a table shows where it is folded."""


def parts(run: RunReport, place: Place, style: Style) -> tuple[Any, ...]:
    """Of a run its answer, for `document` to lay out beside the others, and what follows below all answers."""
    told = spoken(run)
    return (None if told is None else packed(told)), _block(run, place, style)


def _block(run: RunReport, place: Place, style: Style) -> str:
    if style.detail == "quiet":
        shown = view(run, style.paths)
        return "\n".join(wrong_lines(shown, place.name if place.of > 1 else "", style.width, style.color))
    if style.detail == "all" or not is_idle(run) or place.of == 1:
        if style.detail != "all" and run.advice is not None and is_healthy(distinct := without_copies(run)):
            return healthy_line(distinct, place.name, style.width, style.color)
        around = _lines_around(run, style) if place.of == 1 else 0
        shown, room = view(run, style.paths), max(LEAST, SCREEN - around)
        return run_block(shown, place.name, style.width, style.color, style.detail, room)
    return ""


def _lines_around(run: RunReport, style: Style) -> int:
    """Lines that the only run of a report leaves to its answer and to the end."""
    told = spoken(run)
    answer = [] if told is None else [*answer_lines([told], style.width)]
    return len(answer) + 1 + len(text.wrap(summary(tally(run), 0.0), style.width)) + 1


@record(frozen=True)
class _Answers:
    """The answers among rendered runs; never all of them at once."""

    runs: Iterable[Told]

    def __iter__(self) -> Iterator[Spoken]:
        return (unpacked(run.parts[0]) for run in self.runs if run.parts[0])


def document(runs: Iterable[Told], ending: Ending, style: Style) -> Iterator[str]:
    """A whole report, in lines of at most the style's width (but for what one copies, which is never broken)."""
    if ending.tally.is_empty:
        yield "\n".join(text.wrap(nothing_found(style.paths), style.width)) + "\n"
        return
    blocks = [("\n" in run.parts[1]) for run in runs if run.parts[1]]
    is_answered = any(run.parts[0] for run in runs)
    between = blocks[not is_answered : len(blocks) - (style.detail == "quiet")]
    gap = "\n" if style.detail != "all" and not any(between) else "\n\n"
    before = ""
    for line in answer_lines(_Answers(runs), style.width, style.color):
        yield f"{before}{line}"
        before = "\n"
    before = gap if before else ""
    for run in runs:
        if run.parts[1]:
            yield f"{before}{run.parts[1]}"
            before = gap
    missed = f"{ending.interruption}." if ending.interruption else ""
    quiet = [said for said in (omitted(ending.tally.deep_only), missed) if said]
    told = quiet if style.detail == "quiet" else [summary(ending.tally, ending.seconds, ending.interruption)]
    for end in told:
        yield before + "\n".join(text.wrap(end, style.width))
        before = "\n"
    yield "\n"


def wrong_lines(run: RunView, name: str, width: int, color: bool) -> list[str]:
    """Of a run only what is wrong; no line where nothing is."""
    lines = [text.styled(name, "bold", color)] if name and run.serious else []
    told: dict[Paragraph, list[str]] = {}  # findings that differ in their cures alone say the same here
    for paragraph in run.serious:
        told.setdefault(replace(paragraph, files="", cures=(), names=()), []).append(paragraph.files)
    for paragraph, files in told.items():
        named = replace(paragraph, files=", ".join(filter(None, files)))
        lines += paragraph_lines(named, min(width, text.MAX_TEXT), color)
    return lines


def run_block(run: RunView, name: str, width: int, color: bool, detail: text.Detail, room: int | None = None) -> str:
    """One run: its path, what is known of it, its table, its findings; in `room` lines where it is folded."""
    columns = min(width, text.MAX_TEXT)
    folded = run.answer is not None and detail != "all"
    lines = [text.styled(name, "bold", color), f"  {run.contents}"]
    if not folded:
        lines += fact_lines(run, columns)
        lines += ["", *file_table(run.rows, run, width, color)] if run.rows else []
        return "\n".join([*lines, *finding_lines(run, columns, color)])
    lines[1:] = text.wrap("; ".join([run.contents, *facts_in_short(run)]), columns, "  ", "  ")
    room = (room or SCREEN) - len(lines)
    table = folded_table(run, width, color, room - least_lines(run, columns) - 2) if run.rows else []
    lines += ["", *table] if table else []
    return "\n".join([*lines, *finding_lines(run, columns, color, room - len(table) - 2)])


def is_healthy(run: RunReport) -> bool:
    """Whether nothing is wrong in a run."""
    notes = all(item.finding.severity == "info" for item in located(run))
    return notes and all(file.verdict == "ok" for file in run.files)


def healthy_line(run: RunReport, name: str, width: int, color: bool) -> str:
    """A run in which nothing is wrong."""
    found, notes = dict.fromkeys(map(outcomes(run)[0].cell, run.files)), grouped(run)
    told = [contents(run), f"resume: {', '.join(found)}" if found else ""]
    told += [f"{text.plural(len(notes), 'note')} (-v)" if notes else ""]
    end = "; ".join(part for part in told if part)
    short = text.shorten(name, max(20, width - text.display_width(end) - 2))
    return f"{text.styled(short, 'bold', color)}: {end}"


def facts_in_short(run: RunView) -> list[str]:
    """The known facts without their sources, which `-v` shows; a log and what is open by name."""
    shown = [
        name if name != "log" and not name.endswith("not settled") else f"{name} ({source})"
        for name, source in run.facts
    ]
    return [", ".join(shown)] if shown else []


def fact_lines(run: RunView, width: int) -> list[str]:
    """The known facts, one under the other, their sources beside them."""
    room = width - max((text.display_width(name) for name, _ in run.facts), default=0) - 4
    return text.grid([(name, "\n".join(text.wrap(source, max(20, room)))) for name, source in run.facts], "<<")


def folded_table(run: RunView, width: int, color: bool, room: int) -> list[str]:
    """The files of which something is to be said, the last ones of many and the advised one; the others are counted."""
    troubled = [row for row in run.rows if row.is_troubled]
    healthy = len(run.rows) - len(troubled)
    most = min(MOST_ROWS, max(LEAST_ROWS, room - 2 - bool(healthy)))
    shown = troubled[-most:] if len(troubled) > most + 1 else troubled
    advised = [row for row in troubled if row.name == run.advised and row not in shown]
    shown = [*advised, *shown[len(advised) :]]
    lines = file_table(shown, run, width, color) if shown else []  # what is wrong may be said of the run alone
    if left := len(troubled) - len(shown):
        lines.append(f"  and {text.plural(left, 'file')} {'more' if advised else 'before these'} (-v)")
    if healthy:
        lines.append(f"  {'and ' if shown else ''}{text.plural(healthy, 'file')} without a finding (-v)")
    return lines


def file_table(rows: Sequence[Row], run: RunView, width: int, color: bool) -> list[str]:
    """Files of a run as aligned lines; columns that do not fit are left out, then names are shortened."""
    names = [row.name for row in rows]
    cells = zip(*((*row.cells, *row.outcomes) for row in rows), strict=True)
    shown = zip((*run.columns, *run.outcomes), cells, strict=True)
    columns = [(0, False, ["file", *names]), *((c.droppable, c.is_number, [c.title, *values]) for c, values in shown)]
    while (used := _width([cells for *_, cells in columns])) > width and any(drop for drop, *_ in columns):
        columns.remove(max(columns, key=lambda column: column[0]))
    if used > width:
        room = max(12, max(map(text.display_width, names)) - (used - width))
        columns[0][2][1:] = text.shorten_all(names, room)
    heads, *lines = zip(*(cells for *_, cells in columns), strict=True)
    styled = [[text.styled(head, "dim", color) for head in heads]]
    styled += [[*cells, text.styled(verdict, verdict, color)] for *cells, verdict in lines]
    return text.grid(styled, "".join("<>"[is_number] for _, is_number, _ in columns))


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(2 + max(map(text.display_width, cells)) for cells in columns)


def finding_lines(run: RunView, width: int, color: bool, room: int | None = None) -> list[str]:
    """What is wrong, with the cures; then, apart, what is worth knowing and changes nothing; what was not checked.

    With `room`, a number of lines, each command comes once, and what does not fit is named only.
    """
    lines = [""] if run.serious or run.notes else []
    if room is not None:
        return [*lines, *folded_findings(run, width, color, room)]
    for paragraph in run.serious:
        lines += paragraph_lines(paragraph, width, color)
    if run.all_repairs:
        lines += ["", f"  all repairs at once: {run.all_repairs}"]
    if run.notes:
        lines += [*([""] if run.serious else []), "  worth knowing:"]
    for paragraph in run.notes:
        lines += paragraph_lines(paragraph, width, color)
    for point in run.open_points:
        lines += text.wrap(str(point), width, "  ", "    ")
    return lines
