"""Family E: what EarlyStopping remembers after the resume."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ckpt_doctor.types import (
    LOG_PRECISION,
    Case,
    EarlyStoppingState,
    NotChecked,
    Opaque,
    Run,
    TensorRef,
    python_value,
    real,
    same_score,
)
from ckpt_doctor.validators.contents import describe
from ckpt_doctor.validators.rule import Problem, rule


def _expected(case: Case) -> EarlyStoppingState | None:
    return case.resume.early_stopping.value if case.resume.early_stopping else None


@rule("E601", "missing-best-score", "warning", migration="add-best-score")
def missing_best_score(case: Case) -> Iterator[Problem]:
    """EarlyStopping restarts blind: `best_score` is not in the file.

    With `best_score` None Time-LLM counts the first epoch after the resume as an improvement, however bad it is, and
    overwrites `checkpoint`, the best model. A checkpoint from before the first validation has no best score yet and
    needs none.

    Example: every checkpoint of the first patch of Time-LLM.

    Cure: `ckpt-doctor migrate --add-best-score`; the value comes from a sibling checkpoint, from the run's log (`--log`
    where it is not found), or from you (`--best-score`, `--val-loss`). The first patch's trainer does not read it: use
    the complete trainer to resume.

    Source: trainer contract, section 6 and section 8, problem 1; fact 15.
    """
    if case.checkpoint.layout != "training" or case.checkpoint.get("best_score") is not None:
        return
    finished = case.resume.finished_epochs
    if finished == 0 or (finished is None and not case.state.epoch and case.member.role != "best"):
        return
    evidence = case.resume.early_stopping
    if evidence is None and _never_validated(case):
        return
    best = evidence.value.best_score if evidence else None
    told = f" (validation loss {-best:.7f}; {evidence.source})" if evidence and best is not None else ""
    yield Problem(
        "no best_score: EarlyStopping would start blind, and the first epoch after the resume would overwrite the best "
        f"model{told}, however bad it is",
        where="best_score",
        expected=best,
        fix=_by_hand(case),
        migration="add-best-score",
    )


def _by_hand(case: Case) -> str | None:
    """The cure where nothing in the run proves the value."""
    return None if case.resume.early_stopping else "ckpt-doctor migrate --add-best-score --val-loss LOSS FILE"


def _never_validated(case: Case) -> bool:
    """Whether the trainer wrote that it knows no score yet, and no best file is there, as a validation leaves one.

    A run that was killed in its first validation and went on from the step file before it is in epoch 1 like that.
    """
    others = [member for member in case.run.members if member.checkpoint.path != case.checkpoint.path]
    return "best_score" in case.checkpoint.keys and bool(others) and all(m.role != "best" for m in case.run.members)


@rule("E602", "implausible-best-score", "warning", migration="add-best-score")
def implausible_best_score(case: Case) -> Iterator[Problem]:
    """`best_score` cannot be minus a validation loss: it is positive, NaN or infinite.

    A positive score (the loss itself, with its sign forgotten) is never beaten, so no model is saved any more and
    EarlyStopping stops the run. NaN loses every comparison: the next epoch is taken for an improvement, however bad.
    Where the run itself had that loss, this is only a note: the resume goes on as the uninterrupted run would.

    Example: `best_score` 0.4123 where the validation loss was 0.4123: it must be -0.4123.

    Cure: `ckpt-doctor migrate --add-best-score` replaces it where the log or a sibling proves the true one.

    Source: trainer contract, section 6 (`score = -val_loss`, `score < best_score + delta`).
    """
    raw = case.checkpoint.get("best_score")
    value = python_value(raw)
    if case.checkpoint.layout != "training" or value is None:
        return
    if not isinstance(value, (int, float)) or real(value) is None:
        like_one = isinstance(value, (bool, Opaque)) or (isinstance(value, TensorRef) and value.numel == 1)
        yield Problem(
            f"best_score is {describe(value)}, not a number: "
            + ("the trainer never writes one" if like_one else "EarlyStopping cannot compare with it"),
            where="best_score",
            found=describe(value),
            severity=None if like_one else "error",
            fix=_by_hand(case),
            migration="add-best-score",
        )
    elif math.isnan(value):
        known = case.resume.early_stopping
        lived_through = known is not None and known.value.best_score is not None and math.isnan(known.value.best_score)
        yield Problem(
            "best_score is NaN: no comparison with it holds, so the next epoch overwrites the best model, however bad"
            + (" (as in the uninterrupted run, whose validation loss it was)" if lived_through else ""),
            where="best_score",
            found=value,
            severity="info" if lived_through else None,
            fix="" if lived_through else _by_hand(case),
            migration=None if lived_through else "add-best-score",
        )
    elif math.isinf(value) or value > 0:
        why = "positive: a loss with its sign forgotten is never beaten" if value > 0 else "infinite"
        yield Problem(
            f"best_score {value:.7g} is {why}; it must be minus the best validation loss",
            where="best_score",
            found=value,
            expected=-value if 0 < value < math.inf else None,
            fix=_by_hand(case),
            migration="add-best-score",
        )


@rule("E603", "val-loss-min-mismatch", "warning", migration="add-best-score")
def val_loss_min_mismatch(case: Case) -> Iterator[Problem]:
    """`val_loss_min` is not `-best_score`.

    The trainer saves the best checkpoint before EarlyStopping has updated itself: best_score is the new one,
    val_loss_min still the previous one (infinite in the first). After the resume the log names a wrong previous loss,
    and the next best checkpoint carries it on.

    An error where it is no number at all: the trainer prints it at the next improvement, and stops there.

    Example: `best_score` -0.41 with `val_loss_min` inf in `checkpoint`.

    Cure: `ckpt-doctor migrate --add-best-score` sets both.

    Source: trainer contract, section 6 and fact 6.
    """
    score, least = case.state.best_score, case.state.val_loss_min
    if score is not None and not _proper(score):
        return
    raw = case.checkpoint.get("val_loss_min")
    if least is None or (isinstance(raw, TensorRef) and raw.shape):
        if "val_loss_min" in case.checkpoint.keys and (score is not None or case.checkpoint.get("best_score") is None):
            like_one = isinstance(raw, (bool, Opaque))
            yield Problem(
                f"val_loss_min is {describe(raw)}, not a number: "
                + (
                    "the trainer never writes one"
                    if like_one
                    else "the next epoch that improves stops when it is printed"
                ),
                where="val_loss_min",
                found=describe(raw),
                expected=math.inf if score is None else abs(score),
                severity=None if like_one else "error",
                fix=None if score is not None or case.resume.early_stopping else "",
            )
    elif score is not None and not same_score(least, -score):
        yield Problem(
            f"val_loss_min is {least:.7g} with best_score {score:.7g}: saved before EarlyStopping had updated itself",
            where="val_loss_min",
            found=least,
            expected=abs(score),
            fix=_by_hand(case),
            migration="add-best-score",
        )


@rule("E604", "patience-exhausted", "warning")
def patience_exhausted(case: Case) -> Iterator[Problem | NotChecked]:
    """`counter` has reached the patience: the next epoch without improvement ends the training.

    The uninterrupted run has stopped here. Time-LLM's resumed run trains an epoch more, and then stops at once unless
    it has improved.

    Example: `counter` 10 with `--patience 10`.

    Cure: none in the file; `--resume_counter 0` starts the patience anew (complete trainer), a larger `--patience`
    goes on.

    Source: trainer contract, sections 2 and 6.
    """
    counter, patience = case.state.counter, case.run.facts.patience
    if counter is None or counter <= 0:
        return
    if patience is None:
        yield NotChecked("patience", "--patience of the run is not known", "--patience")
    elif counter >= patience.value:
        yield Problem(
            f"counter {counter} of {patience.value} epochs without improvement: EarlyStopping ends the run at once",
            where="counter",
            found=counter,
            expected=f"below {patience.value}",
            fix="add --resume_counter 0 to the resume command, or a larger --patience",
        )


@rule("E605", "log-disagrees", "warning", migration="add-best-score")
def log_disagrees(case: Case) -> Iterator[Problem | NotChecked]:
    """`best_score` or `counter` is not what the run's history says.

    Time-LLM's EarlyStopping, replayed over the log's validation losses or read from a sibling checkpoint saved in the
    same state, has another best score or another count of epochs without improvement at this point.

    Example: `counter` 0 in a step checkpoint after two epochs that did not improve.

    Cure: `ckpt-doctor migrate --add-best-score` writes what the history proves.

    Source: trainer contract, section 6.
    """
    evidence, expected = case.resume.early_stopping, _expected(case)
    score, counter = case.state.best_score, case.state.counter
    if case.checkpoint.layout != "training":
        return
    if evidence is None or expected is None:
        if case.gate and score is not None and (option := case.resume.unsettled.get("early_stopping")):
            why = "neither a log nor another checkpoint of the run shows them"
            yield NotChecked("best_score and counter against the run's history", why, option)
        return
    if score is not None and math.isfinite(score) and score <= 0 and not same_score(score, expected.best_score):
        shown = "none yet" if expected.best_score is None else f"{expected.best_score:.7f}"
        yield Problem(
            f"best_score is {score:.7f}, the run's history says {shown} ({evidence.source})",
            where="best_score",
            found=score,
            expected=expected.best_score,
        )
    elif score is not None and (counter or 0) != expected.counter and case.member.role != "best" and _has_counter(case):
        has = f"counter is {counter}" if counter is not None else "there is no counter, which counts as 0"
        yield Problem(
            f"{has}; the run's history says {expected.counter} ({evidence.source})",
            where="counter",
            found=counter,
            expected=expected.counter,
        )


def _has_counter(case: Case) -> bool:
    """Whether the trainer reads a count from the file, or its default where there is no such key."""
    counter = case.state.counter
    return counter >= 0 if counter is not None else "counter" not in case.checkpoint.keys


@rule("E606", "stale-counter", "warning", migration="add-best-score")
def stale_counter(case: Case) -> Iterator[Problem]:
    """The best checkpoint still counts the epochs before its improvement.

    EarlyStopping saves the file before it sets its counter back to 0, so a resume from the best checkpoint starts with
    patience already used up, and the run stops too early.

    Example: `counter` 3 in a `checkpoint` that was saved because the loss improved.

    Cure: `ckpt-doctor migrate --add-best-score` sets it to 0, as `--resume_counter 0` does for one resume.

    Source: trainer contract, section 6 and fact 6.
    """
    counter, expected = case.state.counter, _expected(case)
    # A blind EarlyStopping has saved a worse model as the best: the uninterrupted run's counter then is not 0.
    if counter and expected is not None and counter == expected.counter:
        return
    if case.member.role == "best" and case.checkpoint.layout == "training" and counter:
        yield Problem(
            f"counter is {counter} in the best checkpoint, which is saved because the loss improved: it must be 0",
            where="counter",
            found=counter,
            expected=0,
        )


@rule("E608", "evidence-disagrees", "warning")
def evidence_disagrees(case: Case) -> Iterator[Problem]:
    """The run's files and its log tell different EarlyStopping states for the same point.

    The best checkpoint, a sibling saved in the same state and the log's validation losses must agree to the log's 7
    decimals. Where they do not, one of them belongs to another run, was edited, or was overwritten by a resume that
    went another way; a value taken from either may be wrong.

    Example: `checkpoint_step_140` remembers best_score -0.41, the log's best validation loss so far is 0.38.

    Cure: find out which of them is of this run, and give the value: `--best-score`, `--val-loss` or another `--log`.
    `ckpt-doctor migrate --add-best-score` without one takes the first that is named.

    Source: trainer contract, sections 6 and 9 (a sibling's value is exact, the log's has 7 decimals).
    """
    if case.resume.disagreement and case.checkpoint.layout == "training":
        yield Problem(
            f"the run's files and its log do not agree: {case.resume.disagreement}",
            where="best_score",
            fix="give the true one: --best-score X or --val-loss X with migrate --add-best-score",
        )


@rule("E607", "best-checkpoint-outdone", "warning", "run")
def best_checkpoint_outdone(run: Run) -> Iterator[Problem]:
    """A step checkpoint knows a better score than the best checkpoint has.

    `checkpoint` was overwritten by a worse model: a run was resumed with EarlyStopping blind.

    Example: `checkpoint_step_200` remembers best_score -0.38, `checkpoint` has -0.41 and is of a later epoch.

    Cure: none in the file; the better weights survive only in a step checkpoint near that epoch, if there is one.

    Source: trainer contract, section 8, problem 1.
    """
    best = next((m for m in run.members if m.role == "best" and _proper(m.state.best_score)), None)
    if best is None or best.state.best_score is None:
        return
    mine = best.state.best_score
    known = [(m.state.best_score, m) for m in run.members if m.role == "step" and _proper(m.state.best_score)]
    score, member = max(known, key=lambda item: item[0] or 0.0, default=(None, best))
    if score is not None and score > mine + LOG_PRECISION:
        yield Problem(
            f"{member.checkpoint.path.parent.name} knows a validation loss of {abs(score):.7f}, `checkpoint` has "
            f"{abs(mine):.7f}: the best model was overwritten by a worse one",
            where="checkpoint",
            found=mine,
            expected=score,
        )


def _proper(score: float | None) -> bool:
    return score is not None and math.isfinite(score) and score <= 0


RULES = (
    missing_best_score,
    implausible_best_score,
    val_loss_min_mismatch,
    patience_exhausted,
    log_disagrees,
    stale_counter,
    evidence_disagrees,
)
RUN_RULES = (best_checkpoint_outdone,)
