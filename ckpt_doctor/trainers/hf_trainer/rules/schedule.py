"""The schedule's base rates, which the Trainer's formula multiplies."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.trainers.hf_trainer import rates
from ckpt_doctor.trainers.hf_trainer.known import follows_formula
from ckpt_doctor.trainers.hf_trainer.resume_point import trains_beyond_its_end
from ckpt_doctor.types import Case
from ckpt_doctor.validators.rule import Problem, rule


@rule("R504", "rate-mismatch", "warning", migration="sync-scheduler")
def base_rates(case: Case) -> Iterator[Problem]:
    """The schedule's base rates do not give the rates that were logged, or the one that the optimizer has.

    Example: `base_lrs` 5e-5 beside a rate that follows from 2e-5.

    Cure: `ckpt-doctor migrate --sync-scheduler`.

    Source: torch/optim/lr_scheduler.py, `LambdaLR.get_lr`: from the second step on each rate is base rate times factor.
    """
    found, at = case.at("scheduler", "base_lrs", 0), case.where("scheduler", "base_lrs")
    expected = rates.base_rates_instead(case.member)
    if expected is not None:
        yield Problem(
            f"the schedule's base rate is {found:.6g}, and the run's is {expected[0]:.6g}: from the second step on the "
            "rate is another",
            where=at,
            found=found,
            expected=expected[0],
        )
    elif not follows_formula(case.run, case.member) and rates.has_other_base(case.member):
        yield Problem(
            f"the schedule's base rate is {found:.6g}, and the optimizer has another initial_lr: where that is the "
            "run's, the rate is another from the second step on",
            where=at,
            found=found,
            fix="",
        )


@rule("P404", "training-complete", "warning")
def complete_within_an_epoch(case: Case) -> Iterator[Problem]:
    """All steps are made, and a resume makes one more: the Trainer looks at their number after a step.

    At the end of its last epoch it trains nothing.

    Example: `--max_steps 33` with 10 steps to an epoch: a resume from checkpoint-33 makes step 34.

    Cure: none needed; to train on, give more steps.

    Source: transformers, `Trainer._inner_training_loop`; measured with 5.24.
    """
    if case.plan and trains_beyond_its_end(case.member, case.run):
        yield Problem(
            "all steps are done, and within an epoch: a resume makes one step more",
            where=case.where("step"),
            found=case.plan.global_step,
            severity=None if case.gate else "info",
        )


RULES = (base_rates, complete_within_an_epoch)
