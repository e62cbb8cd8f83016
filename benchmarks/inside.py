"""Cases that look into a process: what recording costs a training step, and where a scan's time goes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from .bench import ENVIRONMENT, ROOT, Bench, Cost, Row
from .case import Case
from .files import GIB, filled, hf_run, sized, small_files, weights


def record(bench: Bench) -> Iterator[Row]:
    """Models of more and more parameters."""
    steps, rounds = (5, 1) if bench.quick else (200, bench.rounds or 3)
    for parameters in (4, 60) if bench.quick else (4, 60, 150):
        found = printed("training", parameters, steps, rounds)
        costs = {name: Cost(*taken) for name, taken in found["costs"].items()}
        yield Row(f"{parameters} parameters", costs, {"bytes a step": found["bytes"]}, amount=parameters)


def profile(bench: Bench) -> Iterator[Row]:
    """What the other cases measure, by the modules that take the time."""
    count, many, steps, size = (10, 30, 2, 1 << 20) if bench.quick else (10_000, 1_000, 50, GIB)
    one, run, every, tree = (bench.folder / name for name in ("many.pt", "run", "filled.pt", "tree"))
    bench.make(weights, one, "zip", 4 * count, count)
    bench.make(small_files, tree, many)
    bench.make(hf_run, run, steps, GIB)
    bench.make(filled, every, size)
    yield shares(f"one zip, {count:,} tensors", bench, one)
    yield shares(f"{many:,} small files", bench, "--jobs", "1", tree)
    yield shares(f"a run of {steps} checkpoints", bench, run)
    yield shares(f"--deep, {sized(size)}", bench, "--deep", every)


def shares(label: str, bench: Bench, *words: object) -> Row:
    """Per cent of the samples by module, the largest first, and imports."""
    found: Counter[str] = Counter()
    for _ in range(1 if bench.quick else 3):
        found.update(printed("sampling", "scan", "--fail-on", "never", *words))
    return Row(label, {}, {name: 100 * number / found.total() for name, number in found.most_common()})


def printed(module: str, *words: object) -> Any:
    """What a module of the benchmark prints as JSON in a process of its own."""
    command = [sys.executable, "-m", f"{__package__}.{module}", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


RECORD = Case(
    "record",
    "Recording a training",
    "A step on one CPU thread (AdamW, dropout, OneCycleLR, a shuffled loader), with and without the recorder in turn.",
    record,
    (("a step recorded", "a step"),),
)
PROFILE = Case(
    "profile",
    "Where the time goes",
    "Samples of processor time, per cent, by the package's folders. Imports are those of click, numpy and the"
    " package itself.",
    profile,
    (),
)
