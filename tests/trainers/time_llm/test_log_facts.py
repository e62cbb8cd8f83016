"""What a log says of the training command, and when it says nothing."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor.trainers.schedules import cosine_annealing, one_cycle, one_cycle_group, one_cycle_state
from ckpt_doctor.trainers.time_llm.attempts import attempts_of
from ckpt_doctor.trainers.time_llm.log import events
from ckpt_doctor.trainers.time_llm.log_facts import log_facts, lradj_candidates
from ckpt_doctor.trainers.time_llm.modes import adjust_learning_rate
from tests.trainers.time_llm.log_writer import Trainer

MODES = ("TST", "COS", "type1", "type2", "type3", "PEMS", "constant")


def rate_lines(mode, learning_rate, steps=7, epochs=6):
    """What the trainer prints after each epoch (the end of the epoch loop in `run_main.py`)."""
    group = one_cycle_group(learning_rate)
    state = one_cycle_state(group, steps * epochs, 0)
    base = one_cycle(state, group, 0).lr  # building OneCycleLR has set it before the first batch

    def lines(epoch):
        if mode == "TST":
            return [f"Updating learning rate to {one_cycle(state, group, epoch * steps).lr}"]
        if mode == "COS":
            return [f"lr = {cosine_annealing(learning_rate, 20, 1e-8, epoch):.10f}"]
        first = [f"lr = {base:.10f}"] if epoch == 1 else []
        rate = adjust_learning_rate(mode, base, epoch)
        return first if rate is None else [*first, f"Updating learning rate to {rate}"]

    return lines


def facts(trainer):
    return log_facts(trainer.attempts(Path("train.log")))


def read(*lines):
    return log_facts(attempts_of(events(["".join(line + "\n" for line in lines).encode()]), Path("train.log")))


def result(epoch):
    return f"Epoch: {epoch} | Train Loss: 0.5000000 Vali Loss: 0.5000000 Test Loss: 0.4000000 MAE Loss: 0.4000000"


# --- modes -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.floats(1e-5, 0.5), st.integers(1, 6), st.integers(0, 80))
@pytest.mark.parametrize("mode", MODES)
def test_the_mode_that_printed_the_rates_is_always_among_the_candidates(mode, learning_rate, epochs, kill_after):
    """Whatever the rate, however early the kill."""
    trainer = Trainer([0.5] * epochs, rates=rate_lines(mode, learning_rate))
    trainer.launch(kill_after=kill_after)
    candidates = lradj_candidates(trainer.attempts())
    assert candidates is None or mode in candidates


@pytest.mark.parametrize("mode", MODES)
def test_four_epochs_tell_the_mode(mode):
    """Which lines are printed, and by which factor the rates fall, is different in each."""
    trainer = Trainer([0.5] * 4, rates=rate_lines(mode, 0.01))
    trainer.launch()
    assert (mode,) == facts(trainer).lradj_candidates


@pytest.mark.parametrize("mode", ["type1", "type3", "PEMS"])
def test_a_resume_may_bring_another_base_rate(mode):
    """Of each attempt the rates need one base only; after a resume it is 25 times the first."""
    trainer = Trainer([0.5] * 6, rates=rate_lines(mode, 0.01))
    trainer.launch(kill_after=30)
    trainer.rates = rate_lines(mode, 0.25)
    trainer.launch("checkpoint_step_15")
    assert (mode,) == facts(trainer).lradj_candidates


def test_epochs_whose_rate_lines_may_be_lost_say_nothing():
    """A log that ends behind an epoch's result."""
    assert read(result(1)).lradj_candidates is None
    assert read(result(1), "lr = 0.0100000000").lradj_candidates is None


def test_rates_of_no_known_mode_say_nothing():
    """A trainer that was changed: better silent than wrong."""
    assert read(result(1), "\titers: 100, epoch: 2 | loss: 0.5000000").lradj_candidates is None


# --- lengths ---------------------------------------------------------------------------------------------------------


def test_a_closed_bar_before_the_epochs_cost_counts_its_batches():
    """All epochs agree, and no save or iteration contradicts."""
    trainer = Trainer([0.5] * 3)
    trainer.launch()
    found = facts(trainer)
    assert 7 == found.real_steps.value
    assert "train.log, line 2: tqdm counted 7 batches in epoch 1" == found.real_steps.source


@pytest.mark.parametrize(
    "lines",
    [
        ["\r7it [00:01, 7it/s]", "Epoch: 1 cost time: 1", "\r15it [00:01, 7it/s]", "Epoch: 2 cost time: 1"],
        ["\titers: 100, epoch: 1 | loss: 0.5000000", "\r15it [00:01, 7it/s]", "Epoch: 1 cost time: 1"],
        ["Saved step checkpoint: /c/r/checkpoint_step_20", "\r15it [00:01, 7it/s]", "Epoch: 1 cost time: 1"],
        ["\r15it [00:01, 7it/s]", "Epoch: 1 cost time: 1", result(1), "Saved step checkpoint: /c/r/checkpoint_step_10"],
        ["\r0it [00:00, ?it/s]", "Epoch: 1 cost time: 1"],
        ["\r15it [00:01, 7it/s]", "text", result(1)],
    ],
)
def test_a_bar_that_may_be_anothers_counts_nothing(lines):
    """Buffers mix bars and lines: validation bars stand where training bars are expected."""
    assert read(*lines).real_steps is None


def test_a_resume_in_mid_epoch_tells_the_steps_per_epoch():
    """global_step = epoch * train_steps + skipped batches."""
    resume = ["Resumed at epoch 2, global_step 18000", "Will skip first 720 batches in epoch 2 to resume."]
    found = read("Loading checkpoint: /c/r/checkpoint_step_18000/checkpoint.pt", *resume, result(3))
    assert 8640 == found.steps_per_epoch.value
    assert "line 3" in found.steps_per_epoch.source
    assert (
        read("Resumed at epoch 0, global_step 10", "Will skip first 10 batches in epoch 0 to resume.").steps_per_epoch
        is None
    )


def test_a_run_that_came_to_its_end_tells_its_epochs():
    """Not one that was stopped early, nor one that was killed."""
    end = "Checkpoints saved at: ./checkpoints"
    assert 2 == read(result(1), result(2), end).arguments.train_epochs.value
    assert read(result(1), "Early stopping", end).arguments.train_epochs is None
    assert read(result(1)).arguments.train_epochs is None


# --- the rest --------------------------------------------------------------------------------------------------------


def test_patience_is_the_last_that_was_printed():
    """Each launch can have its own."""
    counter = "EarlyStopping counter: 1 out of {}"
    found = read(result(1), result(2), counter.format(10), result(1), result(2), counter.format(3))
    assert 3 == found.patience.value
    assert "line 6" in found.patience.source
    assert 7 == read("Namespace(patience=7)", result(1)).patience.value
    assert read(result(1)).patience is None


def test_a_restore_shows_the_complete_trainer():
    """The first patch prints no such line."""
    resume = ["Loading checkpoint: /c/r/checkpoint", "Resumed at epoch 1, global_step 7"]
    assert not read(*resume).restores
    assert read(*resume, "Restored EarlyStopping: best_score=-0.5, val_loss_min=0.5, counter=0").restores


def test_printed_arguments_are_facts_where_all_launches_agree():
    """A value that is none, and values that differ, are left out."""
    command = "python run_main.py --learning_rate {} --lradj {} --train_epochs 5 --pct_start 0.2"
    found = read(command.format(0.01, "COS"), result(1)).arguments
    assert (0.01, "COS", 5, 0.2) == tuple(
        getattr(found, name).value for name in ("learning_rate", "lradj", "train_epochs", "pct_start")
    )
    two = read(command.format(0.01, "COS"), result(1), command.format(0.02, "nothing"), result(1)).arguments
    assert two.learning_rate is None
    assert "COS" == two.lradj.value
    assert read(command.format("1e-x", "COS"), result(1)).arguments.learning_rate is None


def test_attempts_that_come_from_no_file_are_no_log():
    """There is nothing to cite."""
    assert log_facts(Trainer([0.5]).attempts()) is None
