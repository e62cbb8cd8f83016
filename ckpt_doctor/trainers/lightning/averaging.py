"""Averaged weights that take the place of the trained ones when training ends.

WeightAveraging (EMAWeightAveraging too) always does so in `on_train_end`, StochasticWeightAveraging where training came
to its last epoch. What is saved after that goes on from the average, with the optimizer's state of the trained weights.

Source: lightning/pytorch/callbacks/weight_averaging.py and stochastic_weight_avg.py, `on_train_end` (2.6.6).
"""

from __future__ import annotations

from ckpt_doctor.trainers.lightning.loops import loops_of
from ckpt_doctor.types import Checkpoint, mapping_of, real

AVERAGED = (
    "saved after training had ended, when WeightAveraging had put the averaged weights in the place of the trained ones"
)


def is_averaged(checkpoint: Checkpoint) -> bool:
    """Whether the weights of the file are the averages that WeightAveraging left when training ended."""
    return _has_ended(checkpoint) and "averaging_state" in checkpoint.keys


def may_be_averaged(checkpoint: Checkpoint) -> bool:
    """Whether StochasticWeightAveraging had begun to average: at the end of all epochs it puts the average in place."""
    held = mapping_of(checkpoint.get("callbacks")) or {}
    state = next((mapping_of(held[key]) for key in held if str(key).startswith("StochasticWeightAveraging")), None)
    return _has_ended(checkpoint) and state is not None and (real(state.get("n_averaged")) or 0) > 0


def _has_ended(checkpoint: Checkpoint) -> bool:
    """Whether `fit` had come to its end: the epoch that was entered last is counted as over."""
    loops = loops_of(checkpoint)
    return loops is not None and loops.is_last and loops.entered == loops.epoch
