"""Results as JSON: what was measured, on which machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ckpt_doctor.version import __version__

from .bench import Cost, Row
from .case import Case

BESIDE = ("torch", "numpy", "safetensors", "isal", "picklescan", "fsspec")


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    try:
        named = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        named = None
    return {
        "processor": named[1] if named else platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "packages": {name: version for name in BESIDE if (version := installed(name))},
        "ckpt-doctor": __version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def installed(package: str) -> str | None:
    """Its version."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def as_json(case: Case, rows: Sequence[Row]) -> dict[str, Any]:
    """A case's rows with their ratios, and what one more of its unit costs."""
    return {
        "unit": case.unit,
        "rows": [
            {
                "label": row.label,
                "series": row.series,
                "amount": row.amount,
                "costs": {name: rounded(asdict(cost)) for name, cost in row.costs.items()},
                "numbers": rounded(row.numbers),
                "ratios": ratios(case, row),
            }
            for row in rows
        ],
        "growth": growth(rows) if case.unit else {},
    }


def ratios(case: Case, row: Row) -> dict[str, dict[str, float]]:
    """`scan / cat` -> wall and processor time."""
    return {
        f"{ours} / {other}": rounded({"wall": mine.wall / theirs.wall, "cpu": mine.cpu / max(theirs.cpu, 1e-4)})
        for ours, other in case.ratios
        if (mine := row.costs.get(ours)) and (theirs := row.costs.get(other))
    }


def growth(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """Series -> contender -> what one more costs, between its smallest and its largest row."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for series in dict.fromkeys(row.series for row in rows):
        those = [row for row in rows if row.series == series and row.amount is not None]
        for name in dict.fromkeys(name for row in those for name in row.costs):
            taking_part = [(row.amount, row.costs[name]) for row in those if name in row.costs]
            (few, small), (many, large) = taking_part[0], taking_part[-1]
            if few is not None and many is not None and many > few:
                found.setdefault(series, {})[name] = per_one(small, large, many - few)
    return found


def per_one(small: Cost, large: Cost, more: float) -> dict[str, float]:
    """Wall time, processor time and memory of one more; 0 where the two differ by less than a fifth, which is noise."""
    first, last = asdict(small), asdict(large)
    return rounded({name: (last[name] - first[name]) / more * (last[name] > 1.2 * first[name]) for name in first})


def rounded(figures: Any) -> dict[str, float]:
    """Four digits each."""
    return {name: float(f"{figure:.4g}") for name, figure in figures.items()}
