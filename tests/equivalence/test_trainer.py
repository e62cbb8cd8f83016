"""The reference trainer writes the files, prints the lines and makes the mistakes that the trainer's contract records.

What the tool is tested with must itself be right: each test here is one measured fact about the real trainer.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import reference_trainer as trainer
import torch

from tests.equivalence import harness
from tests.equivalence.comparison import CONSEQUENCES, compare, divergences, replay
from tests.equivalence.harness import TRAIN_STEPS, Cells, Spec
from tests.sampled import sampled

ONE_PROCESS = tuple(s for s in harness.MATRIX if s.world_size == 1)
TWO_PROCESSES = tuple(s for s in harness.MATRIX if s.world_size == 2 and s.kind != "second")
IDLE = ("type1", "type2", "type3", "PEMS", "constant")


def load(path: Path) -> dict:
    return torch.load(path, map_location="cpu", weights_only=False)


def run(tmp_path: Path, *flags: str) -> tuple[trainer.Trace, str]:
    log = io.StringIO()
    return trainer.run(trainer.parse([*flags, "--checkpoints", str(tmp_path)]), log=log), log.getvalue()


# --- what is in the files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lradj",
    # type1 speaks for the idle modes
    sampled(trainer.LRADJ, "TST", "COS", "type1"),
)
@pytest.mark.parametrize("kind", sampled(["mid-epoch", "epoch-end", "best"], "epoch-end"))
def test_last_epoch_means_what_the_mode_makes_it(cells: Cells, lradj: str, kind: str) -> None:
    """TST is saved before its step, COS before its epoch's step, and in the other modes the scheduler never moves."""
    cell = cells.get(Spec("complete", lradj, kind))
    file = load(cell.path)
    step, finished = file["global_step"], cell.position // TRAIN_STEPS
    expected = {"TST": step if kind == "best" else step - 1, "COS": finished - (kind != "mid-epoch")}
    assert expected.get(lradj, 0) == file["scheduler"]["last_epoch"]


@pytest.mark.parametrize("generation", ["first-patch", "complete"])
def test_a_file_holds_the_keys_of_its_generation(cells: Cells, generation: str) -> None:
    """Five keys in the first patch, five more in the complete trainer; `scaler` only under AMP."""
    first = ["model", "optimizer", "scheduler", "epoch", "global_step"]
    added = ["best_score", "val_loss_min", "counter", "rng_state", "sampler_state"]
    for kind in ("mid-epoch", "best"):
        expected = first if generation == "first-patch" else first + added
        assert expected == list(load(cells.get(Spec(generation, "TST", kind)).path))


def test_metadata_has_the_types_that_the_trainer_makes(cells: Cells) -> None:
    """Counts are int; best_score is numpy's float; Adam's step is a 0-d float32 tensor equal to global_step."""
    file = load(cells.get(Spec("complete", "TST", "mid-epoch")).path)
    types = {key: type(file[key]) for key in ("epoch", "global_step", "counter", "best_score", "val_loss_min")}
    assert {int} == {types.pop("epoch"), types.pop("global_step"), types.pop("counter")}
    assert {np.float64} == set(types.values())
    steps = {state["step"] for state in file["optimizer"]["state"].values()}
    assert all(s.shape == () and s.dtype == torch.float32 and s == file["global_step"] for s in steps)
    assert ["step", "exp_avg", "exp_avg_sq"] == list(file["optimizer"]["state"][0])
    assert (5056,) == tuple(file["rng_state"]["torch"].shape)


def test_before_the_first_validation_early_stopping_knows_nothing(cells: Cells) -> None:
    """A step file of the first epoch has best_score None and val_loss_min a Python inf."""
    file = load(cells.get(Spec("complete", "TST", "first-epoch")).path)
    assert (None, math.inf, 0) == (file["best_score"], file["val_loss_min"], file["counter"])
    assert float is type(file["val_loss_min"])


def test_a_best_file_is_stale_inside(cells: Cells) -> None:
    """EarlyStopping saves before it updates itself: best_score is new, val_loss_min and counter are the previous."""
    cell = cells.get(Spec("complete", "TST", "best"))
    file = load(cell.path)
    assert -cell.history[-1] == file["best_score"]
    _, previous, counter = replay(cell.history[:-1])
    assert (previous, counter) == (file["val_loss_min"], file["counter"])
    assert counter != 0


def test_only_the_trainable_layers_are_in_the_optimizer_and_two_names_share_one_storage(cells: Cells) -> None:
    """13 of 21 tensors are trained; `word_embeddings` is the backbone's embedding under a second name."""
    file = load(cells.get(Spec("complete", "TST", "best")).path)
    model = file["model"]
    assert 13 == len(file["optimizer"]["param_groups"][0]["params"]) < len(model)
    assert model["word_embeddings"].data_ptr() == model["llm_model.wte.weight"].data_ptr()


def test_weights_only_loading_accepts_the_first_generations_and_refuses_the_complete(cells: Cells) -> None:
    """numpy's scalars and arrays are what `torch.load(weights_only=True)` refuses."""
    for generation, kind in (("legacy", "best"), ("first-patch", "best"), ("first-patch", "mid-epoch")):
        torch.load(cells.get(Spec(generation, "TST", kind)).path, weights_only=True)
    with pytest.raises(pickle.UnpicklingError, match="numpy"):
        torch.load(cells.get(Spec("complete", "TST", "best")).path, weights_only=True)


def test_one_cycle_keeps_its_first_rate_in_idle_mode_while_the_group_falls(cells: Cells) -> None:
    """In TST and COS `_last_lr` and the group's `lr` are one number."""
    idle = load(cells.get(Spec("complete", "type1", "mid-epoch")).path)
    assert [pytest.approx(0.01 / 25)] == idle["scheduler"]["_last_lr"]
    assert idle["scheduler"]["_last_lr"][0] * 0.5**3 == idle["optimizer"]["param_groups"][0]["lr"]
    for lradj in ("TST", "COS"):
        file = load(cells.get(Spec("complete", lradj, "mid-epoch")).path)
        assert file["scheduler"]["_last_lr"][0] == file["optimizer"]["param_groups"][0]["lr"]


def test_amp_adds_the_scaler(tmp_path: Path) -> None:
    """Under AMP the complete trainer saves the gradient scaler's state too."""
    trace, _ = run(tmp_path, "--use_amp", "--train_epochs", "1", "--save_steps", "6")
    assert trace.error is None
    expected = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}
    assert expected == set(load(Path(trace.saves[0].path))["scaler"])


def test_the_oldest_step_folders_go_and_the_best_file_stays(tmp_path: Path) -> None:
    """`--save_total_limit N` keeps the N highest numbers, by number and not by name."""
    trace, _ = run(tmp_path, "--save_steps", "4", "--save_total_limit", "2", "--train_epochs", "1")
    names = {p.name for p in Path(trace.saves[0].path).parents[1].iterdir()}
    assert {"checkpoint", "checkpoint_step_8", "checkpoint_step_12"} == names


# --- EarlyStopping and the log ---------------------------------------------------------------------------------------


def test_early_stopping_stops_when_patience_is_used_up(tmp_path: Path) -> None:
    """Worse validations count up; at `--patience` training ends."""
    trace, text = run(tmp_path, "--vali-offsets", "0", "1", "1", "1", "--patience", "2")
    assert [(True, 0), (False, 1), (False, 2)] == [(e.saved, e.counter) for e in trace.epochs]
    assert text.splitlines()[-3:-1] == ["EarlyStopping counter: 2 out of 2", "Early stopping"]


def test_nan_counts_as_an_improvement_and_so_does_what_follows(tmp_path: Path) -> None:
    """`nan < x` is false: a NaN is saved as best, and then anything is."""
    trace, _ = run(tmp_path, "--vali-offsets", "0", "nan", "9", "--train_epochs", "3")
    assert [True, True, True] == [e.saved for e in trace.epochs]
    assert trace.epochs[2].vali_loss > trace.epochs[0].vali_loss


LINES = {
    "type1": r"lr = 0\.0004000000\nUpdating learning rate to 0\.0003999999999999993\n",
    "TST": r"Updating learning rate to 0\.\d+\n",
    "COS": r"lr = 0\.\d{10}\n",
}


@pytest.mark.parametrize("lradj", LINES)
def test_an_epoch_ends_with_the_lines_of_its_mode(tmp_path: Path, lradj: str) -> None:
    """Cost, losses with 7 decimals, then the rate: printed in each mode in its own way."""
    _, text = run(tmp_path, "--lradj", lradj, "--train_epochs", "1")
    losses = " ".join(rf"{name}: \d\.\d{{7}}" for name in ("Train Loss", "Vali Loss", "Test Loss", "MAE Loss"))
    pattern = (
        rf"Epoch: 1 cost time: [\d.e-]+\nEpoch: 1 \| {losses}\n{LINES[lradj]}Checkpoints saved at: \./checkpoints\n"
    )
    assert re.fullmatch(pattern, text)


def test_a_resume_says_what_it_found_before_it_corrects_the_epoch(tmp_path: Path) -> None:
    """`Resumed at epoch` prints the file's epoch; the complete trainer takes a later one for an epoch-end file."""
    trace, _ = run(tmp_path, "--save_steps", "12", "--stop-after-save", "1")
    file = trace.saves[0].path
    resumed, text = run(tmp_path, "--resume_from_checkpoint", str(Path(file).parent), "--train_epochs", "2")
    expected = [
        f"Loading checkpoint: {file}",
        "Resumed at epoch 0, global_step 12",
        "Restored EarlyStopping: best_score=None, val_loss_min=inf, counter=0",
    ]
    assert expected == text.splitlines()[:3]
    assert (1, 0) == (resumed.start.epoch, resumed.start.skip)


def test_a_resume_in_mid_epoch_announces_what_it_skips(cells: Cells) -> None:
    """0-based epoch, and the number of batches."""
    cell = harness.copy(cells.get(Spec("complete", "COS", "mid-epoch")), cells.root / "announced")
    harness.resume(cell)
    assert "Will skip first 6 batches in epoch 4 to resume.\n" in cell.log.read_text()


def test_progress_bars_share_lines_with_what_is_printed(tmp_path: Path) -> None:
    """tqdm ends no line while its loop runs: a printed line starts behind the bars' carriage returns."""
    _, text = run(tmp_path, "--progress", "--save_steps", "6", "--train_epochs", "1")
    assert re.search(r"(?m)^\r0it \[00:00, \?it/s\].*Saved step checkpoint: .*/checkpoint_step_6$", text)


# --- what diverges after a resume ------------------------------------------------------------------------------------


def contract(spec: Spec) -> set[str]:
    """The divergences that the contract predicts for a resume from this file, consequences left out."""
    complete, end = spec.generation == "complete", spec.kind in ("epoch-end", "in-validation")
    best, first = spec.kind in harness.BEST, spec.kind == "first-epoch"
    repeats = (end and not complete) or (best and spec.generation == "first-patch-old")
    expected: set[str] = set()
    if spec.generation == "legacy" and best:  # weights only: everything else starts anew
        expected = {"start", "repeated", "global-step", "early-stopping", "val-loss-min"}
        expected |= {"lr", "beta1"} if spec.lradj == "TST" else {"lr"} if spec.lradj != "constant" else set()
        return expected
    if repeats:
        expected |= {"start", "repeated"}
    if end and complete:
        expected |= {"validation"}
    if spec.lradj == "TST" and (spec.kind != "best"):
        expected |= {"lr", "beta1"}  # a step file lags one step, and so does what was saved after resuming from one
    if spec.lradj == "COS" and (best or end):
        expected |= {"lr"}
    if spec.lradj in IDLE and not first and (spec.lradj != "type2" or end or repeats):
        expected |= {"lr"}  # type2 is a table: the base does not matter, only a missed entry does
    if spec.generation.startswith("first-patch") and not first:
        expected |= {"early-stopping", "val-loss-min"}  # never read
    if complete and best:
        expected |= {"early-stopping", "val-loss-min"}  # stale inside
    return expected


@pytest.mark.parametrize("spec", harness.parameters(ONE_PROCESS))
def test_a_resume_diverges_as_the_contract_says_and_in_no_other_way(cells: Cells, spec: Spec) -> None:
    """3 generations x 7 modes x 7 ways of being interrupted, against the uninterrupted run, bit for bit."""
    cell, trace = cells.resumed(spec)
    assert contract(spec) == divergences(trace, cell) - CONSEQUENCES


@pytest.mark.parametrize("spec", [Spec("complete", "TST", "mid-epoch"), Spec("complete", "TST", "second")], ids=str)
def test_each_resume_from_a_tst_step_file_adds_a_step_of_lag(cells: Cells, spec: Spec) -> None:
    """The first step after the resume uses the rate of one step earlier, of two after the second resume."""
    cell, trace = cells.resumed(spec)
    lag = 2 if spec.kind == "second" else 1
    assert cell.reference.steps[cell.position - lag].lr == trace.steps[0].lr


def test_cos_lags_one_epoch_from_a_best_file(cells: Cells) -> None:
    """Saved before the epoch's scheduler step."""
    cell, trace = cells.resumed(Spec("complete", "COS", "best"))
    assert cell.reference.steps[cell.position - 1].lr == trace.steps[0].lr


@pytest.mark.parametrize("lradj", sampled(["type1", "type3", "PEMS", "constant"], "type1"))
def test_idle_modes_jump_to_25_times_the_rate_at_the_next_epoch(cells: Cells, lradj: str) -> None:
    """A process that did not see the end of epoch 0 computes its rates from `--learning_rate`."""
    cell, trace = cells.resumed(Spec("complete", lradj, "mid-epoch"))
    assert pytest.approx(25) == trace.epochs[0].lr[0] / cell.reference.epochs[trace.epochs[0].epoch].lr[0]


def test_first_patch_cannot_read_a_bare_state_dict(cells: Cells) -> None:
    """The complete trainer loads the weights and starts anew; the first patch raises."""
    cell = harness.copy(cells.get(Spec("legacy", "TST", "best")), cells.root / "bare")
    assert "KeyError: 'model'" == harness.resume(cell, generation="first-patch").error
    started = harness.resume(cell).start
    assert (0, 0, 0, None) == (started.epoch, started.skip, started.global_step, started.best_score)


@pytest.mark.parametrize("plain", [True, False])
def test_past_its_end_one_cycle_raises_or_stays_frozen(cells: Cells, plain: bool) -> None:
    """`total_steps` comes from the file: more epochs than it was made for run past it."""
    cell = harness.copy(cells.get(Spec("complete", "TST", "best")), cells.root / f"past-{plain}")
    trace = harness.resume(cell, ("--train_epochs", "8", "--patience", "9", *["--plain-scheduler"] * plain))
    if plain:
        assert trace.error is not None
        assert "Tried to step 73 times" in trace.error
    else:
        assert 1 == len({step.lr for step in trace.steps if step.global_step > harness.EPOCHS * TRAIN_STEPS})


def test_blind_early_stopping_overwrites_a_better_model(cells: Cells) -> None:
    """The first epoch after the resume is saved, however bad."""
    cell, trace = cells.resumed(Spec("first-patch", "COS", "mid-epoch"))
    found = {d.name: d for d in compare(trace, cell)}
    assert "epoch 4" == found["overwrite"].where
    assert trace.epochs[0].vali_loss > min(cell.history)


# --- two processes ---------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("spec", TWO_PROCESSES, ids=str)
def test_two_processes_resume_where_unsharded_numbers_lead(cells: Cells, spec: Spec) -> None:
    """The trainer divides `global_step` by the unsharded length, though a process makes half as many steps."""
    cell, trace = cells.resumed(spec)
    file = load(cell.path)
    step, epoch = file["global_step"], file["epoch"]
    lag = 0 if spec.kind == "best" else 1
    finished = cell.position // cell.steps_per_epoch
    expected = {"TST": 2 * (step - lag), "COS": 2 * (finished - (spec.kind in ("best", "epoch-end")))}
    assert expected.get(spec.lradj, 0) == file["scheduler"]["last_epoch"]
    if spec.lradj != "COS":
        assert TRAIN_STEPS * harness.EPOCHS == file["scheduler"]["total_steps"]

    start, skip = epoch, step % TRAIN_STEPS
    if spec.generation == "complete":
        start = max(epoch, step // TRAIN_STEPS)
        skip = 0 if start > step // TRAIN_STEPS else skip
    assert (start, skip) == (trace.start.epoch, trace.start.skip)
    wrong = (start, skip) != (cell.expected.epoch, cell.expected.skip)
    assert wrong == bool({"start", "skipped", "repeated"} & divergences(trace, cell))


@pytest.mark.long
def test_an_epoch_that_trains_nothing_still_overwrites_the_best_model(cells: Cells) -> None:
    """First patch, two processes: all batches of an epoch are skipped, its loss is nan, `checkpoint` is written."""
    cell, trace = cells.resumed(Spec("first-patch", "TST", "best", world_size=2))
    assert 0 == trace.epochs[0].steps
    assert math.isnan(trace.epochs[0].train_loss)
    assert trace.epochs[0].saved
    assert {"skipped", "overwrite"} <= divergences(trace, cell)
