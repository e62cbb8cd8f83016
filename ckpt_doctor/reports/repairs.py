"""Migrations and undos as text and JSON: what changes, on what evidence, what was refused and what would settle it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import get_args

from ckpt_doctor.reports import text
from ckpt_doctor.reports.answer import answer_lines, answers_of
from ckpt_doctor.reports.cures import is_command
from ckpt_doctor.reports.table import SCREEN
from ckpt_doctor.types import Cost, Edit, MigrationResult, Report, Status


def migrations(
    results: Sequence[MigrationResult],
    *,
    paths: Sequence[Path] = (),
    after: Report | None = None,
    width: int = 80,
    color: bool = False,
    detail: text.Detail = "normal",
) -> str:
    """The plan or the outcome of a migration, file by file, and a closing count; how to undo it, where `paths` tell.

    What to do now stands before it, and once more at its end where that is a screen further down.
    """
    told = list(results)
    if detail == "quiet":
        told = [replace(result, edits=(), notes=()) for result in results if not result.complete]
    needed = [result for result in told if after is None or detail == "all" or not _needs_nothing(result)]
    blocks = ["\n".join(file_lines(result, width, color)) for result in needed]
    end = counted(results)
    if paths and any(result.status == "migrated" for result in results):
        end += f"\nto take this back: ckpt-doctor undo {' '.join(map(text.quoted, undo_paths(results, paths)))}"
    answer = "\n".join(answer_lines(answers_of(after), width, color)) if after is not None else ""
    whole = "\n\n".join(part for part in (answer, *blocks, end) if part)
    again = f"\n\n{answer}" if answer and whole.count("\n") > SCREEN else ""
    return f"{whole}{again}\n"


def _needs_nothing(result: MigrationResult) -> bool:
    """Whether there is nothing to say of a file but that it stays as it is."""
    return result.status == "unchanged" and not result.refusals and not result.notes and "; " not in result.message


def undo_paths(results: Sequence[MigrationResult], paths: Sequence[Path]) -> list[Path]:
    """What to undo so that this migration is taken back and none before it: the given paths where that says it."""
    named: list[Path] = []
    for path in paths:
        below = [r for r in results if r.path == path or path in r.path.parents]
        done = [r.path for r in below if r.status == "migrated"]
        others = any(r.earlier for r in below if r.status != "migrated")
        named += done if others else [path] if done else []
    return named


def file_lines(result: MigrationResult, width: int, color: bool) -> list[str]:
    """One file: its edits with their evidence, what was refused, how it ended."""
    columns = min(width, text.MAX_TEXT)
    lines = [text.styled(text.shorten(text.clean(result.path), width), "bold", color)]
    for evidence, edits in groupby(result.edits, key=lambda edit: edit.evidence):
        rows = [change(edit) for edit in edits]
        told = text.grid(rows, "<<")
        if max(map(text.display_width, told)) > columns:
            told = [line for name, value in rows for line in (f"  {name}", f"      {value}")]
        lines += told
        lines += text.wrap(f"evidence: {text.clean(evidence)}", columns, " " * 4, " " * 8)
    for refusal in result.refusals:
        sentence = f"refused {text.clean(refusal.migration)}: {text.clean(refusal.reason)}"
        lines += text.wrap(sentence, columns, "  ", "    ")
        if is_command(refusal.settle):  # to paste, so it is not broken into lines
            command = re.sub(r"\bFILE\b", lambda _: text.quoted(result.path), text.clean(refusal.settle))
            lines.append(f"    to settle it: {command}")
        elif refusal.settle:
            lines += text.wrap(f"to settle it: {text.clean(refusal.settle)}", columns, "    ", "      ")
    status = text.styled(result.status, result.status, color)
    if result.message or not result.refusals:
        sentence = f"{result.status}: {text.clean(result.message)}" if result.message else result.status
        end = text.wrap(sentence, columns, "  ", "    ")
        lines += [end[0].replace(result.status, status, 1), *end[1:]]
    for note in result.notes:
        lines += text.wrap(text.clean(note), columns, "  note: ", "    ")
    return lines


def change(edit: Edit) -> tuple[str, str]:
    """An edit as what it changes and `before -> after`."""
    name = text.clean(edit.key) or "(the whole file)"
    if edit.op == "wrap":
        return name, "the bare state_dict becomes this key of a training dict"
    if edit.op == "strip":
        return name, f"{text.brief(edit.before)} is taken off its keys"
    if edit.op == "relocate":
        return name, f"storages tagged {text.brief(edit.before)} -> {text.brief(edit.after)}"
    return name, f"{'absent' if edit.before is None else value(edit.before)} -> {value(edit.after)}"


def value(part: object) -> str:
    """One side of an edit; of a long list its length, for its beginning tells nothing."""
    if isinstance(part, (list, tuple)) and len(part) > 8:
        return f"a list of {len(part):,}"
    return text.brief(part, 34)


def counted(results: Sequence[MigrationResult]) -> str:
    """`3 files: 2 migrated, 1 refused.`."""
    statuses = [result.status for result in results]
    parts = ", ".join(f"{statuses.count(status)} {status}" for status in get_args(Status) if status in statuses)
    return f"{text.plural(len(results), 'file')}: {parts}." if results else "No checkpoints to migrate."


def disk_needed(costs: Sequence[Cost]) -> str:
    """How much disk space writes need at most, and how much they take when they are done."""
    after = sum(cost.after for cost in costs)
    peak = after + max(cost.during - cost.after for cost in costs)
    free = min((cost.free for cost in costs if cost.free is not None), default=None)
    told = f"{text.plural(len(costs), 'file')} to write: up to {text.size(max(0, peak))} of disk needed, "
    told += f"{text.size(max(0, after))} when done"
    return told + ("" if free is None else f" ({text.size(free)} free)")


def no_fix_chosen(names: Sequence[str]) -> str:
    """What to choose from, for a migration that was not told what to do: the fixes that findings call for."""
    if not names:
        return "no fix was chosen, and no finding in these files calls for one (--all would change nothing)"
    return f"no fix was chosen; the findings call for {', '.join(f'--{n}' for n in names)}; name them, or give --all"


def undone(results: Sequence[MigrationResult], *, width: int = 80) -> str:
    """What was taken back, and what was not."""
    lines = []
    for result in results:
        outcome = "taken back" if result.status == "undone" else result.status
        lines.append(text.shorten(text.clean(result.path), width))
        lines += text.wrap(f"{outcome}: {text.clean(result.message)}", min(width, text.MAX_TEXT), "  ", "    ")
        for note in result.notes:
            lines += text.wrap(text.clean(note), min(width, text.MAX_TEXT), "  note: ", "    ")
    return "\n".join(lines or ["No migrated files here: nothing to take back."]) + "\n"
