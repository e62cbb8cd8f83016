"""What the code of a training script shows about its checkpoints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from ckpt_doctor.types.facts import Evidence
from ckpt_doctor.types.record import record


@record(frozen=True)
class ScriptFacts:
    """How a training script saves and resumes; None where reading the code does not settle it.

    The source of each value is a line of the script: `train.py:31: for epoch in range(start_epoch, epochs)`.
    A *round* is one pass of the loop that the label counts: an epoch, or a step where the script counts steps.
    """

    path: Path
    key: str | None = None
    """The key under which a save holds its label: `epoch`, `iter_num`."""
    resume: Evidence[Literal["label", "label+1"]] | None = None
    """Index of the first round after a resume."""
    label: Evidence[Literal["finished", "next"]] | None = None
    """Whether a save is labelled with the index of the round that it has finished, or of the next one to train."""
    saved_after_step: Evidence[bool] | None = None
    """Whether a save comes after the scheduler's step of the same round."""
    rates_by_hand: Evidence[bool] | None = None
    """True where the script sets `initial_lr` itself, as no scheduler of torch needs it to: it computes its rates."""


_SETS_FIRST_RATE = re.compile(r"""\[\s*["']initial_lr["']\s*\]\s*=(?!=)|setdefault\(\s*["']initial_lr["']""")


def sets_first_rate(code: str) -> int | None:
    """The number of the line in which Python code sets `initial_lr`; None where it sets none. Linear in the code."""
    found = _SETS_FIRST_RATE.search(code)
    return None if found is None else code.count("\n", 0, found.start()) + 1
