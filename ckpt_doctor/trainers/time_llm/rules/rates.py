"""Family R: what only this trainer does to the rate."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.trainers.time_llm.command import facts_of
from ckpt_doctor.types import Case, NotChecked
from ckpt_doctor.validators.rule import Problem, rule


@rule("R506", "rate-jump", "warning")
def rate_jump(case: Case) -> Iterator[Problem | NotChecked]:
    """The rate after the resume will not be the uninterrupted run's.

    In the default modes every epoch's rate is computed from `args.learning_rate`, which the trainer overwrites with
    the optimizer's rate at the end of epoch 0 only; building OneCycleLR had set that to `max_lr / 25`. A run resumed
    in a later epoch computes from the command line's value instead: 25 times too high. No edit of the file cures
    that. Nothing is said when the given `--learning-rate` already is the right one.

    Example: a type1 run started with `--learning_rate 0.01`, resumed in epoch 2: 0.005 instead of 0.0002.

    Cure: add `--learning_rate <initial rate>` to the resume command; the finding gives the value to the last digit.

    Source: trainer contract, section 4 (adjust_learning_rate) and fact 11.
    """
    if option := case.resume.unsettled.get("flags"):
        yield NotChecked(
            "the base of the next epochs' rates",
            case.why_open.get(option, "how far the epoch had come is not known"),
            option,
        )
    plan = case.plan
    if plan is None or not plan.flags or case.resume.base_lr is None:
        return
    given = case.run.facts.learning_rate
    factor = f"{given.value / case.resume.base_lr:.4g} times" if given and case.resume.base_lr else "a multiple of"
    but = "; type2, which may be this run's mode, ignores it" if _may_be_type2(case) else ""
    yield Problem(
        f"resumed at epoch {plan.start_epoch}, the trainer computes the next epochs' rates from --learning_rate: "
        f"{factor} the uninterrupted run's{but}",
        where="--learning_rate",
        found=given.value if given else None,
        expected=case.resume.base_lr,
        fix=f"add {' '.join(plan.flags)} to the resume command",
    )


def _may_be_type2(case: Case) -> bool:
    facts = facts_of(case.run)
    return facts.mode is None and "type2" in facts.modes


RULES = (rate_jump,)
