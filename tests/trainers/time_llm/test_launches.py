"""The launches in a log are looked up by run, step and place; and what EarlyStopping did in each is replayed."""

from __future__ import annotations

from itertools import pairwise

from ckpt_doctor.trainers.time_llm.early_stopping import BLIND
from ckpt_doctor.trainers.time_llm.launches import (
    Launches,
    has_improved,
    is_tie,
    saved_epochs,
    state_after,
    state_at_start,
)
from ckpt_doctor.types import EarlyStoppingState
from tests.trainers.time_llm.log_writer import RUN, read, result, saved

LOAD = f"Loading checkpoint: /c/{RUN}/checkpoint_step_{{}}/checkpoint.pt"
COUNTER = "EarlyStopping counter: 1 out of 10"


def two_runs() -> Launches:
    """Launch 0 and 2 of our run, killed; 1 of another, finished; 3 of ours, to its end."""
    first = [saved(5), result(1, 0.5), saved(10)]
    other = [result(1, 0.3), saved(5, "other"), "Checkpoints saved at: ./c"]
    resumed = [LOAD.format(5), "Resumed at epoch 0, global_step 5", saved(10)]
    last = [LOAD.format(10), "Resumed at epoch 1, global_step 10", result(2, 0.4), saved(15), "Early stopping"]
    return Launches(read(*first, *other, *resumed, *last))


def test_launches_keep_their_order_and_know_their_place() -> None:
    launches = two_runs()
    assert [RUN, "other", RUN, RUN] == [attempt.run for attempt in launches.all]
    assert [0, 1, 2, 3] == [launches.place(attempt) for attempt in launches.all]
    assert [3, 2, 0] == [launches.place(attempt) for attempt in launches.of_run(RUN)]
    assert [] == list(launches.of_run("nobody's"))


def test_the_last_that_did_something_before_a_place() -> None:
    """Step 10 was saved twice; the later launch wrote over it."""
    launches = two_runs()
    first, other, resumed, last = launches.all
    assert resumed is launches.last_that_saved(RUN, 10)
    assert first is launches.last_that_saved(RUN, 10, before=2)
    assert launches.last_that_saved(RUN, 10, before=0) is None
    assert launches.last_that_saved("other", 10) is None
    assert (last, resumed) == (launches.last(RUN), launches.last(RUN, before=3))
    assert (last, first) == (launches.last_that_improved(RUN), launches.last_that_improved(RUN, before=3))
    assert other is launches.last_that_improved("other")


def test_a_launch_whose_end_is_lost_may_have_gone_further_than_its_log() -> None:
    """One that finished or stopped has said all of its saves."""
    launches = two_runs()
    first, _, resumed, _ = launches.all
    assert [(resumed, 0), (first, 1)] == list(launches.cut_before(RUN, 13))
    assert [(first, 1)] == list(launches.cut_before(RUN, 13, before=2))
    assert [] == list(launches.cut_before(RUN, 10))
    assert [] == list(launches.cut_before("other", 99))


def test_the_first_later_launch_that_resumed_before_a_step() -> None:
    launches = two_runs()
    assert launches.all[2] is launches.resumed_before(RUN, 10, after=0)
    assert launches.resumed_before(RUN, 5, after=0) is None, "it began at that very step"
    assert launches.resumed_before(RUN, 10, after=2) is None
    assert launches.resumed_before("other", 10, after=0) is None


def test_a_launch_begins_with_what_it_restored_or_knows_nothing() -> None:
    restored = "Restored EarlyStopping: best_score=-0.5, val_loss_min=0.5, counter=2"
    (told,) = read(LOAD.format(10), "Resumed at epoch 1, global_step 10", restored, result(2, 0.6), result(3, 0.4))
    (blind,) = read(LOAD.format(10), "Resumed at epoch 1, global_step 10", result(2, 0.6), result(3, 0.4))
    assert EarlyStoppingState(-0.5, 0.5, 2) == state_at_start(told)
    assert BLIND == state_at_start(blind)
    assert ([3], [2, 3]) == (saved_epochs(told), saved_epochs(blind))


def test_where_seven_decimals_are_equal_the_counter_line_decides() -> None:
    (counted,) = read(result(1, 0.5), result(2, 0.5), COUNTER, saved(15))
    (equal,) = read(result(1, 0.5), result(2, 0.5), saved(15))
    for attempt, counter in ((counted, 1), (equal, 0)):
        first, second = attempt.epochs
        state = state_after(BLIND, first)
        assert not is_tie(BLIND, first)
        assert is_tie(state, second)
        assert has_improved(state, second) is (counter == 0)
        assert counter == state_after(state, second).counter


def test_places_are_those_of_a_search_through_all() -> None:
    """Of many launches that each go on from the one before."""
    lines = [saved(5)]
    for step in range(10, 200, 5):
        lines += [LOAD.format(step - 5), f"Resumed at epoch 0, global_step {step - 5}", saved(step)]
    launches = Launches(read(*lines))
    for earlier, later in pairwise(launches.all):
        assert earlier is launches.last(RUN, before=launches.place(later))
        assert earlier is launches.last_that_saved(RUN, earlier.last_step)
