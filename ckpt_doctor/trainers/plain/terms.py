"""What reports say of a hand-written loop's checkpoints."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.types import Facts, ResumePlan, Terms


def start(plan: ResumePlan, facts: Facts) -> str:
    """Where it begins, in the script's own numbers."""
    noun = "step" if plan.begins_at_step else "epoch"
    if plan.begins is None:
        return f"starts at {noun} or at {noun} + 1: only the script shows which (P412)"
    source = facts.get("resume_epoch")
    return f"starts at {noun} {text.integer(plan.begins)}" + (f" ({source.source})" if source is not None else "")


TERMS = Terms(start=start)
