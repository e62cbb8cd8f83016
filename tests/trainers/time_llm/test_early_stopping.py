"""EarlyStopping replayed equals the trainer's own, NaN included."""

import math
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.trainers.time_llm.early_stopping import BLIND, after
from ckpt_doctor.types import EarlyStoppingState


def replay(losses, start=BLIND):
    """The state after each validation."""
    return [*accumulate(losses, after, initial=start)][1:]


class TrainersEarlyStopping:
    """`EarlyStopping` as `utils/tools.py` of Time-LLM has it, saving and printing left out."""

    def __init__(self, delta=0):
        self.delta = delta
        self.counter, self.best_score, self.val_loss_min = 0, None, None

    def __call__(self, val_loss):
        score = -val_loss
        if self.best_score is None:
            self.best_score = score
            self.val_loss_min = val_loss
        elif score < self.best_score + self.delta:
            self.counter += 1
        else:
            self.best_score = score
            self.val_loss_min = val_loss
            self.counter = 0


losses = st.one_of(
    st.sampled_from([0.1, 0.2, 0.3, math.nan, math.inf, -math.inf, 0.0]), st.floats(0, 2).map(lambda x: round(x, 7))
)


@given(st.lists(losses, max_size=12))
def test_every_state_is_the_trainers(vali_losses):
    """Best score, smallest loss and counter after each epoch."""
    stopping = TrainersEarlyStopping()
    expected = []
    for loss in vali_losses:
        stopping(loss)
        expected.append(repr(EarlyStoppingState(stopping.best_score, stopping.val_loss_min, stopping.counter)))
    assert expected == [repr(state) for state in replay(vali_losses)]


def test_nan_is_saved_as_best_and_then_everything_is():
    """`nan < x` is false: the trainer takes NaN for an improvement, and any loss after it too."""
    good, poisoned, bad = replay([0.3, math.nan, 9.0])
    assert EarlyStoppingState(-0.3, 0.3, 0) == good
    assert math.isnan(poisoned.best_score)
    assert EarlyStoppingState(-9.0, 9.0, 0) == bad


def test_a_replay_goes_on_from_a_given_state():
    """What a resume restored is where it starts."""
    start = EarlyStoppingState(-0.3, 0.3, 4)
    assert EarlyStoppingState(-0.3, 0.3, 5) == after(start, 0.4)
    assert [EarlyStoppingState(-0.3, 0.3, 5), EarlyStoppingState(-0.2, 0.2, 0)] == replay([0.4, 0.2], start)
