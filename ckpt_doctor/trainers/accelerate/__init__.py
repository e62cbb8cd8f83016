"""Accelerate: the folders that `Accelerator.save_state` writes, and how scripts resume from them.

Only what recognises a folder is loaded at once: most of what is scanned is not of this trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckpt_doctor.trainers.accelerate import layout
from ckpt_doctor.trainers.accelerate.command import TABLE, understand
from ckpt_doctor.trainers.accelerate.terms import TERMS
from ckpt_doctor.trainers.trainer import ByHand, Trainer, one_by_one
from ckpt_doctor.types import Case, Member, Run

if TYPE_CHECKING:
    from ckpt_doctor.migrators import Migration
    from ckpt_doctor.validators.rule import Rule

NAME = "accelerate"
_JUDGED = frozenset({"P409", "R505", "R511", "L306"})
"""The only step count of a folder begins anew with each epoch (`Accelerator.step`), so P409 has nothing to compare; the
length of a schedule is a number of steps that the script gives, not one of epochs; a prepared scheduler is not stepped
beyond its end (`AcceleratedScheduler.step`); F114 judges random states."""


def _case(member: Member, run: Run, by_hand: ByHand) -> Case:
    from ckpt_doctor.trainers.accelerate import resume_point
    from ckpt_doctor.validators.contents import read_by_torch

    member = resume_point.named_for_rules(member, run)
    point = resume_point.at(member, run)
    late = resume_point.late_random_state(member, run, point.start_epoch, point.skip_batches)
    return Case(
        member.checkpoint,
        member,
        run,
        point,
        resume_point.plan(member, run, point, late),
        resume_point.schedule(member, run, point),
        resume_point.agreed(member),
        tuple(read_by_torch(member, None)),
        late_random_state=late,
        judged=_JUDGED,
        changes=resume_point.changes(member, point.last_epoch),
    )


def _rules() -> Sequence[Rule]:
    from ckpt_doctor.trainers.accelerate.rules import RULES

    return RULES


def _fixes() -> Sequence[Migration]:
    from ckpt_doctor.trainers.accelerate.fixes import FIXES

    return FIXES


ACCELERATE = Trainer(
    name=NAME,
    run_of=layout.run_of,
    is_unit=layout.is_unit,
    reads_part=layout.reads_part,
    loads_part=layout.loads_part,
    siblings=lambda run: [path for path, _ in layout.folders(run)],
    resume_target=layout.resume_target,
    prunable=layout.folders,
    recognises=one_by_one(layout.reads),
    reads=layout.reads,
    member_of=layout.member_of,
    understand=lambda run, given, _logs: understand(run, given),
    case=_case,
    rules=_rules,
    fixes=_fixes,
    facts=TABLE,
    terms=TERMS,
)
