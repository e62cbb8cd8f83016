"""The facts that a person can give of a hand-written loop, and what is known of them in a run."""

from __future__ import annotations

from typing import ClassVar

from ckpt_doctor.trainers.shared_facts import SHUFFLE, STEPS_PER_EPOCH
from ckpt_doctor.types import Choice, Evidence, Fact, Facts, Flag, Run
from ckpt_doctor.types.record import record

RESUME_EPOCH = Fact(
    "resume_epoch",
    Choice(("label", "label+1")),
    "Where the script starts on a resume: at the file's `epoch` (label), or one after it.",
    lambda word: f"a resume starts at epoch{' + 1' if word == 'label+1' else ''}",
)
EPOCH_LABEL = Fact(
    "epoch_label",
    Choice(("finished", "next")),
    "What the script saves as `epoch`: the number of the epoch that it has finished, or of the next one.",
    lambda word: f"epoch is the {word} one",
)
SAVED_AFTER_STEP = Fact(
    "saved_after_step",
    Flag(),
    "Whether the script saves after its scheduler's step of the same epoch, be that at the epoch's start.",
    lambda after: f"saved {'after' if after else 'before'} the scheduler's step",
)
RATES_BY_HAND = Fact(
    "rates_by_hand",
    Flag(),
    "Whether the script computes its rates itself, from an `initial_lr` that it sets, with no scheduler to save.",
    lambda by_hand: "rates by hand" if by_hand else "rates by a scheduler",
)
TABLE = (RESUME_EPOCH, EPOCH_LABEL, STEPS_PER_EPOCH, SAVED_AFTER_STEP, RATES_BY_HAND, SHUFFLE)
"""In the order in which reports show them."""


@record(frozen=True)
class PlainFacts(Facts):
    """The facts of one run of a hand-written loop. `steps_per_epoch` counts the optimizer's steps."""

    table: ClassVar[tuple[Fact, ...]] = TABLE

    resume_epoch: Evidence[str] | None = None
    epoch_label: Evidence[str] | None = None
    saved_after_step: Evidence[bool] | None = None
    rates_by_hand: Evidence[bool] | None = None


def facts_of(run: Run) -> PlainFacts:
    """The facts of a run of this trainer."""
    assert isinstance(run.facts, PlainFacts), "understand() made them"
    return run.facts
