"""Family T: the numbers themselves."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.types import Case
from ckpt_doctor.validators.rule import Problem, rule


@rule("T801", "non-finite", "error", "file")
def non_finite(case: Case) -> Iterator[Problem]:
    """NaN or infinite values in weights or moments (needs `--deep`).

    One NaN weight makes every output NaN from the first batch on. The run was lost before this checkpoint was saved.

    Example: a run with a rate 25 times too high that diverged between two checkpoints.

    Cure: resume from an earlier checkpoint.

    Source: IEEE 754; all floating dtypes are read, bfloat16 and float8 among them.
    """
    deep = case.checkpoint.deep
    if deep is None or not deep.non_finite:
        return
    worst = sorted(deep.non_finite.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} ({count:,})" for name, count in worst[:3]) + (" …" if len(worst) > 3 else "")
    yield Problem(
        f"{sum(deep.non_finite.values()):,} NaN or infinite values in {len(worst)} tensors: {shown}",
        where=worst[0][0],
        found=dict(worst[:20]),
    )


RULES = (non_finite,)
