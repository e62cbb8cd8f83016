"""Where a resumed run leaves the uninterrupted one, and by which rule: on the reference trainer, and made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ckpt_doctor import audit
from ckpt_doctor.errors import UsageError
from ckpt_doctor.rehearsal import record
from ckpt_doctor.rehearsal.divergence import Comparison, compare
from ckpt_doctor.rehearsal.traces import Save, Trace, read_traces
from ckpt_doctor.repair import migrate
from tests.equivalence import harness
from tests.equivalence.harness import MATRIX, Cells, Spec, copy, resume
from tests.rehearsal.loops import STEPS, Habits, recorded
from tests.sampled import sampled

WAYS = [spec for spec in MATRIX if spec.world_size == 1 and spec.kind in ("mid-epoch", "epoch-end", "best")]
TELLING = {Spec("complete", "TST", "mid-epoch")}
OF_SCHEDULE = {"R501", "R502"}
OF_RATE = {"R504", "R506", "P402"}
"""Rules that predict another rate though the schedule's own state is right: a trace cannot tell their reasons apart."""


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Cells:
    """Every way of being interrupted, built on demand."""
    return Cells(tmp_path_factory.mktemp("rehearsal"))


@pytest.fixture(scope="session")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trace]:
    """Mode -> the recorded run that was never interrupted."""
    return {}


def _reference(spec: Spec, references: dict[str, Trace], root: Path) -> Trace:
    if spec.lradj not in references:
        whole = replace(spec, generation="complete", kind="uninterrupted")
        with record(root / "reference.trace") as trace:
            harness.execute(harness.command(whole), root / "run", root / "train.log")
        references[spec.lradj] = read_traces(trace)[0]
    return references[spec.lradj]


def _resumed(reference: Trace, cell: harness.Cell, root: Path, flags: tuple[str, ...] = ()) -> Comparison:
    with record(root / f"{cell.root.name}.trace") as trace:
        resume(cell, flags)
    return compare([reference], read_traces(trace))


@pytest.mark.parametrize("spec", sampled(WAYS, *TELLING, ids=True))
def test_a_trace_shows_what_check_predicts_and_nothing_after_the_repair(
    spec: Spec, cells: Cells, references: dict[str, Trace], tmp_path: Path
) -> None:
    reference = _reference(spec, references, tmp_path)
    cell = copy(cells.get(spec), tmp_path / "as-saved")
    predicted = audit.check(cell.path, logs=[cell.log]).files[0]
    codes = {finding.code for finding in predicted.findings}
    shown = _resumed(reference, cell, tmp_path)

    if "L301" in codes:
        assert [one.code for one in shown.restored if one.quantity == "optimizer"] == ["O705"]
        return
    of_rates = [one for one in shown.restored if one.quantity in ("rate", "beta", "schedule")]
    if spec.lradj == "TST" and "P402" in codes:  # its rates follow the steps, and it makes too many
        assert "length" in {one.quantity for one in shown.differences}
        codes.remove("P402")
    assert bool(of_rates) == bool(codes & (OF_SCHEDULE | OF_RATE))
    for one in of_rates:
        assert one.code in codes | {""} or (one.code == "R506" and codes & OF_RATE)

    cell = copy(cells.get(spec), tmp_path / "repaired")
    migrate([cell.path], logs=[cell.log])
    plan = audit.check(cell.path, logs=[cell.log]).files[0].plan
    assert plan is not None
    assert not _resumed(reference, cell, tmp_path, plan.flags).restored


def _pair(tmp_path: Path, habits: Habits, edit=lambda file: None) -> tuple[list[Trace], list[Trace]]:
    """A run and its resume from the second epoch's end, the file edited before."""
    first = recorded(habits, tmp_path, "a.trace")
    path = tmp_path / "epoch1.pt"
    file = torch.load(path, weights_only=False)
    edit(file)
    torch.save(file, path)
    return [first], [recorded(habits, tmp_path, "b.trace", resume=path)]


def test_a_healthy_resume_restores_everything(tmp_path: Path) -> None:
    comparison = compare(*_pair(tmp_path, Habits()))
    assert comparison.resumed_at == {0: 2 * STEPS}
    assert comparison.compared == 2 * STEPS
    assert not comparison.restored
    assert {one.quantity for one in comparison.differences} == {"batch", "random state", "loss", "update"}


def _behind(file: dict) -> None:
    schedule = file["scheduler"]
    schedule["last_epoch"] -= 1
    rates = [group["lr"] for group in file["optimizer"]["param_groups"]]
    assert schedule["_last_lr"] == rates


def _no_moments(file: dict) -> None:
    file["optimizer"]["state"] = {}


def _rate(file: dict) -> None:
    file["optimizer"]["param_groups"][0]["lr"] = 0.5


def _weights(file: dict) -> None:
    file["model"]["0.bias"] += 1


@pytest.mark.parametrize(
    ("edit", "quantity", "code"),
    [
        (_behind, "schedule", "R501"),
        (_no_moments, "optimizer", "O705"),
        (_rate, "rate", "R506"),
        (_weights, "weights", ""),
    ],
)
def test_what_is_wrong_with_a_file_shows_in_its_quantity(edit, quantity: str, code: str, tmp_path: Path) -> None:
    comparison = compare(*_pair(tmp_path, Habits(), edit))
    assert (quantity, code) in [(one.quantity, one.code) for one in comparison.restored]
    assert comparison.restored[0].step == 2 * STEPS + 1


def test_a_resume_of_another_run_is_refused(tmp_path: Path) -> None:
    first = recorded(Habits(epochs=2), tmp_path / "one")
    (tmp_path / "other").mkdir()
    recorded(Habits(epochs=2), tmp_path / "other", "x.trace")
    path = (tmp_path / "other" / "epoch0.pt").rename(tmp_path / "other" / "another.pt")
    file = torch.load(path, weights_only=False)
    file["model"]["0.bias"] += 1
    file["epoch"] = 0
    torch.save(file, path)
    resumed = recorded(Habits(epochs=2), tmp_path / "other", "y.trace", resume=path, until=3)
    with pytest.raises(UsageError, match="no checkpoint that"):
        compare([first], [resumed])
    with pytest.raises(UsageError, match="loaded no checkpoint"):
        compare([first], [first])


def test_each_rank_is_compared_and_the_one_that_differs_is_named(tmp_path: Path) -> None:
    (first,), (resumed,) = _pair(tmp_path, Habits())
    (tmp_path / "x").mkdir()
    (_,), (broken,) = _pair(tmp_path / "x", Habits(), _rate)
    silent = tuple(event for event in first.events if type(event) is not Save)  # rank 0 alone saves
    ranks = [first, replace(first, rank=1, events=silent)]
    comparison = compare(ranks, [resumed, replace(broken, rank=1)])
    assert comparison.rank == 1
    assert {one.quantity for one in comparison.restored} >= {"rate"}
    assert compare(ranks, [resumed, replace(resumed, rank=1)]).rank == 0


def test_a_resumed_run_that_makes_more_steps_says_where_it_ends(tmp_path: Path) -> None:
    def an_epoch_back(file: dict) -> None:
        file["epoch"] -= 1

    comparison = compare(*_pair(tmp_path, Habits(schedule="epoch"), an_epoch_back))
    (length,) = [one for one in comparison.differences if one.quantity == "length"]
    assert (length.step, length.expected) == (5 * STEPS, 4 * STEPS)
