"""Paths -> a report, whatever the files hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt_doctor.audit import scanning
from ckpt_doctor.audit.scanning import audit_run, check, check_all, read_through, scan
from ckpt_doctor.errors import UsageError
from tests.readers.attacks import CALL
from tests.readers.torch_files import save


def test_values_that_no_trainer_writes_stop_nothing(tmp_path: Path):
    """Numbers that no float holds, containers for numbers: the file is judged, and so is the one beside it."""
    from ckpt_doctor import scan

    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(net.parameters())
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=50)
    base = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    huge = 10**400
    for index, change in enumerate(
        [
            {"best_score": huge},
            {"scheduler": {**base["scheduler"], "_last_lr": [huge]}},
            {"scheduler": {**base["scheduler"], "total_steps": float("inf")}},
            {
                "scheduler": {
                    **base["scheduler"],
                    "_schedule_phases": [{"start_lr": {}, "end_lr": {}, "end_step": huge}],
                }
            },
            {"optimizer": {"state": {}, "param_groups": [{"lr": huge, "max_lr": huge, "betas": (huge, {})}]}},
        ]
    ):
        save(tmp_path / f"{index}.pt", {**base, "epoch": 1, "global_step": 5, **change})
    (tmp_path / "evil.pkl").write_bytes(CALL)
    report = scan(tmp_path)
    assert 6 == len(report.files)
    assert "S201" in {finding.code for finding in report.findings}
    assert not any("none that the rule knows" in note.why for file in report.files for note in file.not_checked)


def test_a_scan_reads_all_runs_and_a_check_the_one_file_that_a_resume_takes(sample) -> None:
    """The others of its run are evidence in both, and are reported by the scan alone."""
    run = sample("complete-TST")
    everything, one = scan(run), check(run)
    assert len(everything.files) > 1
    assert [run / "checkpoint"] == [file.checkpoint.path for file in one.files]
    assert len(everything.runs[0].run.members) == len(one.runs[0].run.members)


def test_several_checks_are_those_of_each_file(sample) -> None:
    run = sample("complete-TST")
    files = sorted(run.rglob("checkpoint.pt"))
    (together,) = check_all(files)
    apart = [check(file).files[0] for file in files]
    assert [(f.checkpoint.path, f.verdict, f.findings) for f in apart] == [
        (f.checkpoint.path, f.verdict, f.findings) for f in together.files
    ]


def test_a_path_that_is_not_there_is_an_error_of_the_user_before_anything_is_read(tmp_path: Path) -> None:
    for call in (lambda: scan([tmp_path, tmp_path / "nope"]), lambda: check(tmp_path / "nope")):
        with pytest.raises(UsageError, match="nope"):
            call()
    with pytest.raises(UsageError, match=r"nope\.log"):
        scan(tmp_path, logs=[tmp_path / "nope.log"])


@pytest.mark.parametrize("gone", ["checkpoint", "checkpoint_step_90/checkpoint.pt"])
def test_a_file_that_is_deleted_meanwhile_has_vanished_and_is_not_broken(sample, monkeypatch, gone: str) -> None:
    """A training that goes on deletes its old checkpoints; the question whether to resume from one it still fails."""
    run = sample("complete-COS")

    def later(*given):
        (run / gone).unlink(missing_ok=True)
        return audit_run(*given)

    monkeypatch.setattr(scanning, "audit_run", later)
    files = {file.checkpoint.path: file for file in scan(run).files}
    vanished = files.pop(run / gone)
    assert ("ok", "not judged", ()) == (vanished.verdict, vanished.resume, vanished.findings)
    assert [f"{gone} is not there any more: it was deleted or moved meanwhile"] == [n.why for n in vanished.not_checked]
    assert "broken" not in {file.verdict for file in files.values()}
    (run / gone).write_bytes(b"again")
    assert ["F106"] == [finding.code for finding in check(run / gone).files[0].findings]


def test_a_file_that_is_read_through_is_judged_as_a_deep_scan_judges_it(flipped: Path) -> None:
    run, path = flipped.parent, flipped
    (shallow,) = (f for f in scan(run).files if f.checkpoint.path == path)
    deep = read_through(shallow, scan(run).runs[0].run)
    assert "F102" not in {finding.code for finding in shallow.findings}
    assert "F102" in {finding.code for finding in deep.findings}
    assert deep.findings == next(f.findings for f in scan(run, deep=True).files if f.checkpoint.path == path)
