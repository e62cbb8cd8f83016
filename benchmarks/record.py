"""Cost of recording: the time of a training step with and without it, and the bytes that a step leaves in the trace.

    python benchmarks/record.py [--steps 400] [--repeat 5]

Models of 4, 60 and 150 parameters (linear layers with dropout, AdamW, OneCycleLR, shuffled batches from a DataLoader)
train on one CPU thread in this process, recorded and not in turn. Printed is the mean over all steps of the best run,
fingerprints of all weights included; the difference is what recording costs a step, whatever else a step does.
`--profile` prints where it goes.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ckpt_doctor.rehearsal import record

PARAMETERS = (4, 60, 150)
WIDTH, BATCH = 64, 16


def train(parameters: int, steps: int) -> list[float]:
    """Seconds of each step, from one batch to the next."""
    torch.manual_seed(1)
    layers = [layer for _ in range(parameters // 2) for layer in (nn.Linear(WIDTH, WIDTH), nn.Dropout(0.1))]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps + 1)
    x = torch.randn(BATCH * steps, WIDTH)
    times, before = [], time.perf_counter()
    for inputs, wanted in DataLoader(TensorDataset(x, x), batch_size=BATCH, shuffle=True):
        nn.functional.mse_loss(model(inputs), wanted).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        now = time.perf_counter()
        times.append(now - before)
        before = now
    return times


def recorded(parameters: int, steps: int) -> tuple[list[float], float]:
    """The same under the recorder, and the bytes of a step in its trace."""
    with tempfile.TemporaryDirectory() as folder:
        with record(Path(folder) / "run.trace") as trace:
            times = train(parameters, steps)
        return times, sum(file.stat().st_size for file in trace.iterdir()) / steps


def main() -> int:
    """Print a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.profile:
        with cProfile.Profile() as profile:
            recorded(PARAMETERS[-1], args.steps)
        pstats.Stats(profile).sort_stats("cumulative").print_stats("ckpt_doctor|recorder|zlib|json|posix")
        return 0
    print("parameters  without    with   cost a step  of 50 ms  ratio  bytes a step")
    for parameters in PARAMETERS:
        bare, watched, size = [], [], 0.0
        train(parameters, 20)
        for _ in range(args.repeat):
            bare.append(statistics.fmean(train(parameters, args.steps)))
            times, size = recorded(parameters, args.steps)
            watched.append(statistics.fmean(times))
        without, under = min(bare), min(watched)
        cost = under - without
        print(
            f"{parameters:10d}  {1e3 * without:4.2f} ms  {1e3 * under:4.2f} ms  {1e3 * cost:8.3f} ms  "
            f"{cost / 0.05:7.2%}  {under / without:5.2f}  {size:12.0f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
