"""EarlyStopping as a function of the validation losses, with the trainer's own comparisons.

Source: `EarlyStopping.__call__` and `save_checkpoint` in `utils/tools.py` of Time-LLM. Its `numpy.float64` compares as
a Python float does.
"""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.types import EarlyStoppingState

BLIND = EarlyStoppingState()
"""Before the first validation, and after a resume that restores nothing."""


def improves(state: EarlyStoppingState, val_loss: float) -> bool:
    """Whether the trainer saves `checkpoint` for this loss.

    The trainer asks for the contrary, `score < best_score + delta`, with a `delta` of 0. So NaN improves on everything
    (`nan < x` is false), and everything improves on NaN; an equal loss improves as well.
    """
    return state.best_score is None or not -val_loss < state.best_score


def improved(val_loss: float) -> EarlyStoppingState:
    """The state after a loss that improves, which `checkpoint` must hold: the trainer saves before it resets."""
    return EarlyStoppingState(-val_loss, val_loss, 0)


def counted(state: EarlyStoppingState) -> EarlyStoppingState:
    """The state after a loss that does not."""
    return replace(state, counter=state.counter + 1)


def after(state: EarlyStoppingState, val_loss: float) -> EarlyStoppingState:
    """The state after one validation."""
    return improved(val_loss) if improves(state, val_loss) else counted(state)
