"""Families L and P: bare weights, and EarlyStopping's file in its place in the run."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.types import Case, Run
from ckpt_doctor.validators.rule import Problem, rule


@rule("L301", "legacy-state-dict", "error", migration="upgrade")
def legacy_state_dict(case: Case) -> Iterator[Problem]:
    """A bare state_dict: weights and nothing else.

    The trainer reads `ckpt['model']`, `ckpt['optimizer']` and the rest, and fails on a bare state_dict (the first
    patch's `run_main.py`), or loads the weights and starts at epoch 0 with a fresh optimizer and schedule
    (`run_m4.py`).

    Example: the `checkpoint` of a run made before the trainer was patched.

    Cure: `ckpt-doctor migrate --upgrade` makes a training checkpoint of it, with the epoch, step and best score that
    the run's log proves. Adam's moments are lost and stay lost.

    Source: trainer contract, section 1; measured: weights load, everything else starts at epoch 0, step 0.
    """
    checkpoint = case.checkpoint
    if checkpoint.layout != "state-dict":
        return
    yield Problem(
        "bare state_dict: weights without optimizer, schedule, epoch or step; the trainer cannot resume from it",
        fix="" if checkpoint.container == "safetensors" else None,
        found="state_dict",
        expected="a dict with model, optimizer, scheduler, epoch, global_step",
    )


@rule("P405", "epoch-end-not-validated", "warning")
def epoch_end_not_validated(case: Case) -> Iterator[Problem]:
    """A step checkpoint saved exactly at an epoch's end, and no sign that the epoch was validated.

    Time-LLM writes it before the epoch's validation (A before C). The resumed trainer begins the next epoch, so that
    validation, its EarlyStopping call and a possible new `checkpoint` never happen.

    Example: `checkpoint_step_90` with 45 steps per epoch, and a log that ends before `Epoch: 2 | ... Vali Loss`.

    Cure: validate these weights by hand, or resume from a checkpoint within the epoch. When the log has the epoch's
    line, `ckpt-doctor migrate --add-best-score` puts the EarlyStopping state of after it into the file.

    Source: trainer contract, section 3 and fact 12.
    """
    resume, plan = case.resume, case.plan
    if case.member.role != "step" or resume.skip_batches != 0 or not resume.finished_epochs:
        return
    if plan is None or (plan.start_epoch or 0) < resume.finished_epochs:
        return  # the epoch is trained again (P402), and its validation comes then
    if "early_stopping" in resume.unsettled:
        yield Problem(
            f"saved exactly at the end of epoch {resume.finished_epochs - 1}, before its validation, which the resumed "
            "run never makes up for: if this is the best model so far, `checkpoint` does not get it",
            where="global_step",
            found=case.state.global_step,
        )


@rule("P406", "best-checkpoint-missing", "info", "run")
def best_checkpoint_missing(run: Run) -> Iterator[Problem]:
    """The run has validated at least one epoch, and EarlyStopping's `checkpoint` is not there.

    The first validation always saves one. At the end of training the trainer loads it; without it, that fails.

    Example: a run folder of which only the step folders were copied.

    Cure: copy the file from where the run was trained.

    Source: trainer contract, sections 2 and 6.
    """
    steps = [member for member in run.members if member.role == "step"]
    there = {"checkpoint"} & {path.name for path in run.unjudged}
    if not steps or there or any(member.role == "best" for member in run.members):
        return
    latest = max(member.state.epoch or 0 for member in steps)
    if latest > 0:
        yield Problem(
            f"no `checkpoint` (EarlyStopping's best model) in a run that is in epoch {latest}: it was moved or deleted"
        )


RULES = (legacy_state_dict, epoch_end_not_validated)
RUN_RULES = (best_checkpoint_missing,)
