"""Results -> text, JSON, HTML and the forms of other tools. Nothing here prints.

One function for each result of a command. `form` is a format (`--format`), each loaded when it is asked for; `width` is
in columns of a terminal, `color` adds its styles. Colour, width and everything else that a format has no use for is
left aside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor.reports.facts import given_words, nearest
from ckpt_doctor.reports.manual import Rule
from ckpt_doctor.reports.text import Detail, clean, plural, quoted, shorten, size

if TYPE_CHECKING:
    from ckpt_doctor.types import (
        Checkpoint,
        Comparison,
        Cost,
        Curve,
        ExportResult,
        FileReport,
        Latest,
        Linted,
        Located,
        Measured,
        MigrationResult,
        PruneResult,
        Report,
        RunReport,
        SalvageResult,
    )

__all__ = [
    "FORMATS",
    "Detail",
    "Rule",
    "clean",
    "compared",
    "demonstrated",
    "disk_needed",
    "exported",
    "flags",
    "fragment",
    "given_words",
    "inspected",
    "judged",
    "label",
    "latest",
    "latest_choices",
    "latest_notes",
    "linted",
    "migrated",
    "nearest",
    "no_fix_chosen",
    "nothing_found",
    "opened",
    "output_name",
    "plural",
    "pruned",
    "quoted",
    "rules",
    "salvaged",
    "shorten",
    "size",
    "undone",
]

FORMATS = ("table", "json", "sarif", "github", "markdown", "html")
"""Of scan, check and lint; the other commands have `table` and `json`."""


def judged(
    report: Report,
    form: str = "table",
    *,
    plan: bool = False,
    rules: Callable[[], Sequence[Rule]] = tuple,
    curve: Callable[[RunReport], Curve] | None = None,
    width: int = 80,
    color: bool = False,
    detail: Detail = "normal",
) -> str:
    """A scan; of a check, with `plan`, what the trainer will do as well, where a format has a place for it.

    SARIF and HTML describe those of `rules()` that found something; `curve` finds what HTML draws of a run.
    """
    if form == "table" and plan:
        from ckpt_doctor.reports.check import check

        return check(report, width=width, color=color, detail=detail)
    from ckpt_doctor.reports.documents import Style, whole

    return whole(report.runs, report.seconds, Style(form, width, color, detail, plan, rules, curve, report.paths))


def label(file: FileReport, run: Path) -> str:
    """What a file is called within its run."""
    from ckpt_doctor.reports import columns

    return columns.label(file, run)


def output_name(file: FileReport, run: Path) -> str:
    """What to call a file that is made of another one, in the working folder."""
    from ckpt_doctor.reports import cures

    return cures.output_name(file, run)


def flags(report: Report) -> str:
    """What the resume command must carry, in one line."""
    plan = report.files[0].plan
    return " ".join(plan.flags if plan else ()) + "\n"


def linted(
    result: Linted, form: str = "table", *, rules: Sequence[Rule] = (), width: int = 80, color: bool = False
) -> str:
    """What linting found."""
    if form == "table":
        from ckpt_doctor.reports.scripts import script_table

        return script_table(result, width=width, color=color)
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.linted(result)
    if form == "markdown":
        from ckpt_doctor.reports.markdown import markdown_list

        return markdown_list(result.findings)
    if form == "html":
        from ckpt_doctor.reports.html import scripts_page

        return scripts_page(result)
    return _annotated(result.findings, form, rules)


def _annotated(items: Sequence[Located], form: str, rules: Sequence[Rule]) -> str:
    if form == "github":
        from ckpt_doctor.reports.github import github

        return github(items)
    from ckpt_doctor.reports.sarif import sarif

    return sarif(items, rules)


def inspected(
    file: FileReport,
    form: str = "table",
    *,
    depth: int = 6,
    measured: Sequence[Measured] | None = None,
    width: int = 80,
    color: bool = False,
) -> str:
    """What one file holds: `table`, `tree` (down to `depth`) or `json`; of `measured` tensors their statistics."""
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.inspected(file, measured)
    from ckpt_doctor.reports.inspect import overview, statistics, tree

    if measured is not None:
        return statistics(file.checkpoint, measured, width=width, color=color)
    return tree(file.checkpoint, depth=depth) if form == "tree" else overview(file, width=width, color=color)


def opened(checkpoint: Checkpoint, form: str) -> str:
    """What one file holds, not judged: `table` or `html`."""
    if form == "html":
        from ckpt_doctor.reports.html import checkpoint_fragment

        return checkpoint_fragment(checkpoint)
    from ckpt_doctor.reports.inspect import contents

    return contents(checkpoint)


def compared(
    comparison: Comparison, left: Path, right: Path, form: str = "table", *, width: int = 80, color: bool = False
) -> str:
    """What differs between two files."""
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.compared(comparison, left, right)
    from ckpt_doctor.reports.diff import differences

    return differences(comparison, left, right, width=width, color=color)


def migrated(
    results: Sequence[MigrationResult],
    form: str = "table",
    *,
    paths: Sequence[Path] = (),
    after: Report | None = None,
    width: int = 80,
    color: bool = False,
    detail: Detail = "normal",
) -> str:
    """The plan or the outcome of a migration; how to undo it, where `paths`, those that it was given, say so.

    What to do now comes first, by the report on the files as they are `after` it."""
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.migrated(results, after.runs if after else ())
    if form == "html":
        from ckpt_doctor.reports.html import migrations_fragment

        return migrations_fragment(results)
    from ckpt_doctor.reports.repairs import migrations

    return migrations(results, paths=paths, after=after, width=width, color=color, detail=detail)


def undone(results: Sequence[MigrationResult], form: str = "table", *, width: int = 80) -> str:
    """What an undo took back."""
    if form in ("json", "html"):
        return migrated(results, form)
    from ckpt_doctor.reports import repairs

    return repairs.undone(results, width=width)


def pruned(result: PruneResult, form: str = "table", *, width: int = 80) -> str:
    """What pruning kept and removed."""
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.pruned(result)
    from ckpt_doctor.reports import pruning

    return pruning.pruned(result, width=width)


def salvaged(result: SalvageResult, form: str = "table", *, width: int = 80) -> str:
    """What a salvage recovered."""
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.salvaged(result)
    from ckpt_doctor.reports import salvaging

    return salvaging.salvaged(result, width=width)


def exported(result: ExportResult, form: str = "table", *, width: int = 80) -> str:
    """The weights that were written alone."""
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.exported(result)
    from ckpt_doctor.reports import exporting

    return exporting.exported(result, width=width)


def latest(found: Latest) -> str:
    """The newest checkpoint that will do and what is left to say of it, as JSON."""
    from ckpt_doctor.reports import json_v1

    return json_v1.latest(found)


def latest_notes(found: Latest, *, width: int = 80) -> list[str]:
    """What a person should know beside the path: what to do first, a line each."""
    from ckpt_doctor.reports import newest

    return list(newest.notes(found, width))


def latest_choices(folder: Path, runs: Sequence[Path]) -> list[str]:
    """What to ask `latest` for where a folder holds several runs, a line each."""
    from ckpt_doctor.reports import newest

    return list(newest.choices(folder, runs))


def disk_needed(costs: Sequence[Cost]) -> str:
    """How much disk space writes will take."""
    from ckpt_doctor.reports import repairs

    return repairs.disk_needed(costs)


def no_fix_chosen(names: Sequence[str]) -> str:
    """What to choose from, for a migration that was not told what to do."""
    from ckpt_doctor.reports import repairs

    return repairs.no_fix_chosen(names)


def rules(rules: Sequence[Rule], form: str = "table", *, width: int = 80) -> str:
    """The rules: the manual of one, or the list of several."""
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.rules(rules)
    from ckpt_doctor.reports.manual import catalogue, manual

    return manual(rules[0]) if len(rules) == 1 else catalogue(rules, width=width)


def demonstrated(folder: Path, files: Sequence[Path], command: str, form: str = "table") -> str:
    """A sample run that was made in a folder, and the command to go on with."""
    if form == "json":
        from ckpt_doctor.reports import json_v1

        return json_v1.demonstrated(folder, files, command)
    logs = sum(path.suffix == ".log" for path in files)
    return (
        f"{clean(folder)}: {plural(len(files) - logs, 'checkpoint')} and the log of a training run that died\n"
        f"next: {clean(command)}\n"
    )


def nothing_found(paths: Sequence[Path]) -> str:
    """What a report without a checkpoint says: where a scan looked, and for what."""
    from ckpt_doctor.reports import view

    return view.nothing_found(paths)


def fragment(report: Report, curves: Sequence[Curve] = (), *, plan: bool = False) -> str:
    """HTML of a report for a notebook; of a check with the plan."""
    from ckpt_doctor.reports import html

    return html.fragment(report, curves, plan=plan)
