"""The public JSON, version 1: a promise to scripts, so it changes only by addition and has its own mapping.

One function for each result of a command. Numbers that JSON does not know are strings: `"NaN"`,
`"Infinity"`, `"-Infinity"` (Python's `float` and JavaScript's `Number` read them back); null means absent and nothing
else. An integer too long to be one is a string as well. Characters beyond ASCII are escaped, so the output is the same
in every locale and a name can't act on a terminal. Strings are as the file system and the files have them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc
from pathlib import Path, PurePath
from typing import Any, get_args

from ckpt_doctor import types
from ckpt_doctor.inert.counting import count_tensors, parameters
from ckpt_doctor.inert.units import parts_of, tensors_of
from ckpt_doctor.reports.manual import Rule
from ckpt_doctor.reports.promised import PLAN, RUN_FACTS, TRAINING, own_names
from ckpt_doctor.reports.rendered import Ending, Place, Style, Told
from ckpt_doctor.reports.text import brief, integer
from ckpt_doctor.version import __version__

HEAD = {"version": 1, "tool": {"name": "ckpt-doctor", "version": __version__}}
FINDING = ("code", "name", "severity", "message", "where", "found", "expected", "fix")


def dumps(document: object) -> str:
    """A document as text."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _fields(value: object, *names: str) -> dict[str, Any]:
    return {name: plain(getattr(value, name)) for name in names}


def parts(run: types.RunReport, _place: Place, style: Style) -> tuple[str, ...]:
    """Of a run the lines of its own entry, of its files, of its units; of a check also that of the plan.

    Each entry is one line, written by the C encoder, which does not indent.
    """
    files = [one for unit in run.files for one in (unit.parts or (unit,))]
    planned = run.files[0] if style.plan else None
    plan = None if planned is None else planned.plan
    return (
        _line(judged_run(run)),
        BETWEEN.join(_line(file(one)) for one in files),
        BETWEEN.join(_line(unit(one)) for one in run.files),
        "" if planned is None or plan is None else _line({**_fields(plan, *PLAN), "resume": planned.resume}),
    )


BETWEEN = ",\n  "


def document(runs: Iterable[Told], ending: Ending, _style: Style) -> Iterator[str]:
    """The document of a scan, or of a check."""
    counts = ending.tally
    summary = {
        "files": counts.files,
        "units": counts.units,
        "bytes": counts.file_bytes,
        **{verdict: counts.verdicts.get(verdict, 0) for verdict in get_args(types.Verdict)},
        "errors": counts.severities.get("error", 0),
        "warnings": counts.severities.get("warning", 0),
        "seconds": round(ending.seconds, 6),
        "requests": counts.requests,
        "bytes_read": counts.read,
        **({"runs_not_judged": ending.missed} if ending.missed else {}),
    }
    yield "{" + "".join(f'"{name}": {_line(value)},\n ' for name, value in HEAD.items())
    for part, name in enumerate(("runs", "files", "units")):
        yield f'"{name}": ['
        before = ""
        for run in runs:
            if entries := run.parts[part]:
                yield f"{before}{entries}"
                before = BETWEEN
        yield "],\n "
    yield f'"summary": {_line(summary)}'
    yield from (f',\n "plan": {run.parts[3]}' for run in runs if run.parts[3])
    yield "}\n"


def _line(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def judged_run(run: types.RunReport) -> dict[str, Any]:
    """One run folder."""
    facts = run.run.facts
    known = {fact.name: facts.get(fact.name) for fact in facts.table}
    return {
        "path": str(run.run.path),
        "trainer": run.run.trainer or None,
        **{name: plain(fact.value) if (fact := facts.get(name)) else None for name in RUN_FACTS},
        "facts": {name: plain(fact.value) if fact else None for name, fact in known.items()},
        "evidence": {name: fact.source for name, fact in {**known, "log": facts.log}.items() if fact},
        "findings": [_fields(finding, *FINDING) for finding in run.findings],
        "advice": None if run.advice is None else advice(run.advice),
    }


def advice(advised: types.Advice) -> dict[str, Any]:
    """What to do about a run; commands are lists of words."""
    out = advised.way_out
    return {
        **_fields(
            advised, "kind", "path", "label", "position", "command", "flags", "reason", "stays", "caveats", "log"
        ),
        "missing": [_fields(blank, "option", "word", "what") for blank in advised.missing],
        "passed_over": [_fields(passed, "path", "label", "code", "reason") for passed in advised.passed_over],
        "way_out": None if out is None else _fields(out, "codes", "keep", "command"),
        "logs_not_taken": [_fields(left, "path", "reason") for left in advised.left_logs],
        "better": None if advised.better is None else advice(advised.better),
    }


def file(file: types.FileReport) -> dict[str, Any]:
    """One checkpoint."""
    checkpoint = file.checkpoint
    return {
        **_fields(checkpoint, "path", "size", "container", "layout"),
        "role": file.member.role,
        "trainer": file.trainer or None,
        "keys": list(checkpoint.keys),
        "tensors": count_tensors(checkpoint),
        "parameters": parameters(checkpoint),
        "training": _training(file.member),
        "verdict": file.verdict,
        "resume": file.resume,
        "not_checked": [_fields(point, "what", "why", "settle") for point in file.not_checked],
        "findings": [_fields(finding, *FINDING) for finding in file.findings],
    }


def _training(member: types.Member) -> dict[str, Any]:
    return {**_fields(member.state, *TRAINING), **dict.fromkeys(own_names(member))}


def unit(unit: types.FileReport) -> dict[str, Any]:
    """One checkpoint, which may be a folder or a set of files."""
    checkpoint, state = unit.checkpoint, unit.member.state
    plan = None if unit.plan is None else _fields(unit.plan, *PLAN)
    own = {key: plain(getattr(state, name)) for name, key in own_names(unit.member).items()}
    return {
        "path": str(checkpoint.path),
        "trainer": unit.trainer or None,
        "parts": [checkpoint.name_of(part) for part in checkpoint.parts],
        "training": {**_training(unit.member), "own": own},
        "verdict": unit.verdict,
        "resume": unit.resume,
        "plan": plan,
        "not_checked": [_fields(point, "what", "why", "settle") for point in unit.not_checked],
        "findings": [_fields(finding, *FINDING) for finding in unit.findings],
    }


STATISTICS = ("minimum", "maximum", "mean", "std", "zeros", "non_finite")


def inspected(judged: types.FileReport, measured: Sequence[types.Measured] | None = None) -> str:
    """The entry of a scan, with every tensor, the container's facts and the names that the pickle refers to.

    With `measured`, those tensors alone, with their statistics.
    """
    checkpoint = judged.checkpoint
    tensors = [tensor for tensor, _ in tensors_of(checkpoint)] if measured is None else [m.tensor for m in measured]
    statistics = [
        {"statistics": _fields(m.statistics, *STATISTICS) if m.statistics else None, "why_not": m.why_not or None}
        for m in measured or ()
    ] or [{}] * len(tensors)
    return dumps(
        {
            **HEAD,
            "file": file(judged),
            "metadata": plain(dict(checkpoint.metadata)),
            "globals": list(dict.fromkeys(str(name) for _, part in parts_of(checkpoint) for name in part.globals)),
            "tensors": [
                {
                    **_fields(tensor, "name", "dtype", "shape", "stride", "device"),
                    "bytes": tensor.nbytes,
                    "storage": tensor.storage.key,
                    "storage_offset": tensor.storage_offset,
                    **more,
                }
                for tensor, more in zip(tensors, statistics, strict=True)
            ],
            "migrations": [
                {**_fields(m, "when", "tool_version"), "edits": [plain(edit) for edit in m.edits]}
                for m in checkpoint.migrations
            ],
        }
    )


def compared(comparison: types.Comparison, left: Path, right: Path) -> str:
    """What differs between two files."""

    def entries(items: Sequence[types.Difference]) -> list[dict[str, Any]]:
        return [{"key": item.name, **_fields(item, "kind", "left", "right")} for item in items]

    return dumps(
        {
            "version": 1,
            "left": str(left),
            "right": str(right),
            "values": entries(comparison.values),
            "tensors": entries(comparison.tensors),
            **_fields(comparison, "unchanged_tensors", "deep", "not_compared"),
        }
    )


def migrated(results: Sequence[types.MigrationResult], runs: Sequence[types.RunReport] = ()) -> str:
    """What became of each file, by a migration or by an undo; after a migration also what to do about its `runs`."""
    return dumps(
        {
            **HEAD,
            "runs": [{"path": str(r.run.path), "advice": advice(r.advice)} for r in runs if r.advice is not None],
            "results": [
                {
                    **_fields(result, "path", "status", "message"),
                    "edits": [_fields(edit, "key", "op", "before", "after", "evidence") for edit in result.edits],
                    "refusals": [_fields(refusal, "migration", "reason", "settle") for refusal in result.refusals],
                    "findings_before": [finding.code for finding in result.before],
                    "findings_after": [finding.code for finding in result.after],
                    "notes": list(result.notes),
                }
                for result in results
            ],
        }
    )


def pruned(result: types.PruneResult) -> str:
    """The folders that were removed, and those that were not."""
    return dumps(
        {
            "version": 1,
            **_fields(result, "dry_run", "removed"),
            "spared": [_fields(spared, "path", "reason") for spared in result.spared],
            "not_resumable": plain(result.uncounted),
            **_fields(result, "kept", "freed", "deep", "departing", "preferred"),
            "reasons": [_fields(reason, "path", "codes") for reason in result.reasons],
        }
    )


def salvaged(result: types.SalvageResult) -> str:
    """What was recovered and what is lost, with all names."""
    return dumps(
        {
            "version": 1,
            "output": str(result.output),
            "size": result.nbytes,
            **_fields(result, "recovered", "lost", "taken_apart", "left_out", "good_for"),
        }
    )


def exported(result: types.ExportResult) -> str:
    """The tensors that were written, and other names of the same bytes."""
    return dumps(
        {
            **HEAD,
            **_fields(result, "source", "output"),
            "size": result.nbytes,
            "tensors": list(result.written),
            "shared": dict(result.shared),
            "left_out": list(result.left_out),
        }
    )


def demonstrated(folder: Path, files: Sequence[Path], command: str) -> str:
    """A sample run that was made."""
    return dumps({**HEAD, "path": str(folder), "files": list(map(str, files)), "next": command})


def latest(found: types.Latest) -> str:
    """The checkpoint to resume from, what the command must carry, what stays wrong, and why newer ones are no use."""
    file = found.file
    return dumps(
        {
            "version": 1,
            "path": None if file is None else str(file.checkpoint.path),
            "flags": list(file.plan.flags) if file is not None and file.plan is not None else [],
            "findings": [] if file is None else [finding.code for finding in file.serious],
            "passed_over": [{"path": str(path), "reason": reason} for path, reason in found.passed_over],
            "advice": None if found.advice is None else advice(found.advice),
        }
    )


def linted(linted: types.Linted) -> str:
    """The findings in scripts with their lines."""
    severities = [found.finding.severity for found in linted.findings]
    return dumps(
        {
            **HEAD,
            "scripts": plain(linted.scripts),
            "findings": [
                {
                    **_fields(found.finding, *FINDING),
                    **_fields(found, "path", "line", "column", "end_line", "cell"),
                    "code_line": found.excerpt,
                    "suggestion": found.suggestion,
                }
                for found in linted.findings
            ],
            "not_checked": [_fields(point, "what", "why", "settle") for point in linted.not_checked],
            "summary": {
                "scripts": len(linted.scripts),
                "errors": severities.count("error"),
                "warnings": severities.count("warning"),
            },
        }
    )


def rules(rules: Sequence[Rule]) -> str:
    """All rules with their manuals."""
    return dumps(
        [
            {
                **_fields(rule, "code", "name", "severity"),
                "manual": cleandoc(rule.manual),
                "by_trainers": [_fields(own, "trainers", "severity", "manual") for own in rule.by_trainers],
            }
            for rule in rules
        ]
    )


def plain(value: object, depth: int = 8) -> Any:
    """Any value of a file as a JSON value; nested down to `depth`, since a file may nest lists endlessly."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= 1024 else integer(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, types.NumpyScalar):
        return plain(value.value, depth)
    if isinstance(value, PurePath):
        return str(value)
    if depth and isinstance(value, Mapping):
        return {key if isinstance(key, str) else brief(key): plain(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth - 1) for item in value]
    return brief(value)
