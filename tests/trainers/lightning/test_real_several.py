"""Two optimizers whose steps the script makes, with the real library: trained, judged, cured, resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lightning")

from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, PolynomialLR

from ckpt_doctor import facts, migrate, scan
from ckpt_doctor.types import FileReport
from tests.trainers.lightning.real_library import BATCHES, Module, fit, saver, weights

pytestmark = pytest.mark.long
TOLD: dict[str, Any] = {"shuffle": False}
LATE = {"every_n_train_steps": 2 * BATCHES}
"""Saves at an epoch's last batch, before its end: each batch makes two steps."""


class Pair(Module):
    """A generator and a discriminator; `stepped`: when the schedules are, `every`: batches for a generator's step."""

    def __init__(self, schedules: int = 2, stepped: str = "end", every: int = 1) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.schedules, self.stepped, self.every = schedules, stepped, every
        self.critic = torch.nn.Linear(6, 1)

    def training_step(self, batch: Any, index: int) -> None:  # type: ignore[override]
        x, y, _ = batch
        one, other = self.optimizers()  # type: ignore[misc]
        for optimizer, loss, due in (
            (other, lambda: (self.critic(x) - self.net(x).detach()).pow(2).mean(), True),
            (one, lambda: (self.net(x) - y + self.critic(x)).pow(2).mean(), index % self.every == 0),
        ):
            if due:
                optimizer.zero_grad()
                self.manual_backward(loss())
                optimizer.step()
        self.step_schedules("batch")

    def step_schedules(self, when: str) -> None:
        held = self.lr_schedulers() or []
        for scheduler in held if isinstance(held, list) else [held]:
            if self.stepped == when:
                scheduler.step()  # type: ignore[call-arg]

    def on_train_epoch_end(self) -> None:
        self.step_schedules("end")

    def on_train_epoch_start(self) -> None:
        self.step_schedules("start")
        if self.current_epoch:
            self.step_schedules("start after the first")

    def configure_optimizers(self) -> Any:
        one, other = Adam(self.net.parameters(), lr=0.01), Adam(self.critic.parameters(), lr=0.02)
        schedules = [CosineAnnealingLR(other, 60), PolynomialLR(one, 60, 2.0)]  # the second optimizer's comes first
        return [one, other], schedules[: self.schedules]


def resumed(path: Path, **options: Any) -> list[torch.Tensor]:
    return weights(fit(module=Pair(**options), resume=path, root=path.parent / "resumed"))


def judged(folder: Path) -> dict[str, FileReport]:
    return {file.checkpoint.path.name: file for file in scan([folder], facts=facts(**TOLD)).files}


def serious(file: FileReport) -> list[tuple[str, str]]:
    return [(found.code, found.where) for found in file.serious]


def trained(folder: Path, saving: dict[str, Any], **options: Any) -> list[torch.Tensor]:
    return weights(fit([saver(folder, **saving)], module=Pair(**options), root=folder))


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("saving", [{}, {"monitor": "val_loss"}], ids=["plain", "monitored"])
@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize(
    ("schedules", "stepped"), [(0, ""), (1, "end"), (2, "end"), (2, "batch"), (2, "start"), (1, "batch")]
)
def test_a_healthy_run_is_identical_and_resumes_so(tmp_path, schedules, stepped, every, saving):
    options = {"schedules": schedules, "stepped": stepped, "every": every}
    whole = trained(tmp_path, saving, **options)
    files = judged(tmp_path)
    assert {("identical", ())} == {(file.resume, tuple(serious(file))) for file in files.values()}
    assert all(same(whole, resumed(tmp_path / name, **options)) for name in sorted(files)[:2])


def test_a_file_of_the_last_batch_may_lack_the_next_epochs_first_step(tmp_path):
    """A resume from it leaves out `on_train_epoch_start`; a script that steps at the last batch looks the same."""
    whole = trained(tmp_path, LATE, stepped="start")
    for name, file in list(judged(tmp_path).items())[:2]:
        assert ("open", []) == (file.resume, serious(file))
        assert not same(whole, resumed(tmp_path / name, stepped="start"))


@pytest.mark.parametrize("stepped", ["end", "start after the first"])
def test_a_file_of_the_last_batch_lacks_the_epochs_step(tmp_path, stepped):
    options = {"stepped": stepped}
    whole = trained(tmp_path, LATE, **options)
    for name, file in judged(tmp_path).items():
        assert ("differs", [("R501", "lr_schedulers[1].last_epoch"), ("R501", "lr_schedulers[0].last_epoch")]) == (
            file.resume,
            serious(file),
        )
        is_last = file.resume_point.start_epoch == 4
        assert same(whole, resumed(tmp_path / name, **options)) == is_last
    migrate([tmp_path], facts=facts(**TOLD))
    for name, file in judged(tmp_path).items():
        assert ("identical", []) == (file.resume, serious(file))
        assert same(whole, resumed(tmp_path / name, **options))


@pytest.mark.parametrize("stepped", ["end", "batch"])
@pytest.mark.parametrize("at", [0, 1])
def test_one_schedule_of_another_moment_is_cured(tmp_path, stepped, at):
    options = {"stepped": stepped, "every": 5}
    whole = trained(tmp_path, {}, **options)
    paths = sorted(tmp_path.glob("*.ckpt"))
    value, other = (torch.load(path, weights_only=False) for path in (paths[1], paths[0]))
    value["lr_schedulers"][at] = other["lr_schedulers"][at]
    torch.save(value, paths[1])
    assert [("R501", f"lr_schedulers[{at}].last_epoch")] == serious(judged(tmp_path)[paths[1].name])
    assert not same(whole, resumed(paths[1], **options))
    migrate([tmp_path], facts=facts(**TOLD))
    assert same(whole, resumed(paths[1], **options))
    assert ("identical", []) == ((file := judged(tmp_path)[paths[1].name]).resume, serious(file))


@pytest.mark.parametrize("lost", [[0], [1], [0, 1]])
def test_lost_schedules_are_written_back_in_their_order(tmp_path, lost):
    whole = trained(tmp_path, {})
    path = sorted(tmp_path.glob("*.ckpt"))[1]
    value = torch.load(path, weights_only=False)
    value["lr_schedulers"] = [state for at, state in enumerate(value["lr_schedulers"]) if at not in lost]
    torch.save(value, path)
    assert {("R508", "lr_schedulers")} == set(serious(judged(tmp_path)[path.name]))
    assert not same(whole, resumed(path))
    migrate([tmp_path], facts=facts(**TOLD))
    assert same(whole, resumed(path))
    assert ("identical", []) == ((file := judged(tmp_path)[path.name]).resume, serious(file))
