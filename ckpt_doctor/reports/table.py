"""The terminal report of a scan: per run the facts, a table of its checkpoints, and what is wrong with its cure."""

from __future__ import annotations

from collections.abc import Sequence

from ckpt_doctor.reports import text
from ckpt_doctor.reports.cures import is_command
from ckpt_doctor.reports.view import Paragraph, RunView, is_empty, nothing_found, summary, view
from ckpt_doctor.types import Report


def table(report: Report, *, width: int = 80, color: bool = False) -> str:
    """A whole report as text, in lines of at most `width` columns (but for single words that are longer)."""
    if is_empty(report):
        return "\n".join(text.wrap(nothing_found(report), width)) + "\n"
    runs = [view(run, report.paths) for run in report.runs]
    names = text.shorten_all([text.clean(run.path) for run in runs], width)
    blocks = [run_block(run, name, width, color) for run, name in zip(runs, names, strict=True)]
    return "\n\n".join([*blocks, "\n".join(text.wrap(summary(report), width))]) + "\n"


def run_block(run: RunView, name: str, width: int, color: bool) -> str:
    """One run: its path, what is known of it, its table, its findings."""
    columns = min(width, text.MAX_TEXT)
    lines = [text.styled(name, "bold", color), f"  {run.contents}", *fact_lines(run, columns)]
    if run.rows:
        lines += ["", *file_table(run, width, color)]
    return "\n".join([*lines, *finding_lines(run, columns, color)])


def fact_lines(run: RunView, width: int) -> list[str]:
    """The known facts, one under the other, their sources beside them."""
    room = width - max((text.display_width(name) for name, _ in run.facts), default=0) - 4
    return text.grid([(name, "\n".join(text.wrap(source, max(20, room)))) for name, source in run.facts], "<<")


def file_table(run: RunView, width: int, color: bool) -> list[str]:
    """The files of a run as aligned lines; columns that do not fit are left out, then names are shortened."""
    names = [row.name for row in run.rows]
    cells = zip(*((*row.cells, *row.outcomes) for row in run.rows), strict=True)
    shown = zip((*run.columns, *run.outcomes), cells, strict=True)
    columns = [(0, False, ["file", *names]), *((c.droppable, c.is_number, [c.title, *values]) for c, values in shown)]
    while (used := _width([cells for *_, cells in columns])) > width and any(drop for drop, *_ in columns):
        columns.remove(max(columns, key=lambda column: column[0]))
    if used > width:
        room = max(12, max(map(text.display_width, names)) - (used - width))
        columns[0][2][1:] = text.shorten_all(names, room)
    heads, *rows = zip(*(cells for *_, cells in columns), strict=True)
    styled = [[text.styled(head, "dim", color) for head in heads]]
    styled += [[*cells, text.styled(verdict, verdict, color)] for *cells, verdict in rows]
    return text.grid(styled, "".join("<>"[is_number] for _, is_number, _ in columns))


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(2 + max(map(text.display_width, cells)) for cells in columns)


def finding_lines(run: RunView, width: int, color: bool) -> list[str]:
    """What is wrong, with the cures; then, apart, what is worth knowing and changes nothing; what was not checked."""
    lines = [""] if run.serious or run.notes else []
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


def paragraph_lines(paragraph: Paragraph, width: int, color: bool) -> list[str]:
    """A group of findings: what, in how many files, the consequence; then the cure on its own line."""
    indent = " " * 7
    lines = text.wrap(f"{paragraph.title}: {paragraph.message}", width, "  ", indent)
    lines[0] = lines[0].replace(paragraph.rule, text.styled(paragraph.rule, paragraph.severity, color), 1)
    if paragraph.also:
        lines += text.wrap(paragraph.also, width, f"{indent}also ", indent + "     ")
    for cure in paragraph.cures:
        head = f"{indent}cure: "
        lines += [head + cure] if is_command(cure) else text.wrap(cure, width, head, indent + "      ")
    return lines
