"""Measure whole processes in turn, and collect what a case found."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("CKPT_DOCTOR_")
}
"""Compiled modules are kept, as they are where the package is installed."""

LAUNCH = """
import os, sys, time
nowhere = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=nowhere)
import ctypes
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(36, 1)
_, status, usage = os.wait4(child, 0)
wall, seconds, peak = time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss
try:
    while True:
        _, _, usage = os.wait4(-1, 0)
        seconds, peak = seconds + usage.ru_utime + usage.ru_stime, max(peak, usage.ru_maxrss)
except ChildProcessError:
    print(wall, seconds, peak)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Starts what is measured from a small process: a child's peak memory begins with its parent's. As a subreaper
(PR_SET_CHILD_SUBREAPER, 36) it also waits for workers that are no children of the process that it started."""


class Skipped(Exception):
    """A case that cannot run here; the message says why."""


@dataclass(frozen=True)
class Command:
    """A process to measure, and what is done before and after each of its runs, unmeasured."""

    words: Sequence[str]
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None


@dataclass(frozen=True)
class Cost:
    """What one process took, its own children included, or the median of several."""

    wall: float
    cpu: float
    """Seconds in user and system mode."""
    mebibytes: float = 0.0
    """Peak resident memory; 0 where it says nothing."""


@dataclass(frozen=True)
class Row:
    """One size of a case, and what each contender took for it."""

    label: str
    costs: Mapping[str, Cost]
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Further figures by the heading of their column."""
    series: str = ""
    """Rows of one series differ in their amount alone."""
    amount: float | None = None


def run(words: Sequence[str]) -> Cost:
    """One run. Raises RuntimeError with the end of what it printed when it fails."""
    launch = [sys.executable, "-I", "-S", "-c", LAUNCH, *words]
    done = subprocess.run(launch, capture_output=True, text=True, errors="replace", env=ENVIRONMENT, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)[:300]}\n{done.stderr[-2000:]}")
    wall, cpu, memory = map(float, done.stdout.split())
    # Linux counts kilobytes, macOS bytes
    return Cost(wall, cpu, memory / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure on its own."""
    return Cost(*(statistics.median(figures) for figures in zip(*map(astuple, costs), strict=True)))


@dataclass(frozen=True)
class Bench:
    """What a case works with."""

    folder: Path
    """Its own; removed after the case."""
    maker: Executor
    """One other process, which makes the files: torch is imported once."""
    quick: bool = False
    rounds: int | None = None
    large: bool = False

    def make(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a function of `files.py` in the other process, and wait until the disk has what it wrote."""
        self.maker.submit(function, *arguments).result()
        os.sync()

    def measure(self, contenders: Mapping[str, Command], rounds: int) -> dict[str, Cost]:
        """Medians of so many rounds by name. All run in each round, every other one backwards.

        A round more is not counted: it warms the page cache and compiles modules.
        """
        rounds = 1 if self.quick else self.rounds or rounds
        names = list(contenders)
        taken: dict[str, list[Cost]] = {name: [] for name in names}
        for number in range(0 if self.quick else -1, rounds):
            for name in names[:: -1 if number % 2 else 1]:
                command = contenders[name]
                if command.before:
                    command.before()
                cost = run(command.words)
                if command.after:
                    command.after()
                if number >= 0:
                    taken[name].append(cost)
        return {name: median(costs) for name, costs in taken.items()}
