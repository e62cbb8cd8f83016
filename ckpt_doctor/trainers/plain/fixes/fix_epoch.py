"""`--fix-epoch`: the label with which the script starts at the first unfinished epoch, or step."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.migrators import Fix, Plan, refused
from ckpt_doctor.trainers.plain.label import is_in_the_file, key_of, label_of, label_slot
from ckpt_doctor.trainers.plain.position import standing
from ckpt_doctor.trainers.plain.resume_point import start
from ckpt_doctor.types import Case

NAME = "fix-epoch"


def _plan(case: Case) -> Plan:
    """Set the label, and further counts that are of another moment than the rest of the file."""
    plan, departed = _of_label(case), standing(case.member, case.run).departure
    counts = departed.corrections(case.checkpoint) if departed is not None else []
    return replace(plan, edits=(*plan.edits, *counts), refusals=()) if counts else plan


def _of_label(case: Case) -> Plan:
    """Set the label so that the script starts with the first epoch, or step, that is not finished.

    How many are finished comes from Adam's steps; how the script reads the label must be given or be in its code. The
    label then says what this script takes it for, whatever other files of the run say. Where the label alone is of
    another moment than the rest of the file, it becomes what the labels of its siblings call for.
    """
    member, here, begins = case.member, standing(case.member, case.run), start(case.member, case.run)
    slot, now, known, departed = label_slot(member), label_of(member), here.reading, here.departure
    if not is_in_the_file(member):
        return Plan()
    if begins.actual is None:
        label = here.label
        if departed is not None and "epoch" in departed.parts and label is not None:
            return Plan((case.edit(slot, after=label, evidence=departed.told),) if label != now else ())
        settle = "--resume-epoch label|label+1" if known.resume is None else "--epoch-label finished|next"
        return refused(NAME, f"how the script reads {key_of(member)} is not known", settle)
    if begins.label is None or begins.due == begins.actual:
        return Plan()
    if begins.label < 0:
        return refused(NAME, f"no {key_of(member)} makes this script start with the first one", "")
    sources = [part.source for part in (here.finished, known.resume, known.label) if part is not None]
    return Plan((case.edit(slot, after=begins.label, evidence="; ".join(dict.fromkeys(sources))),))


FIX = Fix(NAME, _plan, cures=("P402",))
