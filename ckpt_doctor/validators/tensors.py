"""Family T: the numbers themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckpt_doctor.types import MODEL_KEYS, Case, Layout, TensorInfo
from ckpt_doctor.validators.rule import Problem, listing, rule

_MEANT = (
    r"(?i)mask|min_val|max_val|causal|tril|triu|alibi|(^|[._])inf|bound|limit|range|best|score|metric|lowest|highest"
)
"""Names of buffers that hold infinities by design."""


@rule("T801", "non-finite", "error", "file")
def non_finite(case: Case) -> Iterator[Problem]:
    """NaN or infinite values in weights or moments (needs `--deep`).

    One NaN weight makes every output NaN from the first batch on. The run was lost before this checkpoint was saved.
    Infinities alone are meant in attention masks, in the bounds of a fresh quantization observer or a constraint, and
    in scores that nothing has beaten yet: of these, and of tensors beside weights and moments, nothing is said unless
    they hold a NaN.

    Example: a run with a rate 25 times too high that diverged between two checkpoints.

    Cure: resume from an earlier checkpoint.

    Source: IEEE 754; all floating dtypes are read, bfloat16 and float8 among them.
    """
    deep = case.checkpoint.deep
    if deep is None or case.checkpoint.parts:  # what is in the parts is found in each of them
        return
    tensors = (*case.checkpoint.tensors, *case.checkpoint.inner)
    trained = {tensor.name for tensor in tensors if _is_trained(tensor, case.checkpoint.layout)}
    bad = {name: count for name, count in deep.non_finite.items() if name in trained or name in deep.nan}
    if not bad:
        return
    worst = sorted(bad.items(), key=lambda item: -item[1])
    shown = listing([f"{name} ({count:,})" for name, count in worst])
    total = sum(bad.values())
    numbers = f"{total:,} NaN or infinite value{'' if total == 1 else 's'}"
    yield Problem(
        f"{numbers} in {len(worst)} tensor{'' if len(worst) == 1 else 's'}: {shown}",
        where=worst[0][0],
        found=dict(worst[:20]),
    )


def _is_trained(tensor: TensorInfo, layout: Layout) -> bool:
    """Whether a tensor is of those that an infinity ruins: a moment, or a weight that looks like nothing else."""
    path, shape = tensor.path, tensor.shape
    if layout == "training" and path[0] == "optimizer":
        return True
    if layout == "other" or (layout == "training" and path[0] not in MODEL_KEYS):
        return False
    # A bias of two equal dimensions is an attention mask (minGPT's and GPT-2's `attn.bias`)
    is_mask = str(path[-1]).endswith("bias") and len(shape) > 1 and shape[-1] == shape[-2]
    return not is_mask and not re.search(_MEANT, str(path[-1]))


RULES = (non_finite,)
