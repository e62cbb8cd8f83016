"""What an optimizer shows whose state is in several files: those of DeepSpeed's ranks, or of FSDP's shards."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckpt_doctor.inert.shapes import find
from ckpt_doctor.trainers.hf_trainer.layout import DEEPSPEED, file_names, optimizer_name
from ckpt_doctor.trainers.state import integer
from ckpt_doctor.types import Checkpoint, real
from ckpt_doctor.types.record import record

_SHARD = ".distcp"
_STEP, _RATE = re.compile(r"(.*\.)?state\..+\.step"), re.compile(r"(.*\.)?param_groups\..+\.lr")
"""Keys of a state, flattened (torch/distributed/checkpoint/state_dict.py)."""


@record(frozen=True)
class Elsewhere:
    """The numbers of all files in which such an optimizer lies."""

    steps: tuple[tuple[str, int], ...] = ()
    """Each file with its highest step (a parameter without a gradient has fewer), and DeepSpeed's own count."""
    rates: tuple[tuple[str, float], ...] = ()
    skipped: bool = False
    """Whether DeepSpeed has skipped steps, which only its own count and the Trainer's include."""


def elsewhere(checkpoint: Checkpoint) -> Elsewhere | None:
    """What can be read of an optimizer that is in several files; None where it is in one."""
    if optimizer_name(checkpoint) in file_names(checkpoint):
        return None
    steps: list[tuple[str, int]] = []
    rates: list[tuple[str, float]] = []
    skipped = False
    for part in checkpoint.parts:
        name = checkpoint.name_of(part)
        if DEEPSPEED.match(name):
            skipped = skipped or (integer(part.get("skipped_steps")) or 0) > 0
            steps += [(name, count) for count in (integer(part.get("global_steps")),) if count is not None]
        for kind, found in _numbers(part) if "/" in name or "optimizer" in name else ():
            if kind == "step" and (step := integer(found)) is not None:
                steps.append((name, step))
            elif kind == "rate":
                rates.append((name, found))
    return Elsewhere(tuple(steps), tuple(rates), skipped)


def _numbers(part: Checkpoint) -> Iterator[tuple[str, float]]:
    if part.path.suffix != _SHARD:
        for optimizer in find(part).optimizers:
            yield from (("step", step) for step in (optimizer.step,) if step is not None)
            yield from (("rate", rate) for rate in map(real, optimizer.rates) if rate is not None)
        return
    flat = part.root.items() if isinstance(part.root, dict) else ()
    named = [(key, number) for key, value in flat if isinstance(key, str) and (number := real(value)) is not None]
    if steps := [number for key, number in named if _STEP.fullmatch(key)]:
        yield "step", max(steps)
    yield from (("rate", number) for key, number in named if _RATE.fullmatch(key))
