"""Results as text: tables for the terminal, and `docs/speed.md`, which `docs/refresh.py` makes of `results.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from tabulate import tabulate

from .case import Case
from .cases import CASES

PRINTED_MODULES = 5
WIDTH = 120
UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
INTRODUCTION = """# What it costs

Cost follows the metadata, not the file: a scan reads where the tensors are, and of the tensors no more than a few
numbers. This page is made from the results of one run of

```text
python -m benchmarks --json benchmarks/results.json     # some minutes; --help lists the cases and what they need
```

by `python docs/refresh.py`, so it says what was measured and nothing else. Each figure is of a whole process, start-up
included, and the median of several rounds in which all contenders ran in turn; files are in the page cache. A cell has
the wall time, and in brackets the processor time of all threads and child processes together. The columns with a stroke
are ratios of the same two; MiB is the peak memory of the first column's process. Figures below 0.1 s vary by some per
cent from run to run."""


def page(results: Mapping[str, Any]) -> str:
    """The whole of `docs/speed.md`."""
    lines = [INTRODUCTION, "", *head(results), *growth(results)]
    for case in CASES:
        if case.name in results["cases"]:
            lines += section(case, results["cases"][case.name])
    return "\n".join(lines) + "\n"


def head(results: Mapping[str, Any]) -> list[str]:
    """The machine."""
    about = results["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    quick = " These are figures of --quick: they mean nothing." if results["quick"] else ""
    return wrap(
        f"{about['processor']}, {about['cores']} cores, load {about['load']} at the start, {about['system']};"
        f" ckpt-doctor {about['ckpt-doctor']}, Python {about['python']}, {packages}; {about['date']}.{quick}",
        WIDTH,
    )


def growth(results: Mapping[str, Any]) -> list[str]:
    """What one more of each unit costs, in one table."""
    rows = []
    for found in results["cases"].values():
        for series, slopes in found.get("growth", {}).items():
            first, *others = ((name, seconds(slope["cpu"])) for name, slope in slopes.items())
            label = f"{found['unit']} ({series})" if series else found["unit"]
            rows.append([label, *first, memory(slopes[first[0]]["mebibytes"]), ", ".join(map(" ".join, others))])
    if not rows:
        return []
    text = "Processor time and memory, from the smallest row of a series to its largest; 0 where the two hardly differ."
    return ["", "## How cost grows", "", text, "", *table(["one more", "costs", "", "memory", "and others"], rows)]


def section(case: Case, found: Mapping[str, Any]) -> list[str]:
    """A case's heading, what it compares, its table."""
    lines = ["", f"## {case.title}", "", *wrap(case.text, WIDTH), ""]
    if "skipped" in found:
        return [*lines, *wrap(found["skipped"], WIDTH)]
    rows = found["rows"]
    return lines + (shares(rows) if case.name == "profile" else figures(rows))


def figures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of costs, other numbers and ratios."""
    names = list(dict.fromkeys(name for row in rows for name in row["costs"]))
    numbers = list(dict.fromkeys(name for row in rows for name in row["numbers"]))
    ratios = list(dict.fromkeys(name for row in rows for name in row["ratios"]))
    measured = any(row["costs"][names[0]]["mebibytes"] for row in rows)
    cells = []
    for row in rows:
        first = row["costs"].get(names[0])
        cells.append(
            [
                row["label"],
                *(cost(row["costs"].get(name)) for name in names),
                *([f"{first['mebibytes']:.0f}" if first else ""] if measured else []),
                *(f"{row['numbers'][name]:,.0f}" if name in row["numbers"] else "" for name in numbers),
                *(ratio(row["ratios"].get(name)) for name in ratios),
            ]
        )
    headings = ["", *names, *(["MiB"] if measured else []), *numbers, *ratios]
    if len(headings) > 3 * len(cells):  # wide and low: the other way round
        headings, *cells = map(list, zip(headings, *cells, strict=True))
    return table(headings, cells)


def shares(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The folders of the package across, the modules with the largest shares behind."""
    totals: list[Counter[str]] = []
    for row in rows:
        folders: Counter[str] = Counter()
        for name, share in row["numbers"].items():
            folders[name.split("/")[0]] += share
        totals.append(folders)
    columns = [name for name, share in sum(totals, Counter()).most_common() if share >= len(rows)]
    cells = []
    for row, folders in zip(rows, totals, strict=True):
        inside = [(name, share) for name, share in row["numbers"].items() if "/" in name][:PRINTED_MODULES]
        largest = ", ".join(f"{name} {share:.0f}" for name, share in inside)
        cells.append([row["label"], *(f"{folders[name]:.0f}" for name in columns), largest])
    return table(["", *columns, "the largest modules"], cells)


def table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """Readable as it is and as Markdown."""
    printed: str = tabulate(cells, headings, tablefmt="pipe", disable_numparse=True)
    return printed.splitlines()


def cost(figures: Mapping[str, float] | None) -> str:
    """`83 (75) ms`."""
    if figures is None:
        return ""
    wall, unit = seconds(figures["wall"]).split()
    return f"{wall} ({three(figures['cpu'] / UNITS[unit])}) {unit}"


def ratio(figures: Mapping[str, float] | None) -> str:
    """`0.25 (0.20)`."""
    return f"{factor(figures['wall'])} ({factor(figures['cpu'])})" if figures else ""


def factor(number: float) -> str:
    """Two digits, or all before the point."""
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}" if number >= 2 else f"{number:.2f}"


def seconds(number: float) -> str:
    """`1.63 s`, `83 ms`, `26 µs`."""
    for unit, size in UNITS.items():
        if number >= size:
            return f"{three(number / size)} {unit}"
    return "0"


def memory(mebibytes: float) -> str:
    """`2.1 KiB`."""
    return f"{three(mebibytes)} MiB" if mebibytes >= 1 else f"{three(mebibytes * 1024)} KiB" if mebibytes else "0"


def three(number: float) -> str:
    """Two digits behind a point that has one before it, none behind three."""
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
