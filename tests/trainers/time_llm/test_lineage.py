"""The way to a checkpoint through kills and resumes, and what EarlyStopping knew on it."""

import math
from dataclasses import replace
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor.trainers.time_llm.attempts import attempts_of
from ckpt_doctor.trainers.time_llm.early_stopping import BLIND, after
from ckpt_doctor.trainers.time_llm.history import History, match
from ckpt_doctor.trainers.time_llm.lineage import Unsettled
from ckpt_doctor.trainers.time_llm.log import events
from ckpt_doctor.types import EarlyStoppingState, Evidence
from tests.trainers.time_llm.log_writer import RUN, Trainer, history, read, result, saved

# --- any sequence of kills and resumes -------------------------------------------------------------------------------


@st.composite
def trainings(draw):
    """A run that was killed and resumed a few times, from a step checkpoint, the best one, or not at all."""
    losses = draw(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.25, math.nan]), min_size=4, max_size=4))
    trainer = Trainer(losses, complete=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 4))):
        resume = draw(st.sampled_from([None, *sorted(trainer.files)]))
        trainer.launch(resume, kill_after=draw(st.integers(5, 40)))
    return trainer


@settings(max_examples=100)
@given(trainings())
def test_after_any_kills_and_resumes_each_file_finds_its_own_validations(trainer):
    """For every file on disk: the uninterrupted run's state, and the one that the trainer had in memory.

    Only where two losses are equal to the last printed digit and the deciding line is lost, nothing is said.
    """
    found = match(trainer.attempts(), RUN, given=True)
    run = History(RUN, found.attempts, found.confirmed, found.reason)
    for name, file in trainer.files.items():
        how = {"global_step": file.global_step, "finished_epochs": file.epoch, "best": name == "checkpoint"}
        uninterrupted = [*accumulate(trainer.losses, after, initial=BLIND)][file.epoch]
        way = run.lineage(**how)
        assert not isinstance(way, Unsettled), way.reason
        assert repr(file.memory) == repr(way.actual)
        assert not way.missing
        assert not way.conflicts
        assert way.ties or repr(uninterrupted) == repr(way.uninterrupted)


def test_the_state_of_a_first_patch_run_is_the_uninterrupted_one_and_the_blind_one():
    """A trainer that restores nothing forgets the best at each resume; the file should hold it all the same."""
    trainer = Trainer([0.2, 0.5, 0.4, 0.3], complete=False)
    trainer.launch(kill_after=9)
    trainer.launch("checkpoint_step_10")
    way = history(trainer.attempts()).lineage(global_step=25, finished_epochs=3)
    assert EarlyStoppingState(-0.2, 0.2, 2) == way.uninterrupted
    assert EarlyStoppingState(-0.4, 0.4, 0) == way.actual


def test_epochs_of_a_killed_attempt_behind_the_save_are_on_no_way():
    """The second attempt repeats epoch 2; what the first did in it after the save counts for nothing."""
    run = history(
        read(
            saved(5), result(1, 0.5), saved(10), result(2, 0.1), saved(15),
            f"Loading checkpoint: /c/{RUN}/checkpoint_step_10/checkpoint.pt", "Resumed at epoch 1, global_step 10",
            "Restored EarlyStopping: best_score=-0.5, val_loss_min=0.5, counter=0",
            "Will skip first 3 batches in epoch 1 to resume.", result(2, 0.6), saved(15),
        )
    )  # fmt: skip
    assert EarlyStoppingState(-0.5, 0.5, 1) == run.lineage(global_step=15, finished_epochs=2).uninterrupted


def test_a_resume_from_another_runs_folder_is_followed_there():
    """A changed model comment makes another folder; its history begins in the old one."""
    first = Trainer([0.4, 0.3, 0.2, 0.1], run="old-A")
    first.launch(kill_after=9)
    second = Trainer(first.losses, run="old-A", files=dict(first.files))
    second.launch("checkpoint_step_10")
    text = second.text.replace(
        b"Saved step checkpoint: /content/drive/MyDrive/checkpoints/old-A", b"Saved step checkpoint: /c/new"
    )
    run = history(attempts_of(events([first.text + text])), "new")
    assert EarlyStoppingState(-0.2, 0.2, 0) == run.lineage(global_step=25, finished_epochs=3).uninterrupted


def test_restored_values_stand_for_a_beginning_that_the_log_lacks():
    """A log that begins with a resume of the complete trainer knows the state; one of the first patch does not."""
    resume = [f"Loading checkpoint: /c/{RUN}/checkpoint_step_10/checkpoint.pt", "Resumed at epoch 1, global_step 10"]
    restored = "Restored EarlyStopping: best_score=-0.41234567, val_loss_min=0.41234567, counter=2"
    told = history(read(*resume, restored, result(2, 0.5), saved(15)))
    assert (
        EarlyStoppingState(-0.41234567, 0.41234567, 3) == told.lineage(global_step=15, finished_epochs=2).uninterrupted
    )
    untold = history(read(*resume, result(2, 0.5), saved(15)))
    assert "is not in the log" in untold.lineage(global_step=15, finished_epochs=2).reason


def test_a_log_without_its_head_tells_nothing():
    """Epoch 3 without a resume before it: what came earlier is cut off."""
    run = history(read(result(3, 0.5), saved(25)))
    assert "is missing" in run.lineage(global_step=25, finished_epochs=3).reason


def test_a_save_whose_line_was_lost_belongs_to_the_attempt_that_was_killed():
    """Files can be ahead of the log by what the kill took from the buffer."""
    run = history(read(saved(5), result(1, 0.5), saved(10)))
    assert EarlyStoppingState(-0.5, 0.5, 0) == run.lineage(global_step=13, finished_epochs=1).uninterrupted
    assert "log ends before epoch 2" in run.lineage(global_step=20, finished_epochs=2).reason


def test_a_step_that_a_finished_run_never_saved_is_not_explained():
    """Nothing is lost from a log that ends with the trainer's last line."""
    trainer = Trainer([0.5, 0.4])
    trainer.launch()
    assert isinstance(history(trainer.attempts()).lineage(global_step=13, finished_epochs=1), Unsettled)


def test_a_validation_that_the_trainer_skipped_is_named():
    """From an exact epoch's end the complete trainer goes on with the next epoch: that validation never was."""
    run = history(
        read(
            saved(7),
            f"Loading checkpoint: /c/{RUN}/checkpoint_step_7/checkpoint.pt", "Resumed at epoch 0, global_step 7",
            "Restored EarlyStopping: best_score=None, val_loss_min=inf, counter=0", result(2, 0.5), saved(15),
        )
    )  # fmt: skip
    assert (1,) == run.lineage(global_step=15, finished_epochs=2).missing
    assert "never validated" in run.early_stopping(global_step=15, finished_epochs=2).reason
    assert "ends before" in run.lineage(global_step=7, finished_epochs=1).reason


def test_at_an_epochs_end_the_validation_behind_the_save_counts_if_asked():
    """A step checkpoint is saved before its epoch's validation; the resume point stands after it."""
    trainer = Trainer([0.5, 0.4], save_steps=7)
    trainer.launch()
    run = history(trainer.attempts())
    assert BLIND == run.lineage(global_step=7, finished_epochs=0).uninterrupted
    assert EarlyStoppingState(-0.5, 0.5, 0) == run.lineage(global_step=7, finished_epochs=1).uninterrupted


def test_an_epoch_that_was_trained_twice_counts_twice():
    """A best file with the unincremented epoch makes the first patch repeat that epoch."""
    run = history(
        read(
            saved(5), result(1, 0.5), f"Loading checkpoint: /c/{RUN}/checkpoint", "Resumed at epoch 0, global_step 7",
            result(1, 0.6), saved(15),
        )
    )  # fmt: skip
    way = run.lineage(global_step=15, finished_epochs=1)
    assert EarlyStoppingState(-0.5, 0.5, 1) == way.uninterrupted


# --- lines that decide -----------------------------------------------------------------------------------------------


def test_equal_digits_are_decided_by_the_counter_line():
    """0.5000000 after 0.5000000 can be worse in the eighth decimal; the trainer then prints its counter."""
    counted = read(result(1, 0.5), result(2, 0.5), "EarlyStopping counter: 1 out of 10", saved(15))
    equal = read(result(1, 0.5), result(2, 0.5), "Updating learning rate to 0.1", saved(15))
    lost = read(saved(5), result(1, 0.5), saved(10), result(2, 0.5))
    how = {"global_step": 15, "finished_epochs": 2}
    assert 1 == history(counted).lineage(**how).uninterrupted.counter
    assert 0 == history(equal).lineage(**how).uninterrupted.counter
    assert "all 7 decimals" in history(lost).early_stopping(**how).reason


def test_lines_that_contradict_the_losses_are_named():
    """A counter that the losses do not give, a decrease that is none."""
    run = history(
        read(
            result(1, 0.5), "Validation loss decreased (inf --> 0.500000).  Saving model ...", result(2, 0.6),
            "EarlyStopping counter: 5 out of 10", result(3, 0.7),
            "Validation loss decreased (0.500000 --> 0.700000).  Saving model ...", saved(25),
        )
    )  # fmt: skip
    first, second = run.lineage(global_step=25, finished_epochs=3).conflicts
    assert "counts 5, its losses give 1" in first
    assert "decreased" in second


def test_the_last_best_is_what_a_legacy_checkpoint_holds():
    """Without a step count in the file, the last improvement of the last attempt decides."""
    run = history(read(result(1, 0.5), result(2, 0.3), result(3, 0.4), "EarlyStopping counter: 1 out of 3"))
    named = history([replace(attempt, run=RUN) for attempt in run.attempts])
    way = named.last_best()
    assert EarlyStoppingState(-0.3, 0.3, 0) == way.uninterrupted
    assert 2 == way.epochs[-1].epoch


def test_a_best_file_of_an_epoch_that_did_not_improve_is_not_of_this_log():
    """The trainer saves `checkpoint` only when the loss improves."""
    run = history(read(saved(5), result(1, 0.5), saved(10), result(2, 0.6), saved(15)))
    assert isinstance(run.early_stopping(global_step=7, finished_epochs=1, best=True), Evidence)
    assert "did not improve" in run.lineage(global_step=14, finished_epochs=2, best=True).reason
    assert "no validation" in run.lineage(global_step=99, finished_epochs=1, best=True).reason


def test_a_thousand_resumes_from_the_best_are_followed_quickly():
    """The way back is walked once, however long."""
    lines = [saved(5), result(1, 0.5)]
    for _ in range(300):
        lines += [f"Loading checkpoint: /c/{RUN}/checkpoint", "Resumed at epoch 1, global_step 7", saved(10)]
    assert (
        EarlyStoppingState(-0.5, 0.5, 0)
        == history(read(*lines)).lineage(global_step=10, finished_epochs=1).uninterrupted
    )
