"""What reports say of a hand-written loop's checkpoints."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.types import Facts, ResumePlan, Terms


def start(plan: ResumePlan, facts: Facts) -> str:
    """Where it begins, in the script's own numbers."""
    if plan.start_epoch is None:
        return "starts at epoch or at epoch + 1: only the script shows which (P412)"
    source = facts.get("resume_epoch")
    return f"starts at epoch {text.integer(plan.start_epoch)}" + (f" ({source.source})" if source is not None else "")


TERMS = Terms(start=start)
