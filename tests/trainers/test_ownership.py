"""Whose checkpoints are judged: the keys fit and one sign shows the trainer, or a person says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from ckpt_doctor import check_resume, latest, migrate, scan
from ckpt_doctor.cli.main import app

RUN = "long_term_forecast_ETTh1_24_8_DLinear_ETTh1_ftM_sl24_ll12_pl8_dm8_Exp_0-x"
TIME_LLM_PARTS = ("llm_model", "patch_embedding", "reprogramming_layer", "output_projection")


def save(path: Path, *, parts: tuple[str, ...] = ("linear",), more: dict[str, Any] | None = None) -> Path:
    """A checkpoint of five keys, healthy for whoever wrote it: `epoch` is the finished one, 10 steps each."""
    model = nn.ModuleDict({part: nn.Linear(2, 2) for part in parts})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=30)
    for _ in range(20):
        sum(layer(torch.ones(1, 2)).sum() for layer in model.values()).backward()
        optimizer.step()
        scheduler.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**state, "epoch": 1, "global_step": 20, **(more or {})}, path)
    return path


def owner(path: Path, **given: Any) -> str:
    return next(file.trainer for file in scan([path], **given).files)


STOPPING = {"best_score": -0.4, "val_loss_min": 0.4, "counter": 0}


@pytest.mark.parametrize(
    ("place", "parts", "more"),
    [
        pytest.param(f"{RUN}/checkpoint", ("linear",), {}, id="the best file of a run folder"),
        pytest.param(f"{RUN}/checkpoint_step_20/checkpoint.pt", ("linear",), {}, id="a step file of a run folder"),
        pytest.param("any/where.pt", TIME_LLM_PARTS, {}, id="TimeLLM's submodules"),
        pytest.param("any/where.pt", ("linear",), STOPPING, id="EarlyStopping's values beside the five keys"),
    ],
)
def test_one_sign_is_enough(tmp_path, place, parts, more):
    assert "time-llm" == owner(save(tmp_path / place, parts=parts, more=more))


@pytest.mark.parametrize(
    ("place", "parts", "more"),
    [
        pytest.param("exp/epoch_1.pth", ("linear",), {}, id="five keys alone"),
        pytest.param("exp/checkpoint_step_20/checkpoint.pt", ("linear",), {}, id="another project's step folder"),
        pytest.param(f"{RUN}/checkpoint.pth", ("linear",), {}, id="another file name in such a run folder"),
        pytest.param(f"{RUN}/checkpoint", ("linear",), {"args": {"lr": 0.01}, "scheduler": {1: 2}}, id="foreign keys"),
        pytest.param("exp/last.pt", ("linear",), {"best_score": 0.9}, id="a best score alone"),
    ],
)
def test_without_a_sign_no_resume_is_judged(tmp_path, place, parts, more):
    """Nothing is wrong with the file, and every command says the same of it."""
    path = save(tmp_path / place, parts=parts, more=more)
    before = path.read_bytes()
    (file,) = scan([path]).files
    assert ("", "ok", "not judged") == (file.trainer, file.verdict, file.resume)
    assert [] == [finding for finding in file.findings if finding.severity != "info"]
    assert {"the resume"} <= {point.what for point in file.not_checked}
    check = check_resume(path).raise_for_errors("warning")
    assert ("ok", "not judged") == (check.verdict, check.resume)
    for command in (["check"], ["inspect"], ["scan"], ["migrate", "--all"]):
        result = CliRunner().invoke(app, [*command, str(path)], catch_exceptions=False)
        assert 0 == result.exit_code, result.output
        assert "KeyError" not in result.output
        assert "this trainer" not in result.output
    assert {"unchanged"} == {result.status for result in migrate([path])}
    assert before == path.read_bytes()


def test_a_sibling_that_is_owned_owns_the_others_that_fit(tmp_path):
    save(tmp_path / "renamed/checkpoint", more=STOPPING)
    step = save(tmp_path / "renamed/checkpoint_step_20/checkpoint.pt")
    assert {"time-llm"} == {file.trainer for file in scan([tmp_path]).files}
    assert "time-llm" == check_resume(step).file.trainer


def test_a_person_may_claim_what_can_be_read(tmp_path):
    path = save(tmp_path / "exp/epoch_1.pth")
    lightning = tmp_path / "exp/other.ckpt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 1, "global_step": 5, "loops": {}}, lightning)
    claimed = {file.checkpoint.path: file.trainer for file in scan([tmp_path], trainer="time-llm").files}
    assert {path: "time-llm", lightning: ""} == claimed
    assert "time-llm" == check_resume(path, trainer="time-llm").file.trainer
    result = CliRunner().invoke(app, ["scan", str(tmp_path), "--trainer", "time-llm", "--format", "json"])
    assert {"time-llm", None} == {file["trainer"] for file in json.loads(result.stdout)["files"]}


def test_a_printed_cure_repeats_the_claim(tmp_path):
    path = save(tmp_path / "exp/checkpoint", more={"epoch": 0})
    report = CliRunner().invoke(app, ["scan", str(path), "--trainer", "time-llm", "--steps-per-epoch", "10"]).output
    cures = [line for line in report.splitlines() if "ckpt-doctor migrate" in line]
    assert cures
    for cure in cures:
        assert "--trainer time-llm" in cure


def test_a_claim_that_cannot_be_is_said(tmp_path):
    lightning = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 1, "global_step": 5, "loops": {}}, lightning)
    output = CliRunner().invoke(app, ["check", str(lightning), "--trainer", "time-llm"]).output
    assert "cannot be read as a checkpoint of time-llm" in " ".join(output.split())


def test_a_printed_cure_repeats_a_log_that_was_named(tmp_path):
    save(tmp_path / RUN / "checkpoint", more={"epoch": 0})
    log = tmp_path / "elsewhere.log"
    log.write_text("nothing of this run\n")
    arguments = ["scan", str(tmp_path / RUN), "--steps-per-epoch", "10", "--log", str(log)]
    output = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"}).output
    cures = [line for line in output.splitlines() if "ckpt-doctor migrate" in line and "strip" not in line]
    assert cures
    for cure in cures:
        assert f"--log {log}" in cure


def test_the_only_file_of_a_folder_is_what_is_resumed_from(tmp_path):
    path = save(tmp_path / "exp/last.pt")
    assert path == check_resume(tmp_path / "exp").file.checkpoint.path


def test_an_unknown_trainer_is_a_usage_error(tmp_path):
    path = save(tmp_path / "exp/last.pt")
    result = CliRunner().invoke(app, ["check", str(path), "--trainer", "keras"])
    assert 2 == result.exit_code
    assert "time-llm" in result.output


def test_latest_takes_the_furthest_whole_file(tmp_path):
    """By the file's own count of steps; where the trainer is not known, that is all there is to go by."""
    save(tmp_path / "exp/b.pt", more={"global_step": 10})
    far = save(tmp_path / "exp/a.pt", more={"global_step": 30})
    cut = save(tmp_path / "exp/c.pt", more={"global_step": 40})
    cut.write_bytes(cut.read_bytes()[:-200])
    torch.save({"w": torch.ones(2)}, tmp_path / "exp/weights.pt")
    path, passed_over = latest(tmp_path / "exp")
    assert far == path
    assert cut in [other for other, _ in passed_over]
