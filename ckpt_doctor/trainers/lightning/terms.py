"""What reports say of Lightning's checkpoints in its own terms."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.trainers.lightning.command import LightningFacts
from ckpt_doctor.types import Column, Facts, FileReport, ResumePlan, Terms


def best(file: FileReport) -> str:
    """The best score that ModelCheckpoint remembers."""
    return text.real(file.member.state.best_score)


def start(plan: ResumePlan, facts: Facts) -> str:
    """Where it begins. Epochs count from 0, as in the files' names."""
    if plan.start_epoch is None:
        return "" if plan.why_not_exact else "starts at an epoch that the loops' counters in the file do not show"
    of = f" of {text.integer(facts.train_epochs.value)}" if facts.train_epochs is not None else ""
    told = f"starts at epoch {text.integer(plan.start_epoch)}{of}"
    if not plan.skip_batches:
        return f"{told} with its first batch"
    batches = facts.batches if isinstance(facts, LightningFacts) else None
    of_batches = f" of {text.integer(batches.value)}" if batches else ""
    return f"{told} and counts on from batch {text.integer(plan.skip_batches)}{of_batches}"


def memory(file: FileReport, plan: ResumePlan, facts: Facts) -> str:
    """What ModelCheckpoint and EarlyStopping remember."""
    if plan.best_score is None:
        return ""
    told = f"remembers the best score {text.real(plan.best_score)}"
    if plan.counter is None:
        return told
    return f"{told}, {text.integer(plan.counter)} checks of EarlyStopping without improvement since"


TERMS = Terms(columns=(Column("best score", best, True, 3),), start=start, memory=memory)
