"""Reading speed: ckpt-doctor against torch.load, torch.load(mmap=True), picklescan and cat, each in a fresh process.

    python benchmarks/read.py [folder for the files] [--repeat 5] [--large GIB]
    python benchmarks/read.py [folder for the files] --start [--repeat 31]

Writes four files or trees into the folder (1.1 GB; kept and used again): 1 GiB in 300 tensors, 30,000 tensors, a
6 MB pickle with 130,000 calls, 2,000 small files; with `--large` also one of that size. Prints the best time of each
whole process and its peak memory, and the ratio to `ckpt-doctor scan`; for `scan --deep` also to `cat`, which reads the
same bytes: as a whole, and what it takes beyond a scan. picklescan takes part where it is installed. The files are in
the page cache.

With `--start`: what a scan of the file of 1 GiB takes as a whole process, start-up included, beside picklescan, and
beside Python and click alone. Processor time (user and system), medians of runs in turn: a busy machine shifts all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MAIN = "from ckpt_doctor.cli.main import main; main()"
TORCH = "import sys, torch\nfor p in sys.argv[1:]: torch.load(p, weights_only=False)"
MMAP = "import sys, torch\nfor p in sys.argv[1:]: torch.load(p, weights_only=False, mmap=True)"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Compiled modules are kept, as they are where the package is installed."""
PICKLESCAN = "import sys; from picklescan.scanner import scan_file_path as s\nfor p in sys.argv[1:]: s(p)"


def commands(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Who takes part, by name: whole command lines."""
    python, files = [sys.executable, "-c"], list(map(str, paths))
    ours = [*python, MAIN, "scan", "--fail-on", "never"]
    where = [os.path.commonpath(files)]  # a file, or the folder of all
    return {
        "scan": [*ours, *where],
        "scan --deep": [*ours, "--deep", *where],
        "torch.load": [*python, TORCH, *files],
        "mmap=True": [*python, MMAP, *files],
        "picklescan": [*python, PICKLESCAN, *files],
        "cat": ["cat", *files],
    }


def starts(path: Path) -> dict[str, list[str]]:
    """What is compared with `--start`, by name: whole command lines."""
    python, ours = [sys.executable, "-c"], [sys.executable, "-c", MAIN]
    return {
        "python": [*python, "pass"],
        "import click": [*python, "import click"],
        "--version": [*ours, "--version"],
        "scan": [*ours, "scan", "--fail-on", "never", str(path)],
        "scan, JSON": [*ours, "scan", "--fail-on", "never", "--format", "json", str(path)],
        "picklescan": [*python, PICKLESCAN, str(path)],
    }


def files(folder: Path, large: int) -> dict[str, list[Path]]:
    """The files by what they hold; with one of so many GiB unless it is 0."""
    more = {f"{large} GiB, {300 * large:,} tensors": [folder / f"large-{large}.pt"]} if large else {}
    return more | {
        "1 GiB, 300 tensors": [folder / "big.pt"],
        "30,000 tensors": [folder / "many.pt"],
        "130,000 calls": [folder / "calls.pt"],
        "2,000 files": [folder / "small" / f"{number}.pt" for number in range(2000)],
    }


def write(folder: Path, large: int) -> None:
    """Make the files that are not there yet."""
    import torch

    (folder / "small").mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[], object]] = {
        "big.pt": lambda: {f"w{i}": torch.randn(894_785) for i in range(300)},
        "many.pt": lambda: {f"layer{i}.weight": torch.zeros(4, 3) for i in range(30_000)},
        "calls.pt": lambda: {"w": torch.zeros(1), "x": _calls()},
    }
    if large:
        block = torch.randn(894_785)
        makers[f"large-{large}.pt"] = lambda: {f"w{i}": block.roll(i) for i in range(300 * large)}
    for name, make in makers.items():
        if not (folder / name).exists():
            torch.save(make(), folder / name)
    for number, path in enumerate(files(folder, 0)["2,000 files"]):
        if not path.exists():
            torch.save({"w": torch.ones(4, 4), "epoch": number}, path)


def _calls() -> list[object]:
    import datetime

    first = datetime.datetime(2026, 1, 1)
    return [first + datetime.timedelta(seconds=i) for i in range(130_000)]


@dataclass(frozen=True)
class Cost:
    """What one process took."""

    seconds: float
    mebibytes: float
    """Peak resident memory."""
    processor: float = 0.0
    """Seconds of processor time, user and system."""


def run(command: Sequence[str]) -> Cost | None:
    """One run; None when the command cannot run here."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    return None if status else Cost(seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)


def best(command: Sequence[str], repeat: int) -> Cost | None:
    """The fastest of several runs; None when the command cannot run here."""
    costs = [cost for _ in range(repeat) if (cost := run(command))]
    return min(costs, key=lambda cost: cost.seconds, default=None)


def print_starts(path: Path, repeat: int) -> None:
    """Measure and print what starting costs."""
    taking_part = {name: command for name, command in starts(path).items() if run(command)}
    taken: dict[str, list[float]] = {name: [] for name in taking_part}
    for _ in range(repeat):
        for name, command in taking_part.items():
            if cost := run(command):
                taken[name].append(cost.processor)
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    other = medians.get("picklescan")
    for name, seconds in medians.items():
        print(f"{name:14}{1000 * seconds:7.1f} ms" + (f"  ({seconds / other:4.2f} x picklescan)" if other else ""))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("benchmark-files"))
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--large", type=int, default=0, metavar="GIB")
    parser.add_argument("--start", action="store_true")
    options = parser.parse_args()
    # In a process of its own: the peak memory of a child begins with its parent's
    writer = multiprocessing.get_context("spawn").Process(target=write, args=(options.folder, options.large))
    writer.start()
    writer.join()
    if options.start:
        print_starts(files(options.folder, 0)["1 GiB, 300 tensors"][0], options.repeat or 31)
        return
    names = list(commands([options.folder]))
    print(
        f"{'seconds / MiB (x scan)':22}"
        + "".join(f"{name:>21}" for name in names)
        + f"{'deep / cat':>12}{'beyond scan':>12}"
    )
    for title, paths in files(options.folder, options.large).items():
        costs = {name: best(command, options.repeat or 5) for name, command in commands(paths).items()}
        row, scan = f"{title:22}", costs["scan"]
        for cost in costs.values():
            if cost is None or scan is None:
                row += f"{'-':>21}"
            else:
                row += f"{cost.seconds:7.3f} /{cost.mebibytes:5.0f} ({cost.seconds / scan.seconds:4.1f})"
        deep, cat = costs["scan --deep"], costs["cat"]
        if deep and cat and scan:
            row += f"{deep.seconds / cat.seconds:12.2f}{(deep.seconds - scan.seconds) / cat.seconds:12.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
