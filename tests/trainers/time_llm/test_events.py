"""Each kind of line that the trainer prints is one event with its numbers."""

import math

import pytest

from ckpt_doctor.trainers.time_llm import log
from ckpt_doctor.trainers.time_llm.events import (
    Arguments,
    Counter,
    Decreased,
    EpochCost,
    EpochResult,
    Finished,
    Iterations,
    LearningRate,
    Loading,
    Restored,
    Resumed,
    StepSaved,
    Stopped,
    Updating,
    WillSkip,
)

RUN = "/content/drive/MyDrive/T-L/checkpoints/long_term_forecast_ETTh1_0-Llama3_8B"


def read(data: bytes):
    return list(log.events([data]))


LINES = {
    "Epoch: 1 cost time: 12.3": EpochCost(1, 1),
    "\titers: 100, epoch: 1 | loss: 0.4321987": Iterations(1, 100, 1, 0.4321987),
    "Epoch: 1 | Train Loss: 0.5123456 Vali Loss: 0.4123456 Test Loss: 0.3923456 MAE Loss: 0.4023456": EpochResult(
        1, 1, 0.5123456, 0.4123456, 0.3923456, 0.4023456
    ),
    "Epoch: 12 | Train Loss: 0.5123456 | Aux Loss: 0.0000000 | Vali Loss: 0.4123456 | Test Loss: 0.3923456"
    " | MAE Loss: 0.4023456": EpochResult(1, 12, 0.5123456, 0.4123456, 0.3923456, 0.4023456),
    "Epoch: 2 | Train Loss: 0.5000000 Vali Loss: inf Test Loss: 1.0000000 MAE Loss: 1.0000000": EpochResult(
        1, 2, 0.5, math.inf, 1.0, 1.0
    ),
    "EarlyStopping counter: 1 out of 10": Counter(1, 1, 10),
    "Validation loss decreased (inf --> 0.412346).  Saving model ...": Decreased(1, math.inf, 0.412346),
    "lr = 0.0000040000": LearningRate(1, 4e-06),
    "Updating learning rate to 2e-06": Updating(1, 2e-06),
    "Updating learning rate to 9.999999999999983e-05": Updating(1, 9.999999999999983e-05),
    f"Saved step checkpoint: {RUN}/checkpoint_step_1000": StepSaved(1, f"{RUN}/checkpoint_step_1000", 1000),
    "Saved step checkpoint: D:\\训练 1\\run\\checkpoint_step_20": StepSaved(
        1, "D:\\训练 1\\run\\checkpoint_step_20", 20
    ),
    f"Loading checkpoint: {RUN}/checkpoint": Loading(1, f"{RUN}/checkpoint"),
    "Loading checkpoint: /drive/My Drive/run/checkpoint_step_20/checkpoint.pt": Loading(
        1, "/drive/My Drive/run/checkpoint_step_20/checkpoint.pt"
    ),
    "Resumed at epoch 2, global_step 17280": Resumed(1, 2, 17280),
    "Restored EarlyStopping: best_score=-0.41, val_loss_min=0.41, counter=0": Restored(1, -0.41, 0.41, 0),
    "Restored EarlyStopping: best_score=None, val_loss_min=inf, counter=0": Restored(1, None, math.inf, 0),
    "Restored EarlyStopping: best_score=np.float64(-0.41), val_loss_min=np.float64(0.41), counter=3": Restored(
        1, -0.41, 0.41, 3
    ),
    "Will skip first 720 batches in epoch 2 to resume.": WillSkip(1, 720, 2),
    "Early stopping": Stopped(1),
    "Checkpoints saved at: ./checkpoints": Finished(1, "./checkpoints"),
    "Namespace(task_name='x', learning_rate=0.01, lradj='type1', patience=10)": Arguments(
        1, {"learning_rate": "0.01", "lradj": "type1", "patience": "10"}
    ),
    "+ accelerate launch --mixed_precision bf16 run_main.py --train_epochs 5 --lradj=TST --pct_start 0.2": Arguments(
        1, {"train_epochs": "5", "lradj": "TST", "pct_start": "0.2"}
    ),
}


@pytest.mark.parametrize(("text", "event"), LINES.items())
def test_each_line_of_the_trainer_is_one_event(text, event):
    """Both epoch formats, all other lines, with and without Windows line ends and bars in front."""
    for data in (f"{text}\n", f"{text}\r\n", f"\r0it [00:00, ?it/s]\r14it [00:01, 11.32it/s]{text}\n"):
        assert [event] == read(data.encode())


def test_a_loss_that_is_not_a_number_is_kept_as_that():
    """NaN as validation loss is the trainer's own print, and EarlyStopping sees it."""
    [event] = read(b"Epoch: 3 | Train Loss: nan Vali Loss: nan Test Loss: nan MAE Loss: nan\n")
    assert event.epoch == 3
    assert math.isnan(event.vali_loss)
