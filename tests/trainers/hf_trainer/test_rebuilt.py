"""Parts that are lost are written anew from what is left."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from ckpt_doctor import repair, scan
from ckpt_doctor.repair import execution
from ckpt_doctor.trainers.hf_trainer import rebuilt
from ckpt_doctor.trainers.hf_trainer.judging import JUDGING
from ckpt_doctor.trainers.trainer import ByHand
from ckpt_doctor.types import Case
from tests.trainers.hf_trainer.runs import ARGUMENTS, change_state, judged, save_arguments, told


def test_the_parts_of_the_plan_are_the_ones_that_are_written(best_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long history is spelled out once, not for the cost and again for the write."""
    folder = best_run / "checkpoint-20"
    change_state(folder, stateful_callbacks={"TrainerControl": {"args": {}, "attributes": {}}})
    planned = repair.plan([folder])
    ((change,),) = [file.changes for file in planned.files]
    monkeypatch.delattr(execution, "part_changes")  # nobody makes them again
    assert "migrated" == repair.apply(planned)[0].status
    assert change.data == (folder / change.name).read_bytes()


def case_of(folder: Path) -> Case:
    """The case of a checkpoint among its siblings."""
    run = scan([folder.parent]).runs[0].run
    (member,) = [member for member in run.members if member.checkpoint.path == folder]
    return JUDGING.case(member, run, ByHand())


def test_the_schedule_is_written_from_the_optimizer_in_the_form_of_its_siblings(run: Path) -> None:
    folder = run / "checkpoint-14"
    true = torch.load(folder / "scheduler.pt")
    assert rebuilt.scheduler_state(case_of(folder)) is None, "it is there"
    (folder / "scheduler.pt").unlink()
    found = rebuilt.scheduler_state(case_of(folder))
    assert found is not None
    assert list(true.items()) == list(found.value.items())
    assert "optimizer.pt" in found.source


def test_a_schedule_that_is_not_of_transformers_is_not_made_up(run: Path) -> None:
    for other in (7, 21):
        path = run / f"checkpoint-{other}/scheduler.pt"
        torch.save({**torch.load(path), "T_max": 10, "eta_min": 0.0}, path)
    (run / "checkpoint-14/scheduler.pt").unlink()
    assert rebuilt.scheduler_state(case_of(run / "checkpoint-14")) is None


def test_without_an_optimizer_no_schedule_is_written(run: Path) -> None:
    for name in ("scheduler.pt", "optimizer.pt"):
        (run / "checkpoint-14" / name).unlink()
    assert rebuilt.scheduler_state(case_of(run / "checkpoint-14")) is None


def test_a_lost_state_is_a_later_ones_with_its_log_cut_and_its_best_replayed(best_run: Path) -> None:
    folder = best_run / "checkpoint-15"
    true = json.loads((folder / "trainer_state.json").read_text())
    (folder / "trainer_state.json").write_text("")
    case = case_of(folder)
    found = rebuilt.trainer_state(case)
    assert found is not None and "checkpoint-20" in found.source
    assert true["log_history"] == found.value["log_history"]
    keys = ("global_step", "epoch", "best_metric", "best_global_step", "total_flos", "stateful_callbacks")
    assert {key: true[key] for key in keys} == {key: found.value[key] for key in keys}
    assert [("trainer_state.json", "add-trainer-state")] == list(rebuilt.fixes_of_lost_parts(case))


def test_an_earlier_state_stands_in_only_where_no_evaluation_lies_between(best_run: Path) -> None:
    """What that evaluation gave is in no other file."""
    (best_run / "checkpoint-20/trainer_state.json").unlink()
    assert rebuilt.trainer_state(case_of(best_run / "checkpoint-20")) is None


def test_of_a_run_that_never_evaluates_an_earlier_state_is_moved_on(run: Path) -> None:
    (run / "checkpoint-21/trainer_state.json").unlink()
    found = rebuilt.trainer_state(case_of(run / "checkpoint-21"))
    assert found is not None and "checkpoint-14" in found.source
    assert (21, 2.1, 2100.0) == tuple(found.value[key] for key in ("global_step", "epoch", "total_flos"))


@pytest.mark.parametrize("other", ["checkpoint-15", "checkpoint-5"])
def test_a_state_of_another_step_becomes_that_of_this_one(best_run: Path, other: str) -> None:
    """Its history and its best go with the step: cut where it is of a later one, else from a later checkpoint."""
    path = best_run / "checkpoint-10/trainer_state.json"
    true = json.loads(path.read_text())
    shutil.copy(best_run / other / path.name, path)
    assert "P403" in told(judged(path.parent))
    assert "migrated" == repair.migrate([path.parent])[0].status
    written = json.loads(path.read_text())
    keys = ("global_step", "log_history", "best_metric", "best_global_step", "stateful_callbacks")
    assert {key: true[key] for key in keys} == {key: written[key] for key in keys}


def test_an_earlier_state_in_the_place_of_the_last_is_not_moved_over_an_evaluation(best_run: Path) -> None:
    folder = best_run / "checkpoint-20"
    shutil.copy(best_run / "checkpoint-15/trainer_state.json", folder / "trainer_state.json")
    assert "P403" in told(judged(folder)) and "refused" == repair.migrate([folder])[0].status


def test_a_checkpoint_of_another_run_in_the_folder_gives_no_state(run: Path) -> None:
    """As after a second training into the same folder: what is later there is not of this run."""
    (run / "checkpoint-14/trainer_state.json").unlink()
    assert rebuilt.trainer_state(case_of(run / "checkpoint-14")) is not None
    for other in (7, 21):
        save_arguments(run / f"checkpoint-{other}", {**ARGUMENTS, "seed": 7})
    assert rebuilt.trainer_state(case_of(run / "checkpoint-14")) is None
