"""Paths -> a report, whatever the files hold."""

from __future__ import annotations

from pathlib import Path

import torch

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
