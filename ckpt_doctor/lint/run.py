"""Lint scripts: read, apply every rule, place the findings. One report per script."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from ckpt_doctor.lint.library import Library
from ckpt_doctor.lint.module import Call, Site
from ckpt_doctor.lint.program import Program
from ckpt_doctor.lint.rule import Hit, ScriptRule
from ckpt_doctor.lint.rules import SCRIPT_RULES
from ckpt_doctor.lint.source import NotPython, find_scripts
from ckpt_doctor.types import Finding, Linted, Located, NotChecked
from ckpt_doctor.types.record import record

# A file is followed into the modules it uses when it runs something or says that it handles checkpoints. All others
# (models, layers, data sets) only define what such files use.
_ABOUT_CHECKPOINTS = re.compile(
    r"(?<!ing_)checkpoint(?!ing|_wrapper|_sequential)|ckpt|rmtree|rm -\w*r|del_|early_?stop|\.save\(|save_state|epoch",
    re.IGNORECASE,
)
_STARTS_SOMETHING = re.compile(
    r"^(if __name__|raise SystemExit\(|for |while |(\w+ = )?(main|run|train|fit|start)\w*\(|[a-z_][\w.]*\("
    r"|[A-Z]\w*\(.*\)\.\w+\()",
    re.MULTILINE,
)


@record(frozen=True)
class ScriptFinding(Located):
    """A finding in source code: `where` is `file:line`, in a notebook `file:cell N:line`, `fix` is the suggestion as
    one line of text."""

    open_to: tuple[Path, int] | None = None
    """File and first line of the function, where a script that calls it decides whether this is a defect."""


@record(frozen=True)
class ScriptReport:
    """One linted file."""

    path: Path
    findings: tuple[ScriptFinding, ...]
    """In line order."""
    not_checked: tuple[NotChecked, ...] = ()
    """Files or cells that are not readable Python, and questions that the code leaves open."""


def lint(paths: Sequence[Path], rules: Sequence[ScriptRule] = SCRIPT_RULES) -> list[ScriptReport]:
    """Look in training scripts for code that endangers checkpoints. Nothing is executed or imported.

    A PATH is a script, a notebook, or a folder of which every `*.py` and `*.ipynb` is linted. Modules of the same
    repository that a script uses are read too; what is wrong there is reported in that file's report if it is linted
    itself, otherwise in the script's. One report per linted file, in the order found. Raises `UsageError` for a PATH
    that does not exist; a file that is not readable Python is a `NotChecked` in its report.
    """
    scripts = list(find_scripts(paths))
    relative = not any(path.is_absolute() for path in paths)
    library = Library({path.absolute(): path for path in scripts}, relative)
    reports: list[ScriptReport] = []
    called: set[_Place] = set()
    for path in scripts:
        reports.append(_lint_one(path, library, rules, called))
        library.forget()
    return _each_once([_without_called(report, called) for report in reports])


def check_scripts(
    paths: Sequence[Path],
    select: Collection[str] = (),
    ignore: Collection[str] = (),
    silenced: Callable[[Finding, Path], bool] = lambda _finding, _path: False,
) -> Linted:
    """The findings of all scripts in one list, by the selected codes, without those that a person accepts."""
    reports = lint(paths, [r for r in SCRIPT_RULES if (not select or r.code in select) and r.code not in ignore])
    return Linted(
        tuple(report.path for report in reports),
        tuple(f for report in reports for f in report.findings if not silenced(f.finding, f.path)),
        tuple(point for report in reports for point in report.not_checked),
    )


_Place: TypeAlias = tuple[Path, int]
"""A function: its file and its first line."""


def _place(site: Site) -> _Place | None:
    function = site.module.function(site.node)
    return (site.module.path, function.lineno) if function is not None else None


def _called_from_elsewhere(program: Program) -> Iterator[_Place]:
    """The functions that a program runs in other modules than those that call them, and what these run."""
    seen: set[ast.AST] = set()
    found = ((call, program.target(call)) for call in program.calls)
    rest = [target for call, target in found if target is not None and target.module is not call.module]
    while rest:
        target = rest.pop()
        if target.function in seen:
            continue
        seen.add(target.function)
        yield target.module.path, target.function.lineno
        inside = (Call(target.module, node) for node in target.module.calls(target.function))
        rest += [inner for inner in map(program.target, inside) if inner is not None]


def _without_called(report: ScriptReport, called: Set[_Place]) -> ScriptReport:
    """The report less what another linted script, which calls the code, has judged."""
    return replace(report, findings=tuple(found for found in report.findings if found.open_to not in called))


def _lint_one(path: Path, library: Library, rules: Sequence[ScriptRule], called: set[_Place]) -> ScriptReport:
    module = library.open(path)
    if isinstance(module, NotPython):
        return ScriptReport(path, (), (NotChecked(str(path), f"{path.name} was not linted: {module}", module.settle),))
    text = module.source.text
    if not (_ABOUT_CHECKPOINTS.search(text) or _STARTS_SOMETHING.search(text)):
        return ScriptReport(path, (), module.source.not_checked)
    program = Program(module)
    findings: list[ScriptFinding] = []
    not_checked = list(module.source.not_checked)
    try:
        for rule in rules:
            for result in rule.check(program):
                if isinstance(result, NotChecked):
                    not_checked.append(result)
                elif not _is_ignored(rule, result):
                    own = result.callers_decide and result.site.module is module
                    findings.append(replace(_finding(rule, result), open_to=_place(result.site) if own else None))
        called.update(_called_from_elsewhere(program))
    except RecursionError:
        # Expressions of thousands of levels, which the parser still takes.
        not_checked.append(
            NotChecked(str(path), "its code is nested too deeply to be followed", "split the expression")
        )
    if program.is_cut_off or library.is_cut_off:
        what = f"{path}: a part of the other modules that it uses"
        not_checked.append(NotChecked(what, "the repository is large", "lint the modules that save or delete as well"))
    return ScriptReport(path, _in_order(findings), tuple(not_checked))


def _finding(rule: ScriptRule, hit: Hit) -> ScriptFinding:
    source = hit.site.module.source
    first = getattr(hit.site.node, "lineno", 1)
    last = getattr(hit.site.node, "end_lineno", None) or first
    cell, line = source.locate(first)
    _, end_line = source.locate(last)
    # ast counts UTF-8 bytes; people and editors count characters.
    text = source.lines[first - 1]
    before = text.encode("utf-8", "surrogatepass")
    column = len(before[: getattr(hit.site.node, "col_offset", 0)].decode("utf-8", "replace")) + 1
    place = f"{source.path}:{line}" if cell is None else f"{source.path}:cell {cell}:{line}"
    finding = Finding(
        code=rule.code,
        name=rule.name,
        severity=hit.severity or rule.severity,
        message=hit.message,
        where=place,
        found=hit.found,
        expected=hit.expected,
        fix="; ".join(part.strip() for part in hit.suggestion.split("\n")),
    )
    return ScriptFinding(finding, source.path, line, column, end_line, hit.suggestion, cell, text.strip())


def _is_ignored(rule: ScriptRule, hit: Hit) -> bool:
    """Whether a comment on one of the lines of the statement (or alone on the line above it) silences the rule."""
    module, node = hit.site
    first = getattr(module.statement(node), "lineno", 0)
    last = getattr(node, "end_lineno", None) or first
    ignored = module.source.ignored
    groups = (ignored[line] for line in range(first, last + 1) if line in ignored)
    return any(not group or group & {rule.code.lower(), rule.name} for group in groups)


def _in_order(findings: Iterable[ScriptFinding]) -> tuple[ScriptFinding, ...]:
    return tuple(sorted(findings, key=lambda f: (str(f.path), f.cell or 0, f.line, f.column, f.finding.code)))


def _each_once(reports: list[ScriptReport]) -> list[ScriptReport]:
    """Scripts that share a helper see the same defect in it; it is reported once, in the helper's own report if any."""
    homes = {report.path.absolute() for report in reports}
    seen: set[tuple[object, ...]] = set()
    moved: dict[Path, list[ScriptFinding]] = {}
    kept: list[ScriptReport] = []
    for report in reports:
        own: list[ScriptFinding] = []
        for found in report.findings:
            key = (found.finding.code, found.finding.where, found.column)
            if key in seen:
                continue
            seen.add(key)
            home = found.path.absolute()
            if home != report.path.absolute() and home in homes:
                moved.setdefault(home, []).append(found)
            else:
                own.append(found)
        kept.append(replace(report, findings=tuple(own)))
    return [
        replace(report, findings=_in_order([*report.findings, *moved.get(report.path.absolute(), [])]))
        for report in kept
    ]
