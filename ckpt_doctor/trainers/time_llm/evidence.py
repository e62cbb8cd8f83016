"""EarlyStopping's true state at a point of training, and who says so: the file, a sibling, the log.

EarlyStopping changes only when an epoch's validation is done, so the state after k epochs is one state, whichever file
was saved in it. A sibling's value is exact; the log's has 7 decimals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from ckpt_doctor.trainers.time_llm.command import facts_of
from ckpt_doctor.trainers.time_llm.early_stopping import improved
from ckpt_doctor.trainers.time_llm.history import History
from ckpt_doctor.trainers.time_llm.layout import COMPLETE_ONLY, uses_amp
from ckpt_doctor.trainers.time_llm.lineage import Unsettled, saved_again
from ckpt_doctor.trainers.time_llm.processes import counted_step
from ckpt_doctor.types import LOG_PRECISION, EarlyStoppingState, Evidence, Member, Run, real, same_score
from ckpt_doctor.types.record import kept


def early_stopping_after(
    member: Member, run: Run, finished_epochs: int, step: int | None = None
) -> Evidence[EarlyStoppingState] | None:
    """EarlyStopping's state of the uninterrupted run after this many validations; None where nothing tells.

    Order of trust: nothing to know before the first validation; the file itself where it is the best file; a sibling
    saved in the same state; the log.
    """
    if finished_epochs == 0 and member.role != "best":  # a best file is saved behind a validation, whatever it says
        return Evidence(EarlyStoppingState(None, math.inf, 0), "no epoch has been validated yet")
    return next(sources(member, run, finished_epochs, step), None)


def sources(
    member: Member, run: Run, finished_epochs: int, step: int | None = None
) -> Iterator[Evidence[EarlyStoppingState]]:
    """Every independent statement about the state after `finished_epochs`, the most trusted first.

    `step` stands for the file's own global_step where that is absent or wrong.
    """
    if _unclear_launch(member, run, finished_epochs, step):
        return
    yield from _files(member, run, finished_epochs)
    told = _told(member, run, finished_epochs, step)
    if isinstance(told, Evidence):
        yield told


def disagreement(member: Member, run: Run, finished_epochs: int, step: int | None = None) -> str:
    """What the files and the log say, where that is not the same; empty where they agree or one of them is silent.

    Disagreement between two other files is reported there, not here.
    """
    if _unclear_launch(member, run, finished_epochs, step):
        return ""
    mine = next(_files(member, run, finished_epochs), None) if finished_epochs else None
    its = _told(member, run, finished_epochs, step)
    if mine is None or not isinstance(its, Evidence):
        return ""
    if not same_score(mine.value.best_score, its.value.best_score):
        return f"best_score {_shown(mine)} ({mine.source}), {_shown(its)} ({its.source})"
    if member.role != "best" and mine.value.counter != its.value.counter:
        return f"counter {mine.value.counter} ({mine.source}), {its.value.counter} ({its.source})"
    return ""


def why_unknown(member: Member, run: Run, finished_epochs: int, step: int | None = None) -> str:
    """What keeps the log from telling the state after `finished_epochs`; empty where there is no log at all."""
    if which := _unclear_launch(member, run, finished_epochs, step):
        return which
    told = _told(member, run, finished_epochs, step)
    return told.reason if isinstance(told, Unsettled) else ""


def _unclear_launch(member: Member, run: Run, finished_epochs: int, step: int | None) -> str:
    """Why it cannot be told which launch saved a step file; empty where it can.

    A launch that began from an older file, and whose log is cut, may have overwritten it. What the file itself says
    tells, where it agrees with the losses of the launch that is known to have saved it.
    """
    step = member.state.global_step if step is None else step
    if member.role != "step" or step is None or not isinstance(run.history, History) or not run.history.confirmed:
        return ""
    again = saved_again(run.history.launches, run.history.run, step)
    if again is None:
        return ""
    told, score = _told(member, run, finished_epochs, step), plausible_score(member)
    if isinstance(told, Evidence) and score is not None and same_score(told.value.best_score, score):
        return ""
    return f"step {step:,} may have been saved once more by a launch whose log is cut off ({again.where})"


def _files(member: Member, run: Run, finished_epochs: int) -> Iterator[Evidence[EarlyStoppingState]]:
    score = plausible_score(member)
    if member.role == "best" and score is not None and not _was_migrated(member, "best_score"):
        yield Evidence(improved(-score), "the file's own best_score: it was saved because the loss improved")
    yield from _siblings(member, run, finished_epochs)


def _told(
    member: Member, run: Run, finished_epochs: int, step: int | None
) -> Evidence[EarlyStoppingState] | Unsettled | None:
    """What the log says of the file's state; None where there is no log or no step to look for."""
    step = member.state.global_step if step is None else step
    if not isinstance(run.history, History) or step is None:
        return None
    return run.history.early_stopping(global_step=step, finished_epochs=finished_epochs, best=member.role == "best")


def _shown(evidence: Evidence[EarlyStoppingState]) -> str:
    score = evidence.value.best_score
    return "none yet" if score is None else f"{score:.7f}"


def plausible_score(member: Member) -> float | None:
    """The file's best_score if it can be one: finite and, as minus a mean squared error, not above 0."""
    score = real(member.checkpoint.get("best_score"))
    return score if score is not None and math.isfinite(score) and score <= 0 else None


def _was_migrated(member: Member, *keys: str) -> bool:
    """Whether a migration, not the trainer, put a value under one of these keys.

    Written as another type (`numpy.float64 -0.41` as -0.41) it is still the trainer's.
    """
    return any(
        edit.get("key") in keys and str(edit.get("before")).rpartition(" ")[2] != str(edit.get("after"))
        for edit in member.checkpoint.earlier_edits
    )


def finished_epochs_of(member: Member, run: Run) -> int | None:
    """Validations that the file's EarlyStopping state knows of, where that is certain.

    A best file knows of the epoch that it ends. A step file knows of the epochs before its own, also when it stands
    exactly at its epoch's end, for (A) comes before (C); one that names the next epoch already was not left as saved.
    """
    epoch, step = member.state.epoch, member.state.global_step
    facts = facts_of(run)
    steps = facts.steps_per_epoch if facts.processes == 1 else None
    if epoch is None or step is None:
        return None
    if facts.processes == 1 and not uses_amp(member) and member.state.optimizer_step not in (None, step):
        return None  # its counter is wrong, or its optimizer is of another moment
    if member.role == "best":
        if steps is not None:
            return step // steps.value if step % steps.value == 0 else None
        return epoch if facts.is_complete else None
    if steps is None:
        return epoch
    if 0 < step == epoch * steps.value:
        return None
    return (step - 1) // steps.value if step > 0 else 0


def _siblings(member: Member, run: Run, finished: int) -> Iterator[Evidence[EarlyStoppingState]]:
    """States that other checkpoints of the run prove; only those whose own values the trainer wrote."""
    skipped = _skipped_a_validation(member, run, finished)
    validated = _was_validated(member, run, finished) and not skipped
    for other, score, known in _together(run).speakers:
        if other.checkpoint.path == member.checkpoint.path:
            continue
        if (
            score is None
            or known is None
            or (
                (known == finished or other.role != member.role)
                and _is_of_another_branch(member, other, run, finished, known)
            )
        ):
            continue
        if other.role == "step":
            counter = other.state.counter
            if known == finished and counter is not None and not (skipped and finished_epochs_of(member, run) != known):
                state = EarlyStoppingState(score, -score, counter)
                yield Evidence(state, f"sibling {other.label}, saved in the same EarlyStopping state")
            elif member.role == "best" and counter is not None and known - counter == finished:
                yield Evidence(improved(-score), f"sibling {other.label}: its best_score is that of epoch {finished}")
        elif other.role == "best" and member.role != "best" and (known == finished or (known < finished and validated)):
            # The best file is overwritten at every improvement, so the validations since its epoch only counted up:
            # unless a run begun again from an earlier checkpoint has put back an older best.
            if _is_outdone(score, run):
                continue
            state = EarlyStoppingState(score, -score, finished - known)
            yield Evidence(state, f"sibling {other.label}, the best model, of epoch {known}")


def _is_of_another_branch(member: Member, other: Member, run: Run, finished: int, known: int) -> bool:
    """Whether other validations led to a sibling, or may have: a run that was begun again from an older file."""
    if not isinstance(run.history, History) or other.state.global_step is None:
        return False
    if _unclear_launch(other, run, known, None):
        return True
    mine = run.history.lineage(global_step=counted_step(member), finished_epochs=finished, best=member.role == "best")
    its = run.history.lineage(global_step=other.state.global_step, finished_epochs=known, best=other.role == "best")
    if isinstance(mine, Unsettled) or isinstance(its, Unsettled):
        return False
    return any(a is not b for a, b in zip(mine.epochs, its.epochs, strict=False))


def _is_outdone(best_score: float, run: Run) -> bool:
    """Whether a step file of the run remembers a better score than its best file has."""
    return _together(run).highest_score > best_score + LOG_PRECISION


def _was_validated(member: Member, run: Run, finished: int) -> bool:
    """Whether the run went on after this many epochs, so that all their validations were made.

    A step file exactly at an epoch's end was saved before the epoch's validation, which a kill may have cut off.
    """
    step = counted_step(member)
    return finished_epochs_of(member, run) == finished or _together(run).furthest > step


def _skipped_a_validation(member: Member, run: Run, finished: int) -> bool:
    """Whether an epoch before this point was never validated, or may have been.

    A resume from a step file of an epoch's last step begins the next epoch, and nobody makes up for the validation
    that a kill had cut off. The log shows the gap. Where it does not reach so far, a step file does whose counter is
    less than the epochs since the best file.
    """
    step = counted_step(member)
    if isinstance(run.history, History) and run.history.confirmed:
        way = run.history.lineage(global_step=step, finished_epochs=finished, best=member.role == "best")
        if _resumed_at_an_end(run.history, run, finished):
            return True
        if not isinstance(way, Unsettled):
            return bool(way.missing)
    return _together(run).lacks_a_count


class _Together(NamedTuple):
    """What all checkpoints of a run show, found once: each of them asks for it."""

    speakers: list[tuple[Member, float | None, int | None]]
    """Those whose values the trainer wrote, with their score and the epochs that they know of."""
    highest_score: float
    """Of the step files."""
    furthest: float
    lacks_a_count: bool
    """Whether a step file's counter is less than the epochs since the best file."""


@kept
def _together(run: Run) -> _Together:
    speakers = [(m, plausible_score(m), finished_epochs_of(m, run)) for m in run.members if _speaks(m)]
    best = next((known for m, _, known in speakers if m.role == "best"), None)
    counts = [(known, m.state.counter or 0) for m, _, known in speakers if m.role == "step" and known is not None]
    return _Together(
        speakers,
        max((plausible_score(m) or -math.inf for m in run.members if m.role == "step"), default=-math.inf),
        max(map(counted_step, run.members), default=-math.inf),
        best is not None and any(known > best and counter < known - best for known, counter in counts),
    )


def _resumed_at_an_end(history: History, run: Run, finished: int) -> bool:
    """Whether a launch began at a step file of an epoch's last step, and no line reports that epoch's validation."""
    steps = run.facts.steps_per_epoch
    if steps is None or run.facts.processes > 1:
        return False
    epoch = history.first_unvalidated_end(steps.value)
    return epoch is not None and epoch <= finished


def _speaks(other: Member) -> bool:
    """Whether a sibling's EarlyStopping values were written by the trainer (a migrated value proves nothing new)."""
    # A best file's score alone counts; a step file's counter does as well.
    relied_on = ("best_score",) if other.role == "best" else ("best_score", "counter")
    return any(key in other.checkpoint.keys for key in COMPLETE_ONLY) and not _was_migrated(other, *relied_on)
