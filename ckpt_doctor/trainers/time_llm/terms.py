"""What reports say of Time-LLM's checkpoints in its own terms: EarlyStopping's memory, and where its trainer starts."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.types import Column, Facts, FileReport, ResumePlan, Terms


def best_score(file: FileReport) -> str:
    """EarlyStopping's memory: the score, `missing` where there should be one, `none yet` before any validation."""
    state, expected = file.member.state, file.resume_point.early_stopping
    if state.best_score is not None:
        return text.real(state.best_score)
    if any(finding.name == "missing-best-score" for finding in file.findings):
        return "missing"
    return "none yet" if expected is not None and expected.value.best_score is None else "-"


def start(plan: ResumePlan, facts: Facts) -> str:
    """Where it begins. Epochs count from 0 in the trainer's arguments and files, from 1 in its log."""
    if plan.start_epoch is None:
        return "starts in its epoch or in the next one: give --steps-per-epoch"
    epoch = plan.start_epoch
    of = f" of {text.integer(facts.train_epochs.value)}" if facts.train_epochs is not None else ""
    log = f" (epoch {text.integer(epoch + 1)} in the log)"
    if plan.skip_batches is None:
        skip = "how many batches it skips is open: give --steps-per-epoch"
    elif plan.skip_batches == 0:
        skip = "skips no batches"
    else:
        of_batches = f" of {text.integer(facts.steps_per_epoch.value)}" if facts.steps_per_epoch is not None else ""
        skip = f"skips {text.integer(plan.skip_batches)}{of_batches} batches"
    return f"starts at epoch {text.integer(epoch)}{of}{log} and {skip}"


def early_stopping(file: FileReport, plan: ResumePlan, facts: Facts) -> str:
    """What EarlyStopping remembers."""
    if plan.best_score is None:
        expected = file.resume_point.early_stopping
        if expected is not None and expected.value.best_score is None:
            return "knows no validation loss yet, as it should before the first validation"
        return "remembers no best validation loss (best_score is missing)"
    if isinstance(facts, TimeLLMFacts) and facts.is_first_patch:
        return (
            f"forgets the best validation loss, which the file has ({text.real(-plan.best_score)}): the run's own "
            "trainer, the first patch, does not read best_score"
        )
    best = f"remembers best validation loss {text.real(-plan.best_score)}"
    if plan.counter is None:
        return best
    patience = f" of {text.integer(facts.patience.value)}" if facts.patience is not None else ""
    return f"{best}, {text.integer(plan.counter)}{patience} epochs without improvement since"


def landing(file: FileReport, plan: ResumePlan) -> tuple[tuple[str, str, str], ...]:
    """EarlyStopping's best loss after a resume, from the file as it is and from the repaired one."""
    known = file.resume_point.early_stopping
    best = None if known is None or known.value.best_score is None else -known.value.best_score
    now = None if plan.best_score is None else -plan.best_score
    return (("best validation loss", text.real(now, "none"), text.real(best, "none" if known else "-")),)


TERMS = Terms(
    columns=(Column("best score", best_score, True, 3),),
    saved_by={"best": "saved by EarlyStopping", "step": "saved by save_steps"},
    start=start,
    memory=early_stopping,
    within_epoch="dropout, where the model has any, draws other noise within an epoch",
    landing=landing,
)
