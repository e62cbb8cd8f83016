"""How folders of `save_state` are judged."""

from __future__ import annotations

from ckpt_doctor.trainers.accelerate import naming, resume_point
from ckpt_doctor.trainers.accelerate.facts import understand
from ckpt_doctor.trainers.accelerate.habits import habits_of
from ckpt_doctor.trainers.accelerate.rules import RULES
from ckpt_doctor.trainers.accelerate.terms import TERMS
from ckpt_doctor.trainers.random_twins import with_open_twin
from ckpt_doctor.trainers.schedules import inner_moves
from ckpt_doctor.trainers.state import param_groups
from ckpt_doctor.trainers.trainer import ByHand, Judging
from ckpt_doctor.types import Case, Member, Run
from ckpt_doctor.validators.contents import read_by_torch

_JUDGED = frozenset({"P409", "R505", "R511", "L306"})
"""The only step count of a folder begins anew with each epoch (`Accelerator.step`), so P409 has nothing to compare; the
length of a schedule is a number of steps that the script gives, not one of epochs; a prepared scheduler is not stepped
beyond its end (`AcceleratedScheduler.step`); F114 judges random states."""
_BEFORE_FIRST_STEP = frozenset({"O705"})
"""P410 says that such a folder lacks gradients; of moments it has none yet."""


def _case(member: Member, run: Run, _by_hand: ByHand) -> Case:
    member = naming.named_for_rules(member, run)
    point = resume_point.at(member, run)
    late = resume_point.late_random_state(member, run, point.start_epoch, point.skip_batches)
    return Case(
        member.checkpoint,
        member,
        run,
        point,
        with_open_twin(resume_point.plan(member, run, point, late), habits_of(run).twins.get(member.label)),
        resume_point.schedule(member, run, point),
        resume_point.agreed(member),
        tuple(read_by_torch(member, None)),
        late_random_state=late,
        judged=_JUDGED | _BEFORE_FIRST_STEP if member.state.optimizer_step == 0 else _JUDGED,
        changes=inner_moves(member.at("scheduler"), param_groups(member), point.last_epoch),
    )


JUDGING = Judging(understand, _case, rules=RULES, terms=TERMS)
