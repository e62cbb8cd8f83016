"""What the next run makes of journals, undo data and temporary files that a killed run, or another program, left."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from ckpt_doctor import latest, migrate, scan, writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from tests.writer.sample_files import cut_off, edited, litter, make


def test_a_write_after_an_interrupted_one_starts_from_the_old_file(tmp_path):
    """What was read from the half-written file is void: the write rolls back, refuses, and works the next time."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = cut_off(path, keep=1.0)
    with pytest.raises(WriteRefused, match="rolled back; run again"):
        writer.write(*edited(path, "torch-zip"), {"edits": []}, verify=lambda _: None)
    assert before == path.read_bytes()
    writer.write(*edited(path, "torch-zip"), {"edits": []}, verify=lambda _: None)
    assert -0.5 == torch.load(path)["best_score"]


COS = next((Path(__file__).parents[2] / "fixtures/sample-runs/complete-COS/checkpoints").iterdir())


@pytest.mark.parametrize("name", ["journal", "undo_file"])
@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_blocks_every_migration_is_told_and_no_cure_is_one_that_cannot_be_carried_out(name, kind, tmp_path):
    """The file needs a migration and can have none until that entry is gone: not `repairable`, nor for `latest`."""
    run = Path(shutil.copytree(COS, tmp_path / COS.name))
    path = run / "checkpoint_step_75" / "checkpoint.pt"
    before, beside = path.read_bytes(), getattr(names, name)(path)
    assert "repairable" == scan(run).files[1].verdict
    {"pipe": os.mkfifo, "link": lambda at: at.symlink_to("nowhere"), "folder": Path.mkdir}[kind](beside)
    (file,) = [file for file in scan(run).files if file.checkpoint.path == path]
    assert "broken" == file.verdict
    assert not any(finding.migration or "migrate" in (finding.fix or "") for finding in file.findings)
    (finding,) = [finding for finding in file.findings if finding.code == "F102"]
    assert "error" == finding.severity
    assert all(word in finding.message for word in (beside.name, "blocks `migrate` and `undo`"))
    assert "Only undo" not in finding.message
    chosen, passed_over = latest(run, repairable=True)
    assert path != chosen
    assert "F102" in dict(passed_over).get(path, "F102")
    assert {"refused", "failed"} >= {result.status for result in migrate(path)}
    assert before == path.read_bytes()
    (beside.rmdir if kind == "folder" else beside.unlink)()
    assert ["migrated"] == [result.status for result in migrate(path)]
    {"pipe": os.mkfifo, "link": lambda at: at.symlink_to("nowhere"), "folder": Path.mkdir}[kind](beside)
    (file,) = [file for file in scan(run).files if file.checkpoint.path == path]
    assert 1 == len(file.checkpoint.migrations)
    assert ["info"] == [finding.severity for finding in file.findings if finding.code == "F102"]


def test_temporary_files_of_killed_runs_go_and_those_of_other_files_stay(tmp_path):
    """Only names that this file's temporary copies can have."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    gone = [".checkpoint.ckpt-doctor-77.tmp", ".checkpoint.ckpt-doctor-undo-78.tmp"]
    stay = [".checkpoint.pt.ckpt-doctor-77.tmp", ".checkpoint.ckpt-doctor-77.tmp.bak", "checkpoint.ckpt-doctor-77.tmp"]
    for name in gone + stay:
        (tmp_path / name).touch()
    assert "cleaned" == writer.recover(path)
    assert {"checkpoint", *stay} == litter(tmp_path)
    assert all(names.is_ours(name) for name in gone)
    assert not any(names.is_ours(name) for name in ("checkpoint", "checkpoint.pt", "my.ckpt-doctor", stay[1]))
