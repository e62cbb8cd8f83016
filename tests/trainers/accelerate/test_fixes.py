"""A schedule in step with the optimizer, written anew where it is missing."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from ckpt_doctor import migrate, scan
from ckpt_doctor.trainers.accelerate.fixes import FIXES
from ckpt_doctor.trainers.accelerate.judging import JUDGING
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.trainers.trainer import ByHand
from tests.trainers.accelerate.runs import SCHEDULES, SETTLED, Trainer, change, judged, run_of


def test_a_schedule_is_not_written_from_another_rate(tmp_path: Path) -> None:
    folder = run_of(tmp_path) / "step_6"
    (folder / "scheduler.bin").unlink()
    groups = torch.load(folder / "optimizer.bin")["param_groups"]
    change(folder / "optimizer.bin", param_groups=[{**groups[0], "lr": 0.7}])
    assert "broken" == judged(folder).verdict
    run = scan(folder.parent).runs[0].run
    (member,) = [member for member in run.members if member.checkpoint.path == folder]
    (refusal,) = FIXES[0].plan(JUDGING.case(member, run, ByHand())).refusals
    assert "fits the optimizer's rates" in refusal.reason


def test_the_momentum_that_a_one_cycle_moves_is_synced_with_its_rate(tmp_path: Path) -> None:
    """RMSprop's, which is no beta of Adam's."""
    trainer = Trainer(tmp_path)
    trainer.optimizer = torch.optim.RMSprop(trainer.model.parameters(), lr=0.1, momentum=0.9)
    trainer.scheduler = SCHEDULES["onecycle"](trainer.optimizer)
    trainer.train(5)
    early = copy.deepcopy(trainer.optimizer.state_dict()["param_groups"])
    schedule = trainer.scheduler.state_dict()
    trainer.train(1)
    folder = trainer.save("step_6")
    right = torch.load(folder / "optimizer.bin")["param_groups"][0]
    change(folder / "optimizer.bin", param_groups=early)
    torch.save(schedule, folder / "scheduler.bin")
    (result,) = migrate(folder, fixes=["sync-scheduler"], facts=facts(**SETTLED))
    assert "migrated" == result.status
    now = torch.load(folder / "optimizer.bin")["param_groups"][0]
    assert (right["lr"], right["momentum"]) == (now["lr"], now["momentum"]) != (early[0]["lr"], early[0]["momentum"])
