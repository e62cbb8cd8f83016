"""PyTorch Lightning: what its trainer writes, and how it resumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckpt_doctor.trainers.lightning import layout
from ckpt_doctor.trainers.lightning.command import TABLE
from ckpt_doctor.trainers.trainer import Judging, Trainer, one_by_one

if TYPE_CHECKING:
    from ckpt_doctor.migrators import Fix


def _judging() -> Judging:
    from ckpt_doctor.trainers.lightning.judging import JUDGING

    return JUDGING


def _fixes() -> Sequence[Fix]:
    from ckpt_doctor.trainers.lightning.fixes import FIXES

    return FIXES


LIGHTNING = Trainer(
    name="lightning",
    title="Lightning",
    siblings=layout.siblings,
    recognises=one_by_one(layout.reads),
    reads=layout.reads,
    member_of=layout.member_of,
    judging=_judging,
    fixes=_fixes,
    facts=TABLE,
)
