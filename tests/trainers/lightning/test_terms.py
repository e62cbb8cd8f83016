"""What reports say of Lightning's checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from ckpt_doctor.cli.main import app
from ckpt_doctor.trainers.lightning import terms
from ckpt_doctor.trainers.lightning.command import LightningFacts
from ckpt_doctor.types import Evidence
from tests.reports.report_samples import file
from tests.trainers.lightning.runs import LOSSES, write


def test_the_names_of_another_trainer_are_null_and_its_own_have_the_values(tmp_path):
    path = write(tmp_path)[-1]
    document = json.loads(CliRunner().invoke(app, ["scan", str(path), "--format", "json"]).stdout)
    (unit,), (file,) = document["units"], document["files"]
    own = unit["training"].pop("own")
    assert [min(LOSSES[:3]), "best_model_score"] == [pytest.approx(own["best_model_score"]), next(iter(own))]
    assert unit["training"] == file["training"] and file["training"]["global_step"] == 30
    assert [None] * 3 == [file["training"][name] for name in ("best_score", "val_loss_min", "counter")]


def test_the_start_says_the_epoch_and_the_batch_within_it():
    planned = file("a.ckpt").plan
    facts = LightningFacts(train_epochs=Evidence(5, "given"), batches=Evidence(8640, "loops"))
    assert "starts at epoch 1 of 5 and counts on from batch 8,360 of 8,640" == terms.start(planned, facts)
    assert "starts at epoch 1 with its first batch" == terms.start(replace(planned, skip_batches=0), LightningFacts())
    nowhere = replace(planned, start_epoch=None)
    assert "" == terms.start(nowhere, facts), "what is not exact says why"
    assert "do not show" in terms.start(replace(nowhere, why_not_exact=()), facts)


def test_the_memory_is_the_best_score_and_the_checks_since():
    report = file("a.ckpt")
    planned = replace(report.plan, best_score=0.5, counter=2)
    assert "remembers the best score 0.5, 2 checks" in terms.memory(report, planned, LightningFacts())
    assert "remembers the best score 0.5" == terms.memory(report, replace(planned, counter=None), LightningFacts())
    assert "" == terms.memory(report, replace(planned, best_score=None), LightningFacts())
