"""The schedule's base rates, which the Trainer's formula multiplies."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.trainers.hf_trainer.rates import base_rates_instead
from ckpt_doctor.types import Case
from ckpt_doctor.validators.rule import Problem, rule


@rule("R504", "rate-mismatch", "warning", migration="sync-scheduler")
def base_rates(case: Case) -> Iterator[Problem]:
    """The schedule's base rates do not give the rate that the optimizer has.

    Source: torch/optim/lr_scheduler.py, `LambdaLR.get_lr`: from the second step on each rate is base rate times factor.
    """
    expected = base_rates_instead(case.member)
    if expected is not None:
        found = case.at("scheduler", "base_lrs", 0)
        yield Problem(
            f"the schedule's base rate is {found:.6g}, and the optimizer's rate follows from {expected[0]:.6g}: "
            "from the second step on the rate is another",
            where=case.where("scheduler", "base_lrs"),
            found=found,
            expected=expected[0],
        )


RULES = (base_rates,)
