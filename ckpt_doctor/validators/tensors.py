"""Family T: the numbers themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckpt_doctor.types import MODEL_KEYS, Case, KeyPath, Layout
from ckpt_doctor.validators.rule import Problem, rule

_MEANT = re.compile(r"mask|min_val|max_val|min_vals|max_vals|causal|tril|triu|alibi|(^|[._])inf", re.IGNORECASE)
"""Names of buffers that hold infinities by design."""


@rule("T801", "non-finite", "error", "file")
def non_finite(case: Case) -> Iterator[Problem]:
    """NaN or infinite values in weights or moments (needs `--deep`).

    One NaN weight makes every output NaN from the first batch on. The run was lost before this checkpoint was saved.
    Infinities alone are meant in attention masks, in the bounds of a fresh quantization observer and in scores that
    nothing has beaten yet: of these, and of tensors beside weights and moments, nothing is said unless they hold a NaN.

    Example: a run with a rate 25 times too high that diverged between two checkpoints.

    Cure: resume from an earlier checkpoint.

    Source: IEEE 754; all floating dtypes are read, bfloat16 and float8 among them.
    """
    deep = case.checkpoint.deep
    if deep is None:
        return
    trained = {tensor.name for tensor in case.checkpoint.tensors if _is_trained(tensor.path, case.checkpoint.layout)}
    bad = {name: count for name, count in deep.non_finite.items() if name in trained or name in deep.nan}
    if not bad:
        return
    worst = sorted(bad.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} ({count:,})" for name, count in worst[:3]) + (" …" if len(worst) > 3 else "")
    yield Problem(
        f"{sum(bad.values()):,} NaN or infinite values in {len(worst)} tensors: {shown}",
        where=worst[0][0],
        found=dict(worst[:20]),
    )


def _is_trained(path: KeyPath, layout: Layout) -> bool:
    """Whether a tensor is of those that an infinity ruins: a moment, or a weight whose name says nothing else."""
    if layout == "training" and path[0] == "optimizer":
        return True
    if layout == "other" or (layout == "training" and path[0] not in MODEL_KEYS):
        return False
    return not _MEANT.search(str(path[-1]))


RULES = (non_finite,)
