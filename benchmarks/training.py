"""Time the steps of a training with and without the recorder, in turn, and print both as JSON. A process of its own.

Linear layers with dropout, AdamW, OneCycleLR, shuffled batches from a DataLoader, on one CPU thread; fingerprints of
all weights, which the recorder takes now and then, are included.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ckpt_doctor.rehearsal import record

WIDTH, BATCH = 64, 16


def train(parameters: int, steps: int) -> tuple[float, float]:
    """Mean seconds of a step, wall and processor."""
    torch.manual_seed(1)
    layers = [layer for _ in range(parameters // 2) for layer in (nn.Linear(WIDTH, WIDTH), nn.Dropout(0.1))]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps + 1)
    x = torch.randn(BATCH * steps, WIDTH)
    wall, processor = time.perf_counter(), time.process_time()
    for inputs, wanted in DataLoader(TensorDataset(x, x), batch_size=BATCH, shuffle=True):
        nn.functional.mse_loss(model(inputs), wanted).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return (time.perf_counter() - wall) / steps, (time.process_time() - processor) / steps


def recorded(parameters: int, steps: int) -> tuple[tuple[float, float], float]:
    """The same under the recorder, and the bytes of a step in its trace."""
    with tempfile.TemporaryDirectory() as folder:
        with record(Path(folder) / "run.trace") as trace:
            taken = train(parameters, steps)
        return taken, sum(file.stat().st_size for file in trace.iterdir()) / steps


def main() -> None:
    """Measure."""
    parameters, steps, rounds = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    train(parameters, min(steps, 20))
    bare, watched, size = [], [], 0.0
    for _ in range(rounds):
        bare.append(train(parameters, steps))
        taken, size = recorded(parameters, steps)
        watched.append(taken)
    medians = {
        name: [statistics.median(figures) for figures in zip(*taken, strict=True)]
        for name, taken in (("a step", bare), ("a step recorded", watched))
    }
    print(json.dumps({"costs": medians, "bytes": size}))


if __name__ == "__main__":
    main()
