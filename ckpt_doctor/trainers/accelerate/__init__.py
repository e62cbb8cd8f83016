"""Accelerate: the folders that `Accelerator.save_state` writes, and how scripts resume from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckpt_doctor.trainers.accelerate import layout
from ckpt_doctor.trainers.accelerate.command import TABLE
from ckpt_doctor.trainers.trainer import Judging, Trainer, one_by_one

if TYPE_CHECKING:
    from ckpt_doctor.migrators import Fix


def _judging() -> Judging:
    from ckpt_doctor.trainers.accelerate.judging import JUDGING

    return JUDGING


def _fixes() -> Sequence[Fix]:
    from ckpt_doctor.trainers.accelerate.fixes import FIXES

    return FIXES


ACCELERATE = Trainer(
    name="accelerate",
    title="Accelerate",
    run_of=layout.run_of,
    is_unit=layout.is_unit,
    reads_part=layout.reads_part,
    does_without=layout.loads_part,
    loads_part=layout.loads_part,
    siblings=lambda run: [path for path, _ in layout.folders(run)],
    resume_target=layout.resume_target,
    prunable=layout.folders,
    recognises=one_by_one(layout.reads),
    reads=layout.reads,
    member_of=layout.member_of,
    judging=_judging,
    fixes=_fixes,
    facts=TABLE,
)
