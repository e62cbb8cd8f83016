"""What reports say of Accelerate's folders."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.types import Facts, ResumePlan, Terms


def start(plan: ResumePlan, facts: Facts) -> str:
    """Where the script goes on; it counts from the folder's name."""
    if plan.start_epoch is None:
        return "continues in an epoch that the script takes from the folder's name"
    where = f"continues in epoch {text.integer(plan.start_epoch)}"
    if plan.skip_batches is None:
        return f"{where}; how many batches it skips is open: give --steps-per-epoch"
    of = f" of {text.integer(facts.steps_per_epoch.value)}" if facts.steps_per_epoch is not None else ""
    if not plan.skip_batches:
        return f"{where} and skips no batches"
    return f"{where} and skips {text.integer(plan.skip_batches)}{of} batches"


TERMS = Terms(saved_by={"step": "saved by save_state"}, start=start)
