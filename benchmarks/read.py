"""Reading speed: ckpt-doctor's readers against torch.load, torch.load(mmap=True) and picklescan, in fresh processes.

    python benchmarks/read.py [folder for the files] [--repeat 5]

Writes four files or trees into the folder (1.1 GB; kept and used again): 1 GiB in 300 tensors, 30,000 tensors, a
6 MB pickle with 130,000 calls, 2,000 small files. Prints the best time of each, start-up included, and its ratio to the
first. picklescan takes part where it is installed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

OURS = "import sys; from ckpt_doctor.readers import open_checkpoint as o\nfor p in sys.argv[1:]: o(p)"
DEEP = (
    "import sys; from ckpt_doctor.readers import open_checkpoint as o\n"
    "from ckpt_doctor.readers.deep import deep_check as d\nfor p in sys.argv[1:]: d(o(p))"
)
TORCH = "import sys, torch\nfor p in sys.argv[1:]: torch.load(p, weights_only=False)"
MMAP = "import sys, torch\nfor p in sys.argv[1:]: torch.load(p, weights_only=False, mmap=True)"
PICKLESCAN = "import sys; from picklescan.scanner import scan_file_path as s\nfor p in sys.argv[1:]: s(p)"
CAT = "import subprocess, sys\nfor p in sys.argv[1:]: subprocess.run('cat \"$0\" > /dev/null', shell=True)"


def files(folder: Path) -> dict[str, list[Path]]:
    """The files, written on first use."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)

    def saved(name: str, value: Callable[[], object]) -> list[Path]:
        path = folder / name
        if not path.exists():
            torch.save(value(), path)
        return [path]

    small = folder / "small"
    if not small.exists():
        small.mkdir()
        for number in range(2000):
            torch.save({"w": torch.ones(4, 4), "epoch": number}, small / f"{number}.pt")
    return {
        "1 GiB, 300 tensors": saved("big.pt", lambda: {f"w{i}": torch.randn(894_785) for i in range(300)}),
        "30,000 tensors": saved("many.pt", lambda: {f"layer{i}.weight": torch.zeros(4, 3) for i in range(30_000)}),
        "130,000 calls": saved("calls.pt", lambda: {"w": torch.zeros(1), "x": _calls()}),
        "2,000 files": sorted(small.iterdir()),
    }


def _calls() -> list[object]:
    import datetime

    first = datetime.datetime(2026, 1, 1)
    return [first + datetime.timedelta(seconds=i) for i in range(130_000)]


def best(code: str, paths: list[Path], repeat: int) -> float | None:
    """Seconds of the fastest of several runs; None when the code cannot run here."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True)
        if done.returncode:
            return None
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("benchmark-files"))
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    readers = {
        "ours": OURS,
        "ours, deep": DEEP,
        "torch.load": TORCH,
        "mmap": MMAP,
        "picklescan": PICKLESCAN,
        "cat": CAT,
    }
    print(f"{'seconds (ratio to ours)':24}" + "".join(f"{name:>18}" for name in readers))
    for name, paths in files(options.folder).items():
        row, ours = f"{name:24}", None
        for code in readers.values():
            seconds = best(code, paths, options.repeat)
            ours = ours or seconds
            row += f"{'-':>18}" if seconds is None or ours is None else f"{seconds:>9.3f} ({seconds / ours:5.1f})"
        print(row, flush=True)


if __name__ == "__main__":
    main()
