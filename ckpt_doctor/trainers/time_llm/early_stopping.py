"""EarlyStopping as a function of the validation losses, with the trainer's own comparisons.

Source: `EarlyStopping.__call__` and `save_checkpoint` in `utils/tools.py` of Time-LLM. Its `numpy.float64` compares as
a Python float does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ckpt_doctor.types import EarlyStoppingState

BLIND = EarlyStoppingState()
"""Before the first validation, and after a resume that restores nothing."""


def improves(state: EarlyStoppingState, val_loss: float, delta: float = 0.0) -> bool:
    """Whether the trainer saves `checkpoint` for this loss.

    The trainer asks for the contrary, `score < best_score + delta`. So NaN improves on everything (`nan < x` is
    false), and everything improves on NaN; an equal loss improves as well.
    """
    return state.best_score is None or not -val_loss < state.best_score + delta


def improved(val_loss: float) -> EarlyStoppingState:
    """The state after a loss that improves."""
    return EarlyStoppingState(-val_loss, val_loss, 0)


def counted(state: EarlyStoppingState) -> EarlyStoppingState:
    """The state after a loss that does not."""
    return replace(state, counter=state.counter + 1)


def after(state: EarlyStoppingState, val_loss: float, delta: float = 0.0) -> EarlyStoppingState:
    """The state after one validation."""
    return improved(val_loss) if improves(state, val_loss, delta) else counted(state)


def replay(
    vali_losses: Iterable[float],
    start: EarlyStoppingState = BLIND,
    *,
    delta: float = 0.0,
    patience: int | None = None,
) -> list[EarlyStoppingState]:
    """The state after each validation, in order.

    With `patience` the list ends where the trainer stops: at the first loss that does not improve and brings the
    counter to it.
    """
    states = []
    state = start
    for val_loss in vali_losses:
        saves = improves(state, val_loss, delta)
        state = improved(val_loss) if saves else counted(state)
        states.append(state)
        if patience is not None and not saves and state.counter >= patience:
            break
    return states
