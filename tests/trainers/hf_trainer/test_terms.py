"""What reports say of the Trainer's checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from ckpt_doctor.cli.main import app
from ckpt_doctor.trainers.hf_trainer import terms
from ckpt_doctor.trainers.hf_trainer.command import HFFacts
from tests.reports.report_samples import file
from tests.trainers.hf_trainer.runs import LOSSES, judged


def test_the_names_of_another_trainer_are_null_and_its_own_have_the_values(best_run: Path) -> None:
    args = ["scan", str(best_run / "checkpoint-20"), "--format", "json"]
    document = json.loads(CliRunner().invoke(app, args).stdout)
    (unit,), (run,) = document["units"], document["runs"]
    assert {"best_metric": LOSSES[10], "early_stopping_patience_counter": 2} == unit["training"]["own"]
    assert [None] * 4 == [run["lradj"], *(unit["training"][name] for name in ("best_score", "val_loss_min", "counter"))]
    shown = CliRunner().invoke(app, ["inspect", args[1]]).stdout
    assert "best_metric" in shown and "best_score" not in shown


def test_the_start_says_the_epoch_and_what_of_it_is_skipped() -> None:
    plan = file("checkpoint-14").plan
    assert plan is not None
    assert "starts in epoch 1 and skips its first 8,360 batches" == terms.start(plan, HFFacts())
    assert "skips its first batch" in terms.start(replace(plan, skip_batches=1), HFFacts())
    assert "starts at the beginning of epoch 2" == terms.start(replace(plan, start_epoch=2, skip_batches=0), HFFacts())
    assert "no file shows" in terms.start(replace(plan, start_epoch=None), HFFacts())


def test_the_memory_is_the_best_metric_and_how_long_early_stopping_has_waited(best_run: Path) -> None:
    """Without the flag the Trainer starts to count again."""
    waiting = judged(best_run / "checkpoint-20")
    assert waiting.plan is not None
    assert "best metric 1" in terms.memory(waiting, waiting.plan, HFFacts())
    assert "has counted 0 of 3" in terms.memory(waiting, waiting.plan, HFFacts())
    assert "has counted 2 of 3" in terms.memory(waiting, replace(waiting.plan, counter=2), HFFacts())
    nothing = replace(waiting.plan, best_score=None, counter=None)
    assert "remembers no best metric" == terms.memory(waiting, nothing, HFFacts())
    assert () == terms.landing(waiting, nothing)
    assert (("best metric", "1", "1"),) == terms.landing(waiting, waiting.plan)
