"""SARIF 2.1.0 (OASIS), which code-scanning services read. Property names are the standard's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ckpt_doctor.remote import is_url
from ckpt_doctor.reports.groups import located
from ckpt_doctor.reports.manual import Rule, summary, whole
from ckpt_doctor.reports.rendered import Ending, Place, Style, Told
from ckpt_doctor.reports.text import clean, repaired
from ckpt_doctor.types import Located, RunReport
from ckpt_doctor.version import HOME, __version__

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVEL = {"error": "error", "warning": "warning", "info": "note"}


def parts(run: RunReport, _place: Place, _style: Style) -> tuple[Any, ...]:
    """The results of a run."""
    return ([result(item) for item in located(run)],)


def document(runs: Iterable[Told], ending: Ending, style: Style) -> Iterator[str]:
    """One SARIF run."""
    results = (result for run in runs for result in run.parts[0])
    return _run(results, ending.tally.codes, style.rules())


def sarif(items: Sequence[Located], rules: Sequence[Rule] = ()) -> str:
    """Findings as one SARIF run. Of `rules`, those that found something are described in it."""
    codes = list(dict.fromkeys(item.finding.code for item in items))
    return "".join(_run(map(result, items), codes, rules))


def _run(results: Iterable[dict[str, Any]], codes: Sequence[str], rules: Sequence[Rule]) -> Iterator[str]:
    """The document, a line for each result."""
    known = {rule.code: rule for rule in rules}
    driver = {
        "name": "ckpt-doctor",
        "version": __version__,
        "informationUri": HOME,
        "rules": [descriptor(code, known.get(code)) for code in codes],
    }
    places = {clean(code): number for number, code in enumerate(codes)}
    head = {"$schema": SCHEMA, "version": "2.1.0"}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints"}
    yield f'{json.dumps(head)[:-1]}, "runs": [{json.dumps(run)[:-1]}, "results": ['
    before = "\n"
    for one in results:
        yield before + json.dumps({"ruleId": one["ruleId"], "ruleIndex": places[one["ruleId"]], **one})
        before = ",\n"
    yield "]}]}\n"


def descriptor(code: str, rule: Rule | None) -> dict[str, Any]:
    """A reportingDescriptor (section 3.49)."""
    if rule is None:
        return {"id": clean(code)}
    return {
        "id": code,
        "name": rule.name,
        "shortDescription": {"text": sentence(summary(rule))},
        "fullDescription": {"text": sentence(summary(rule))},
        "help": dict.fromkeys(("text", "markdown"), whole(rule)),
        "helpUri": f"{HOME}#{code.lower()}",
        "defaultConfiguration": {"level": LEVEL[rule.severity]},
    }


def result(item: Located) -> dict[str, Any]:
    """A result (section 3.27), but for the place of its rule among the driver's."""
    finding = item.finding
    sentences = [sentence(clean(finding.message))]
    if finding.where and item.line is None:
        sentences.append(f"Where: {clean(finding.where)}.")
    if finding.fix:
        path = f" {repaired(item.path)}" if finding.fix.startswith("ckpt-doctor migrate") else ""
        sentences.append(f"Cure: {clean(finding.fix)}{path}.")
    return {
        "ruleId": clean(finding.code),
        "level": LEVEL[finding.severity],
        "message": {"text": " ".join(sentences)},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(item.path)}, "region": region(item)}}],
    }


def sentence(text: str) -> str:
    """A text with a capital and a full stop; what is no plain word (`torch.load`, `no_grad`) keeps its small letter."""
    first = text.partition(" ")[0].rstrip(",:;")
    begun = text[:1].upper() + text[1:] if first.isalpha() and first.islower() else text
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."


def region(item: Located) -> dict[str, int]:
    """Where in the file; line 1 stands for a checkpoint as a whole, since code-scanning services want a line."""
    place = {"startLine": item.line or 1}
    if item.column is not None:
        place["startColumn"] = item.column
    if item.end_line is not None and item.end_line >= place["startLine"]:
        place["endLine"] = item.end_line
    return place


def uri(path: Path) -> str:
    """A URI reference (RFC 3986): relative paths stay relative, so that a service can resolve them in a checkout."""
    if is_url(path):
        return quote(str(path), safe=":/%@")
    quoted = quote(os.fsencode(path.as_posix()))
    if path.is_absolute():
        return f"file://{quoted}"
    # A colon in the first segment would read as a scheme; quote() has already escaped it.
    return quoted
