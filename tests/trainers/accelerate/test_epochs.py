"""How scripts name their epochs, schedules that go by epochs, and accumulations: what the folders show together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt_doctor import audit, repair
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import FileReport
from tests.trainers.accelerate.runs import Trainer

BATCHES = 4


def judged(run: Path, **given: object) -> dict[str, FileReport]:
    """The folders of a run by name."""
    return {file.checkpoint.path.name: file for file in audit.scan(run, facts=facts(shuffle=False, **given)).files}


@pytest.mark.parametrize(("first", "starts"), [(0, 1), (1, 1)])
def test_epochs_are_counted_as_the_optimizers_steps_show(tmp_path, first, starts):
    """`epoch_1` after one epoch has one behind it, `epoch_0` as well."""
    trainer = Trainer(tmp_path)
    for epoch in range(3):
        trainer.train(BATCHES)
        trainer.save(f"epoch_{epoch + first}")
    file = judged(tmp_path)[f"epoch_{first}"]
    assert file.plan is not None
    assert (starts, 0, "identical") == (file.plan.start_epoch, file.plan.skip_batches, file.resume)


def by_epochs(run: Path, *, early: bool) -> Trainer:
    """A schedule that is stepped once an epoch, after the folder of its last batch is saved, before that of its end."""
    trainer = Trainer(run)
    scheduler, trainer.scheduler = trainer.scheduler, None
    for epoch in range(3):
        trainer.train(BATCHES)
        trainer.scheduler = scheduler
        if early:
            trainer.save(f"epoch_{epoch}")
        else:
            trainer.save(f"step_{trainer.batches}")
            scheduler.step()
            trainer.save(f"epoch_{epoch}")
        if early:
            scheduler.step()
        trainer.scheduler = None
    return trainer


def test_a_folder_of_an_epochs_last_batch_lacks_the_schedules_step(tmp_path):
    """The folder of the same steps has it; written, both have the same."""
    by_epochs(tmp_path, early=False)
    found = judged(tmp_path)
    assert {name: ["R501"] if name.startswith("step") else [] for name in found} == {
        name: [f.code for f in file.serious] for name, file in found.items()
    }
    results = {result.path.name: result.status for result in repair.migrate([tmp_path])}
    assert {name: "migrated" if name.startswith("step") else "unchanged" for name in found} == results
    for epoch in range(3):
        pair = [tmp_path / name for name in (f"epoch_{epoch}", f"step_{BATCHES * (epoch + 1)}")]
        one, other = (torch.load(folder / "scheduler.bin", weights_only=False) for folder in pair)
        assert one == other
        rates = [torch.load(folder / "optimizer.bin")["param_groups"][0]["lr"] for folder in pair]
        assert rates[0] == rates[1]


def test_where_no_folder_has_the_step_the_script_decides(tmp_path):
    """It may step first in each epoch."""
    by_epochs(tmp_path, early=True)
    assert {("open", ())} == {(file.resume, tuple(file.serious)) for file in judged(tmp_path).values()}


@pytest.mark.parametrize(("each", "steps", "place"), [(1, 6, (1, 2)), (2, 4, (2, 0))])
def test_folders_inside_an_epoch_show_the_accumulation(tmp_path, each, steps, place):
    """So the optimizer's steps in the name of a folder at an epoch's end are not taken for batches."""
    trainer, made = Trainer(tmp_path, each=each), 0
    for _ in range(3 * BATCHES):
        trainer.train(1)
        if trainer.batches % BATCHES % each == 0:
            made += 1
            trainer.save(f"checkpoint-{made}")
    file = judged(tmp_path, steps_per_epoch=BATCHES)[f"checkpoint-{steps}"]
    assert place == (file.resume_point.start_epoch, file.resume_point.skip_batches)


def test_an_optimizer_of_another_epoch_is_outvoted_where_the_schedule_goes_by_epochs(tmp_path):
    """By the name and the schedule: to rename the folder would be wrong."""
    trainer = Trainer(tmp_path)
    scheduler, trainer.scheduler = trainer.scheduler, None
    for epoch in range(3):
        trainer.train(BATCHES)
        scheduler.step()
        trainer.scheduler = scheduler
        trainer.save(f"epoch_{epoch}")
        trainer.scheduler = None
    (tmp_path / "epoch_1/optimizer.bin").write_bytes((tmp_path / "epoch_0/optimizer.bin").read_bytes())
    found = judged(tmp_path)["epoch_1"]
    assert "P403" in {f.code for f in found.serious} and "P401" not in {f.code for f in found.findings}
    assert found.resume != "identical"
