"""The modes of Time-LLM's `--lradj`, and the rates that `adjust_learning_rate` sets once per epoch in some of them."""

from __future__ import annotations

from collections.abc import Mapping

PER_STEP = "TST"
PER_EPOCH = "COS"
IDLE = ("type1", "type2", "type3", "PEMS", "constant")
"""Modes in which OneCycleLR is built and never stepped; `adjust_learning_rate(epoch + 1)` sets the rate."""
MODES = (PER_STEP, PER_EPOCH, *IDLE)
JUMPS = ("type1", "type3", "PEMS", "constant")
"""Idle modes whose rate is a multiple of `--learning_rate`; type2's is a table."""

TYPE2_RATES: Mapping[int, float] = {2: 5e-5, 4: 1e-5, 6: 5e-6, 8: 1e-6, 10: 5e-7, 15: 1e-7, 20: 5e-8}


def adjust_learning_rate(lradj: str, base_lr: float, epoch: int) -> float | None:
    """The rate that the epoch-wise modes set; None where they leave it as it is (type2 between its entries).

    `epoch` is 1-based: at the end of the loop's 0-based epoch e the trainer calls `adjust_learning_rate(e + 1)`, and
    the rate holds in the epoch after. `base_lr` is `args.learning_rate` at that moment.

    Source: `adjust_learning_rate` in `utils/tools.py` of Time-LLM.
    """
    if lradj == "type1":
        return base_lr * (0.5 ** (epoch - 1))
    if lradj == "type2":
        return TYPE2_RATES.get(epoch)
    if lradj == "type3":
        return base_lr if epoch < 3 else base_lr * (0.9 ** (epoch - 3))
    if lradj == "PEMS":
        return base_lr * (0.95**epoch)
    if lradj == "constant":
        return base_lr
    raise ValueError(f"{lradj!r} is not an epoch-wise mode; those are {', '.join(IDLE)}")
