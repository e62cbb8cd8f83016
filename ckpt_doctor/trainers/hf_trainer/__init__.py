"""The Trainer of Hugging Face: what it writes, and how it resumes. TRL, axolotl and LLaMA-Factory write the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckpt_doctor.trainers.hf_trainer import layout
from ckpt_doctor.trainers.hf_trainer.command import TABLE
from ckpt_doctor.trainers.trainer import Judging, Trainer, one_by_one

if TYPE_CHECKING:
    from ckpt_doctor.migrators import Fix


def _judging() -> Judging:
    from ckpt_doctor.trainers.hf_trainer.judging import JUDGING

    return JUDGING


def _fixes() -> Sequence[Fix]:
    from ckpt_doctor.trainers.hf_trainer.fixes import FIXES

    return FIXES


HF = Trainer(
    name="hf",
    title="the Hugging Face Trainer",
    run_of=layout.run_of,
    is_unit=layout.is_unit,
    reads_part=layout.reads_part,
    does_without=lambda name: layout.RANDOM.match(name) is not None,
    loads_part=lambda name: layout.RANDOM.match(name) is not None,
    siblings=layout.siblings,
    resume_target=layout.resume_target,
    prunable=layout.prunable,
    recognises=one_by_one(layout.is_ours),
    reads=layout.reads,
    member_of=layout.member_of,
    judging=_judging,
    fixes=_fixes,
    facts=TABLE,
)
