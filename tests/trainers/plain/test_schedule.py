"""The schedule against the position: behind, ahead, right; the steps that it lacks, from torch or a sibling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import facts, migrate, scan, undo
from ckpt_doctor.audit import check
from ckpt_doctor.types import FileReport
from tests.sampled import sampled
from tests.trainers.plain.plain_runs import BY_EPOCH, EPOCHS, STEPS, Loop, resumed, run, same, straight

TOLD: dict[str, Any] = {"resume_epoch": "label+1", "shuffle": False}


def judged(folder: Path, at: int = 1, **more: Any) -> FileReport:
    return scan([folder], facts=facts(**TOLD, **more)).files[at]


def codes(file: FileReport) -> list[str]:
    return [finding.code for finding in file.findings if finding.severity != "info"]


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    state = torch.load(path, weights_only=False)
    change(state)
    torch.save(state, path)


@pytest.mark.parametrize("schedule", sampled(BY_EPOCH, "CosineAnnealingLR", "warm-up, then cosine"))
def test_a_schedule_that_lacks_a_step_is_cured(tmp_path, schedule):
    """Each file but the last of a schedule whose formula is in no file continues bit for bit; undo takes it back."""
    folder, whole = run(tmp_path, schedule, before_step=True), straight(schedule)
    before = [path.read_bytes() for path in sorted(folder.iterdir())]
    report = scan([folder], facts=facts(**TOLD))
    assert {("R501",)} == {tuple(codes(file)) for file in report.files}
    assert not same(whole, resumed(folder / "checkpoint_1.pt", schedule))
    migrate([folder], facts=facts(**TOLD))
    last = folder / f"checkpoint_{EPOCHS - 2}.pt"
    for file in scan([folder], facts=facts(**TOLD)).files:
        left = schedule == "LambdaLR" and file.checkpoint.path == last
        assert ("differs" if left else "identical", ["R501"] * left) == (file.resume, codes(file))
        assert same(whole, resumed(file.checkpoint.path, schedule)) != left
    assert {"unchanged"} == {result.status for result in migrate([folder], facts=facts(**TOLD))}
    for path, content in zip(sorted(folder.iterdir()), before, strict=True):
        if path.read_bytes() != content:
            undo([path])
        assert content == path.read_bytes()


def test_a_schedule_that_no_edit_cures_is_not_called_ok_and_a_call_of_step_catches_up(tmp_path):
    """The last file of a schedule whose formula is a function of the script: what to do stands in its finding."""
    folder, whole = run(tmp_path, "LambdaLR", before_step=True), straight("LambdaLR")
    last = folder / f"checkpoint_{EPOCHS - 2}.pt"
    file = check(last, facts=facts(**TOLD)).files[0]
    assert ("ok", "differs") == (file.verdict, file.outlook)
    [late] = [finding for finding in file.findings if finding.code == "R501"]
    assert (None, "after loading the file, call the scheduler's step() once before training") == (
        late.migration,
        late.fix,
    )
    assert same(whole, resumed(last, "LambdaLR", caught_up=1))


def test_what_is_certain_differs_whatever_is_open(tmp_path):
    """Nothing is told of the script, and the rates are late all the same; so with an optimizer that has no moments."""
    folder = run(tmp_path / "late", "StepLR", before_step=True)
    assert {"differs"} == {file.resume for file in scan([folder]).files}
    folder = run(tmp_path / "empty", "StepLR")
    changed(folder / "checkpoint_1.pt", lambda state: state["optimizer_state_dict"].update(state={}))
    assert ["open", "differs", "open"] == [file.resume for file in scan([folder]).files][:3]


def test_one_file_of_a_run_that_is_out_of_step(tmp_path):
    """Behind and ahead, where the others agree."""
    for name, by, code in (("behind", -2, "R501"), ("ahead", 1, "R502")):
        folder = run(tmp_path / name, "CosineAnnealingLR")

        def shift(state: dict[str, Any], by: int = by) -> None:
            loop = Loop("CosineAnnealingLR")
            for _ in range(3 + by):
                loop.train()
                loop.step()
            state["scheduler_state_dict"] = loop.scheduler.state_dict()
            state["optimizer_state_dict"]["param_groups"][0]["lr"] = loop.optimizer.param_groups[0]["lr"]

        changed(folder / "checkpoint_2.pt", shift)
        assert [[], [], [code], [], []] == [codes(file) for file in scan([folder], facts=facts(**TOLD)).files]
        migrate([folder], facts=facts(**TOLD))
        assert same(straight("CosineAnnealingLR"), resumed(folder / "checkpoint_2.pt", "CosineAnnealingLR"))


def test_the_length_of_an_epoch_may_be_given_for_a_single_file(tmp_path):
    folder = run(tmp_path, "StepLR", before_step=True, epochs=1)
    assert [] == codes(judged(folder, 0))
    file = judged(folder, 0, steps_per_epoch=STEPS)
    assert ("differs", ["R501"]) == (file.resume, codes(file))
    migrate([folder], facts=facts(**TOLD, steps_per_epoch=STEPS))
    assert same(straight("StepLR"), resumed(folder / "checkpoint_0.pt", "StepLR"))


def test_a_loop_that_steps_at_the_epochs_start_is_right(tmp_path):
    """Which only the script shows."""
    folder = run(tmp_path, "StepLR", before_step=True)
    assert ["R501"] == codes(judged(folder))
    file = judged(folder, saved_after_step=True)
    assert ("identical", []) == (file.resume, codes(file))


def by_number(state: dict[str, Any]) -> None:
    """What `scheduler.step(epoch)` leaves: the position that it was passed, with a count of its own."""
    state["scheduler_state_dict"]["_step_count"] += 1


def by_fraction(state: dict[str, Any]) -> None:
    """What `scheduler.step(epoch + batch / batches)` leaves."""
    state["scheduler_state_dict"]["T_cur"] += 0.75


@pytest.mark.parametrize(("schedule", "stepped"), [("StepLR", by_number), ("warm restarts", by_fraction)])
def test_a_position_that_the_script_passes_is_not_judged(tmp_path, schedule, stepped):
    folder = run(tmp_path, schedule, before_step=True)
    for path in folder.iterdir():
        changed(path, stepped)
    assert ("open", []) == (judged(folder).resume, codes(judged(folder)))


@pytest.mark.parametrize("accumulated", [1, 3])
def test_any_constant_pace_is_right(tmp_path, accumulated):
    """A schedule that goes by batches of which several make a step."""
    for epoch in range(4):
        loop = Loop("LambdaLR by step")
        for _ in range(epoch + 1):
            loop.train()
        for _ in range(loop.scheduler.last_epoch * (accumulated - 1)):
            loop.scheduler.step()
        torch.save(loop.saved(epoch), tmp_path / f"{epoch}.pt")
    assert [("identical", [])] * 4 == [(f.resume, codes(f)) for f in scan([tmp_path], facts=facts(**TOLD)).files]


def test_a_schedule_that_was_not_stepped_at_first_is_not_judged(tmp_path):
    """A loop with a warm-up of its own in its first two epochs."""
    for epoch in range(5):
        loop = Loop("StepLR")
        for passed in range(epoch + 1):
            loop.train()
            if passed > 1:
                loop.step()
        torch.save(loop.saved(epoch), tmp_path / f"{epoch}.pt")
    assert [("open", [])] * 5 == [(f.resume, codes(f)) for f in scan([tmp_path], facts=facts(**TOLD)).files]


def test_a_rate_in_a_tensor_is_left_as_it_is(tmp_path):
    folder = run(tmp_path, "CosineAnnealingLR", before_step=True)

    def tensor(state: dict[str, Any]) -> None:
        group = state["optimizer_state_dict"]["param_groups"][0]
        group["lr"] = torch.tensor(group["lr"], dtype=torch.float64)

    for path in folder.iterdir():
        changed(path, tensor)
    results = migrate([folder], facts=facts(**TOLD), fixes=["sync-scheduler"])
    assert {"refused"} == {result.status for result in results}
    assert {True} == {"tensor" in result.refusals[0].reason for result in results}


def test_a_schedule_that_was_not_saved_has_no_cure(tmp_path):
    folder = run(tmp_path, "CosineAnnealingLR")
    for path in folder.iterdir():
        changed(path, lambda state: state.pop("scheduler_state_dict"))
    file = judged(folder)
    assert ["R508"] == codes(file)
    assert file.resume in ("open", "differs")
    assert {"unchanged"} == {result.status for result in migrate([folder], facts=facts(**TOLD))}


def test_each_finding_of_everyones_rules_is_made_once(tmp_path):
    """Of another model's optimizer, a rate set by hand and a schedule at its end."""
    folder = run(tmp_path, "OneCycleLR", epochs=EPOCHS)
    other = Loop("OneCycleLR")
    other.model = torch.nn.Sequential(torch.nn.Linear(9, 7), torch.nn.Linear(7, 1))

    def spoil(state: dict[str, Any]) -> None:
        state["optimizer_state_dict"]["param_groups"][0]["lr"] = 0.5
        state["optimizer_state_dict"]["state"] = {
            index: {**entry, "exp_avg": torch.ones(9, 9), "exp_avg_sq": torch.ones(9, 9)}
            for index, entry in copy.deepcopy(state["optimizer_state_dict"]["state"]).items()
        }

    changed(folder / f"checkpoint_{EPOCHS - 1}.pt", spoil)
    assert ["R504", "R511", "O701"] == codes(judged(folder, -1))


def test_a_best_value_that_siblings_have_is_missed(tmp_path):
    folder = run(tmp_path, "StepLR", best_val_loss=0.5)
    changed(folder / "checkpoint_2.pt", lambda state: state.pop("best_val_loss"))
    missing = [[f.code for f in file.findings if f.code == "E611"] for file in scan([folder]).files]
    assert [[], [], ["E611"], [], []] == missing
