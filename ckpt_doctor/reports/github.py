"""GitHub Actions workflow commands: each finding becomes an annotation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ckpt_doctor.reports.groups import located
from ckpt_doctor.reports.rendered import Ending, Place, Style, Told
from ckpt_doctor.reports.text import clean, repaired
from ckpt_doctor.types import Located, RunReport

LEVEL = {"error": "error", "warning": "warning", "info": "notice"}


def github(items: Sequence[Located]) -> str:
    """One command per line: `::warning file=...,title=E601 missing-best-score::message`."""
    return "".join(annotation(item) + "\n" for item in items)


def parts(run: RunReport, _place: Place, _style: Style) -> tuple[str, ...]:
    """The commands of a run's findings."""
    return (github(located(run)),)


def document(runs: Iterable[Told], _ending: Ending, _style: Style) -> Iterator[str]:
    """The commands of all findings."""
    return (run.parts[0] for run in runs)


def annotation(item: Located) -> str:
    """One finding as a workflow command."""
    finding = item.finding
    properties = {
        "file": item.path.as_posix(),
        "line": item.line,
        "col": item.column,
        "endLine": item.end_line,
        "title": f"{finding.code} {finding.name}",
    }
    listed = ",".join(f"{name}={escape_property(str(v))}" for name, v in properties.items() if v is not None)
    message = clean(finding.message)
    if finding.fix:
        path = f" {repaired(item.path)}" if finding.fix.startswith("ckpt-doctor migrate") else ""
        message = f"{message.rstrip('.')}. Cure: {clean(finding.fix)}{path}"
    return f"::{LEVEL[finding.severity]} {listed}::{escape_data(message)}"


def escape_data(text: str) -> str:
    """A message as the runner's command parser wants it (`escapeData` of actions/toolkit, packages/core/command.ts)."""
    return clean(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """A property value (`escapeProperty` of the same file): also the characters that separate properties."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")
