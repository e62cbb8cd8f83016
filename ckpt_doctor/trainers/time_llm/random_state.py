"""Whether a file's `rng_state` gives the uninterrupted run's order of the data, and which state does.

A shuffling loader draws its order when an epoch begins, and the validation loaders draw too. The complete trainer saves
its best file behind all of that: its state is the one of the next epoch's first draw. A step file is saved in between,
and its state deals another order (trainer contract, section 9), unless the trainer kept the state of the epoch's
beginning for it and says so (section 10, fact 20).
"""

from __future__ import annotations

from collections.abc import Mapping

from ckpt_doctor.trainers.time_llm.command import facts_of
from ckpt_doctor.trainers.time_llm.resume_point import positions
from ckpt_doctor.types import Evidence, LateRandomState, Member, ResumePoint, Run, same_score

KEY = "rng_state"
MARK, EPOCH_BEGIN = "rng_state_at", "epoch-begin"
"""What a trainer writes into a step file whose `rng_state` is that of the epoch's beginning."""


def late_random_state(member: Member, run: Run, resume: ResumePoint) -> LateRandomState | None:
    """What is wrong with the file's `rng_state`; None where nothing is, or its place in the run is not known.

    On several processes each has a state of its own and the file that of one: nothing can take its place there.
    """
    finished, ends = resume.finished_epochs, resume.skip_batches == 0
    if finished is None or not isinstance(member.checkpoint.get(KEY), dict):
        return None
    was_replaced = any(edit.get("key") == KEY for edit in member.checkpoint.earlier_edits)
    if was_replaced or (member.role == "best" and resume.skip_batches in (0, None)):
        return None
    marked = member.checkpoint.get(MARK) == EPOCH_BEGIN
    if (marked and not ends) or (ends and member.role != "step"):
        return None
    why = "after this epoch's shuffle"
    if ends:
        why = "at its epoch's beginning" if marked else "before this epoch's validation, which draws from it too"
    if run.facts.processes > 1:
        return LateRandomState(why)
    if finished == 0:
        return LateRandomState(why, Evidence(None, "in the first epoch the script's own seed deals the batches"))
    remembered = None if ends else _remembered(member, resume)
    donor = next((m for m in run.members if _stands_at(m, run, finished, remembered)), None)
    if donor is None:
        return LateRandomState(why)
    cure = Evidence(donor.checkpoint.get(KEY), f"{donor.label}, saved when epoch {finished} was over")
    return LateRandomState(why, cure, donor.checkpoint)


def _remembered(member: Member, resume: ResumePoint) -> float | None:
    """The best score that a step file inside an epoch must have been saved with."""
    known = resume.early_stopping
    return known.value.best_score if known is not None else member.state.best_score


def _stands_at(donor: Member, run: Run, finished: int, remembered: float | None) -> bool:
    """Whether a best file was saved when that many epochs were over, in the run that remembers its score."""
    if donor.role != "best":
        return False
    places = {(place.finished_epochs, place.batches) for place in positions(donor, facts_of(run))}
    return (
        places == {(finished, 0)}
        and isinstance(donor.checkpoint.get(KEY), Mapping)
        and (remembered is None or same_score(donor.state.best_score, remembered))
    )
