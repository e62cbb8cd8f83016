"""Seconds and peak memory of a migration, beside `cp` and beside `torch.load` + `torch.save`, in one run.

    python benchmarks/migrate.py [--folder DIR] [--sizes 10M 1G 8G] [--rounds 3]

Each contender is a process of its own and each round runs all of them in turn on the same file, which is back in its
first state (by undo) before the next; medians over the rounds are printed. `cp` leaves its bytes in the page cache,
while a replacement is on the disk before it counts, so `cp` followed by `sync FILE` stands beside it, and `mv` onto the
original, by which the old file is freed (which takes the kernel time too). A bare start of the program (`--version`,
and `scan` for start plus reading) says what of the time is not the migration's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

UNITS = {"M": 1 << 20, "G": 1 << 30}
LOAD_AND_SAVE = """
import sys, torch
path = sys.argv[1]
checkpoint = torch.load(path, map_location="cpu", weights_only=True)
checkpoint["best_score"] = -0.4
torch.save(checkpoint, path + ".new")
"""


def make(path: Path, size: int) -> None:
    """A training checkpoint of about `size` bytes: weights in pieces of at most 32 MiB, Adam, OneCycleLR."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    piece = min(8 << 20, size // 16)
    block = torch.randn(piece)
    model = {f"layer.{i}.weight": block.roll(i) for i in range(size // (4 * piece))}
    parameter = torch.nn.Parameter(torch.zeros(1000))
    optimizer = torch.optim.Adam([parameter], lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=225)
    parameter.grad = torch.ones(1000)
    optimizer.step()
    states = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save({"model": model, **states, "epoch": 2, "global_step": 90}, path)


def measure(command: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak MiB of a process. Raises RuntimeError with what it printed when it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{printed.decode()}")
    return seconds, usage.ru_maxrss / 1024


def compare(folder: Path, size: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Contender -> median seconds and peak MiB."""
    path = folder / "run" / "checkpoint"
    # In a process of its own: a child's peak memory counts from what its parent had when it was forked.
    maker = multiprocessing.get_context("spawn").Process(target=make, args=(path, size))
    maker.start()
    maker.join()
    copy = folder / "copy"
    doctor = [sys.executable, "-m", "ckpt_doctor"]
    migrate = [*doctor, "migrate", "--add-best-score", "--best-score", "-0.4", str(path)]
    undo = [*doctor, "undo", str(path)]
    contenders: dict[str, tuple[list[str], list[str] | None]] = {
        "start alone (--version)": ([*doctor, "--version"], None),
        "scan": ([*doctor, "scan", "--fail-on", "never", str(path)], None),
        "cp": (["cp", str(path), str(copy)], None),
        "cp + sync": (["sh", "-c", f"cp '{path}' '{copy}' && sync '{copy}'"], None),
        "cp + sync + mv": (["sh", "-c", f"cp '{path}' '{copy}' && sync '{copy}' && mv '{copy}' '{path}'"], None),
        "migrate (replace)": (migrate, [*undo, "--in-place"]),
        "migrate --in-place": ([*migrate, "--in-place"], None),
        "undo": (undo, None),
        "torch.load + torch.save": ([sys.executable, "-c", LOAD_AND_SAVE, str(path)], None),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, (command, afterwards) in contenders.items():
            for other in (copy, path.with_name(path.name + ".new")):
                other.unlink(missing_ok=True)
            # Others' unwritten pages must not be written on this one's time.
            os.sync()
            result = measure(command)
            if afterwards:
                measure(afterwards)
            if number:  # the first round warms the page cache and Python's compiled modules
                taken[name].append(result)
    return {
        name: (statistics.median(s for s, _ in results), max(m for _, m in results)) for name, results in taken.items()
    }


def bytes_of(text: str) -> int:
    """`8G` -> bytes."""
    return int(text[:-1]) * UNITS[text[-1].upper()]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-files"))
    parser.add_argument("--sizes", nargs="+", default=["10M", "1G", "8G"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for size in options.sizes:
        try:
            results = compare(options.folder, bytes_of(size), options.rounds)
        finally:
            shutil.rmtree(options.folder, ignore_errors=True)
        cp, synced, start = results["cp"][0], results["cp + sync"][0], results["start alone (--version)"][0]
        print(
            f"\n{size}: median of {options.rounds} rounds\n"
            f"{'':26}{'seconds':>9}{'MiB':>7}{'/ cp':>8}{'/ cp + sync':>13}"
        )
        for name, (seconds, memory) in results.items():
            print(f"{name:26}{seconds:9.3f}{memory:7.0f}{seconds / cp:8.2f}{seconds / synced:13.2f}")
        beyond = results["migrate --in-place"][0] - results["scan"][0]
        print(f"--in-place beyond a scan: {1000 * beyond:.0f} ms; replace beyond start-up / cp: "
              f"{(results['migrate (replace)'][0] - start) / cp:.2f}, / cp + sync: "
              f"{(results['migrate (replace)'][0] - start) / synced:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
