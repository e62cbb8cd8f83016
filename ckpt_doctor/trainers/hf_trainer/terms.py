"""What reports say of the Trainer's checkpoints in its own terms."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.trainers.hf_trainer.best import early_stopping
from ckpt_doctor.types import Column, Facts, FileReport, ResumePlan, Terms


def best_metric(file: FileReport) -> str:
    """The best metric that the state remembers."""
    return text.real(file.member.state.best_score, "-")


def start(plan: ResumePlan, facts: Facts) -> str:
    """Where the Trainer begins. It counts epochs from 0."""
    if plan.start_epoch is None or plan.skip_batches is None:
        return "starts in an epoch that no file shows"
    if plan.skip_batches == 0:
        return f"starts at the beginning of epoch {text.integer(plan.start_epoch)}"
    skipped = "batch" if plan.skip_batches == 1 else f"{text.integer(plan.skip_batches)} batches"
    return f"starts in epoch {text.integer(plan.start_epoch)} and skips its first {skipped}"


def memory(file: FileReport, plan: ResumePlan, facts: Facts) -> str:
    """What it remembers of the best model, and how long EarlyStopping has waited."""
    best = "remembers no best metric"
    if plan.best_score is not None:
        best = f"remembers best metric {text.real(plan.best_score)}"
    waiting = early_stopping(file.member)
    if not waiting or plan.counter is None:
        return best
    counted = f"{text.integer(plan.counter)} of {text.integer(waiting[0].patience)}"
    return f"{best}; EarlyStopping has counted {counted} evaluations without improvement"


def landing(file: FileReport, plan: ResumePlan) -> tuple[tuple[str, str, str], ...]:
    """The best metric after a resume."""
    now = text.real(plan.best_score, "none")
    return (("best metric", now, now),) if plan.best_score is not None else ()


TERMS = Terms(
    columns=(Column("best metric", best_metric, True, 3),),
    saved_by={"best": "the best so far", "step": "the Trainer"},
    start=start,
    memory=memory,
    landing=landing,
)
