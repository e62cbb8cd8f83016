"""Hand-written training loops: what they save, and what their files show together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckpt_doctor.trainers.plain import families, layout
from ckpt_doctor.trainers.plain.command import TABLE
from ckpt_doctor.trainers.trainer import Judging, Trainer, one_by_one

if TYPE_CHECKING:
    from ckpt_doctor.migrators import Fix


def _judging() -> Judging:
    from ckpt_doctor.trainers.plain.judging import JUDGING

    return JUDGING


def _fixes() -> Sequence[Fix]:
    from ckpt_doctor.trainers.plain.fixes import FIXES

    return FIXES


PLAIN = Trainer(
    name="plain",
    title="a hand-written loop",
    is_unit=layout.is_unit,
    reads_part=lambda name: not name.endswith(".json"),
    recognises=one_by_one(layout.fits),
    reads=layout.reads,
    member_of=layout.member_of,
    by_shape=True,
    relatives=layout.relatives,
    named=families.named,
    judging=_judging,
    fixes=_fixes,
    facts=TABLE,
)
