"""`--add-best-score`: EarlyStopping's state of the uninterrupted run into the file."""

from __future__ import annotations

import math

from ckpt_doctor.migrators import Fix, Plan, refused
from ckpt_doctor.trainers.time_llm.command import facts_of
from ckpt_doctor.trainers.time_llm.resume_point import NOT_READ
from ckpt_doctor.types import Case, Edit, TensorRef, equal, real, same_score

NAME = "add-best-score"


def _plan(case: Case) -> Plan:
    """Write `best_score`, `val_loss_min` and `counter` as EarlyStopping has them at the resume point.

    The value is given by hand (`--best-score`, `--val-loss`), or comes from a sibling checkpoint saved in the same
    EarlyStopping state (exact), or from the run's log, over which EarlyStopping is replayed (7 decimals). Before the
    first validation the true value is None and nothing is added. Without evidence nothing is written."""
    checkpoint, resume = case.checkpoint, case.resume
    if checkpoint.layout != "training":
        return refused(NAME, "a bare state_dict has no place for best_score", "add --upgrade")
    if resume.early_stopping is None:
        score, least = case.state.best_score, case.state.val_loss_min
        if score is None or not -math.inf < score <= 0 or not (_is_unprintable(case) or least in (None, -score)):
            return refused(NAME, _no_evidence(case), "--log FILE, --best-score X or --val-loss X")
        return Plan((Edit(("val_loss_min",), least, -score, "best_score"),) if _is_unprintable(case) else ())
    evidence, wanted = resume.early_stopping, resume.early_stopping.value
    if wanted.best_score is None:
        sound = case.checkpoint.get("best_score") is None and not _is_unprintable(case)
        return Plan() if sound else _set(case, None, math.inf, 0)
    score = case.state.best_score
    # One that is the same has more digits than the log
    if score is None or not same_score(score, wanted.best_score) or evidence.given:
        score = wanted.best_score
    return _set(case, score, -score, wanted.counter)


def _is_unprintable(case: Case) -> bool:
    """Whether `val_loss_min` is there and not the number that the trainer prints at the next improvement."""
    key = "val_loss_min"
    value = case.checkpoint.get(key)
    is_number = real(value) is not None and not (isinstance(value, TensorRef) and value.shape)
    return key in case.checkpoint.keys and not is_number


def _no_evidence(case: Case) -> str:
    if case.run.facts.log is None and case.run.facts.contradictions:
        return (
            f"no sibling checkpoint knows EarlyStopping's state at this point, and {case.run.facts.contradictions[0]}"
        )
    if case.resume.finished_epochs is None:
        return "how many epochs were finished is not known, so neither is which validation losses count"
    if case.resume.why_unknown:
        return case.resume.why_unknown
    if case.run.facts.log is None:
        return "no sibling checkpoint knows EarlyStopping's state at this point, and no log of the run was found"
    return f"the log has no validation loss for every epoch up to {case.resume.finished_epochs}"


def _set(case: Case, best_score: float | None, val_loss_min: float, counter: int) -> Plan:
    evidence = case.resume.early_stopping
    source = evidence.source if evidence else ""
    wanted: tuple[tuple[str, object, object], ...] = (
        ("best_score", case.state.best_score, best_score),
        ("val_loss_min", case.state.val_loss_min, val_loss_min),
        ("counter", case.state.counter, counter),
    )
    edits = [
        Edit((key,), before if key in case.checkpoint.keys else "absent", after, source)
        for key, before, after in wanted
        if not equal(before, after) or isinstance(case.checkpoint.get(key), TensorRef)
    ]
    unread = bool(edits) and facts_of(case.run).is_first_patch
    return Plan(tuple(edits), notes=(NOT_READ,) if unread else ())


FIX = Fix(NAME, _plan, cures=("E601", "E602", "E603", "E605", "E606", "L303", "O707"), reveals=("E604",))
