"""`--fix-epoch`: the `epoch` with which the script starts at the first unfinished epoch."""

from __future__ import annotations

from ckpt_doctor.migrators import Migration, Plan, refused
from ckpt_doctor.trainers.plain.position import departure, finished, reading, saved_epoch
from ckpt_doctor.types import Case

NAME = "fix-epoch"


def _plan(case: Case) -> Plan:
    """Set `epoch` so that the script starts with the first epoch that is not finished.

    How many are finished comes from Adam's steps; how the script reads the label must be given or be in its code. The
    label then says what this script takes it for, whatever other files of the run say. Where the label alone is of
    another moment than the rest of the file, it becomes what the labels of its siblings call for.
    """
    plan, resume, departed = case.plan, case.resume, departure(case.member, case.run)
    if plan is None or plan.start_epoch is None:
        label = saved_epoch(case.member, case.run)
        if departed is not None and "epoch" in departed.parts and label is not None:
            return Plan((case.edit("epoch", after=label, evidence=departed.told),) if label != case.state.epoch else ())
        known = reading(case.member, case.run)
        settle = "--resume-epoch label|label+1" if known.resume is None else "--epoch-label finished|next"
        return refused(NAME, "how the script reads epoch is not known", settle)
    if resume.epoch is None or resume.start_epoch == plan.start_epoch:
        return Plan()
    if resume.epoch < 0:
        return refused(NAME, "no epoch makes this script start with the first one", "")
    done, known = finished(case.member, case.run), reading(case.member, case.run)
    sources = [part.source for part in (done, known.resume, known.label) if part is not None]
    return Plan((case.edit("epoch", after=resume.epoch, evidence="; ".join(dict.fromkeys(sources))),))


MIGRATION = Migration(NAME, _plan, cures=("P402",))
