"""The label of a file: under a known key, as the number that its name has as well, or in its name alone."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

from ckpt_doctor import facts, migrate, scan
from ckpt_doctor.types import FileReport
from tests.trainers.plain.plain_runs import Loop, serious

NAME = "state_{}.pt"
GIVEN = {"resume_epoch": "label+1", "shuffle": False}
Saved = Callable[[dict[str, Any]], Any]
"""The tutorial's dict -> what a script saves instead."""


def trained(folder: Path, form: Saved, name: str = NAME) -> Path:
    """Five files of as many epochs."""
    folder.mkdir(exist_ok=True)
    loop = Loop("StepLR")
    for epoch in range(5):
        loop.train()
        loop.step()
        torch.save(form({**loop.saved(epoch), "loss": None}), folder / name.format(epoch))
    return folder


def judged(folder: Path, name: str = "state_2.pt", **given: Any) -> FileReport:
    files = {file.checkpoint.path.name: file for file in scan([folder], facts=facts(**{**GIVEN, **given})).files}
    return files[name]


def listed(saved: dict[str, Any]) -> list[Any]:
    return [saved["epoch"], *(saved[f"{part}_state_dict"] for part in ("model", "optimizer", "scheduler"))]


def paired(saved: dict[str, Any]) -> tuple[Any, ...]:
    return (listed(saved)[1:], saved["epoch"])


def under(*path: str) -> Saved:
    """The label under another key, or below one."""

    def form(saved: dict[str, Any]) -> dict[str, Any]:
        *above, key = path
        held = {key: saved.pop("epoch"), "layers": 7}
        return {**saved, **({above[0]: held} if above else held)}

    return form


FORMS: dict[str, Saved] = {
    "list": listed,
    "tuple": paired,
    "another language": under("轮次"),
    "below a key": under("info", "number"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_number_that_the_name_has_too_is_the_label(tmp_path: Path, form: str) -> None:
    files = scan([trained(tmp_path / "run", FORMS[form])], facts=facts(**GIVEN)).files
    assert {("plain", "identical")} == {(file.trainer, file.resume) for file in files}


@pytest.mark.parametrize("form", ["tuple", "another language"])
def test_it_is_the_label_where_it_differs_from_the_name_and_is_set_right(tmp_path: Path, form: str) -> None:
    folder = trained(tmp_path / "run", FORMS[form])
    saved = torch.load(folder / "state_2.pt")
    torch.save((saved[0], 4) if form == "tuple" else {**saved, "轮次": 4}, folder / "state_2.pt")
    assert [("P402", "fix-epoch")] == serious(judged(folder))
    migrate(folder / "state_2.pt", facts=facts(**GIVEN))
    assert "identical" == judged(folder).resume
    saved = torch.load(folder / "state_2.pt")
    assert 2 == (saved[1] if form == "tuple" else saved["轮次"])


def without_count(saved: dict[str, Any]) -> dict[str, Any]:
    del saved["epoch"], saved["loss"]
    return {**saved, "args": argparse.Namespace(epochs=9)}


def test_of_a_file_without_a_count_the_number_in_the_name_is_the_label(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", without_count)
    assert ("plain", "identical", []) == (judged(folder).trainer, judged(folder).resume, serious(judged(folder)))
    (open_one,) = [found for found in judged(folder, resume_epoch=None).findings if found.code == "P412"]
    assert open_one.message.startswith("the number in the name is 2")
    (folder / "state_2.pt").write_bytes((folder / "state_4.pt").read_bytes())
    (folder / "state_4.pt").unlink()
    assert ("differs", [("P402", None)]) == (judged(folder).resume, serious(judged(folder)))


@pytest.mark.parametrize("name", ["resnet50.pt", "rank_3.pt", "run-2024-05-12.pt"])
def test_not_every_number_in_a_name_counts(tmp_path: Path, name: str) -> None:
    trained(tmp_path / "run", without_count, name)
    assert "" == judged(tmp_path / "run", name).trainer


@pytest.mark.parametrize("more", [{"n": torch.tensor(3)}, {"state": optim.SGD([nn.Parameter(torch.ones(1))])}])
def test_what_may_count_in_a_way_that_is_not_read_leaves_the_name_alone(tmp_path: Path, more: dict[str, Any]) -> None:
    trained(tmp_path / "run", lambda saved: {**without_count(saved), **more})
    assert "" == judged(tmp_path / "run").trainer


def test_what_is_read_of_the_bytes_is_judged_as_well(tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", without_count)
    saved = torch.load(folder / "state_2.pt", weights_only=False)
    saved["model_state_dict"]["0.bias"].fill_(float("nan"))
    torch.save(saved, folder / "state_2.pt")
    assert {"T801"} == {found.code for found in scan([folder], deep=True).findings if found.severity == "error"}


def test_a_further_number_that_departs_is_named(tmp_path: Path) -> None:
    """Samples, say, which the script divides by its batch size."""

    def form(saved: dict[str, Any]) -> dict[str, Any]:
        return {"seen": saved["epoch"] * 128 + 128 + 64 * (saved["epoch"] == 2), **without_count(saved)}

    assert [("P402", "fix-epoch")] == serious(judged(trained(tmp_path / "run", form)))


def gaussians(step: int) -> tuple[Any, ...]:
    """3D Gaussian Splatting's `torch.save((gaussians.capture(), iteration), path)`."""
    torch.manual_seed(1)
    points = nn.Parameter(torch.randn(9, 3))
    optimizer = optim.Adam([{"params": [points], "name": "xyz"}], lr=0.001)
    for _ in range(step):
        optimizer.zero_grad()
        points.pow(2).sum().backward()
        optimizer.step()
    return ((3, points, torch.zeros(9), optimizer.state_dict(), 1.5), step)


def test_weights_without_names_beside_their_optimizer(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        torch.save((*gaussians(20 if step == 30 else step)[:1], step), tmp_path / f"chkpnt{step}.pth")
    report = scan([tmp_path], facts=facts(resume_epoch="label", shuffle=False))
    found = {file.checkpoint.path.name: (file.trainer, file.resume, serious(file)) for file in report.files}
    assert ("plain", "differs", [("P409", None)]) == found.pop("chkpnt30.pth")
    assert {("plain", "identical")} == {one[:2] for one in found.values()}
