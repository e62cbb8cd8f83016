"""Where a script goes on from a folder, and where the uninterrupted run was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.audit import check
from ckpt_doctor.trainers.accelerate import resume_point
from ckpt_doctor.trainers.accelerate.command import facts_of
from ckpt_doctor.trainers.accelerate.facts import understand
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import Evidence, Member, Run
from tests.trainers.accelerate.runs import SETTLED, SHUFFLED, Trainer, change, codes, judged, run_of
from tests.trainers.accelerate.values import RUN, member


@pytest.mark.parametrize("world", [1, 2])
def test_an_optimizer_of_another_epoch_is_outvoted_by_name_and_schedule(tmp_path: Path, world: int) -> None:
    run = run_of(tmp_path, schedule="lambda", world=world)
    shutil.copy(run / "epoch_0" / "optimizer.bin", run / "epoch_2")
    file = judged(run / "epoch_2", **SETTLED)
    assert ["P403", "R504"] == sorted(codes(file))
    assert "12" in next(finding.message for finding in file.findings if finding.code == "P403")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("step_6", "step_5", "resumes at 5, and batches are trained twice"),
        ("step_6", "step_7", "resumes at 7, and batches are left out"),
        ("epoch_1", "epoch_3", "resumes at 16, and batches are left out"),
    ],
)
def test_a_renamed_folder(tmp_path: Path, old: str, new: str, words: str) -> None:
    (run_of(tmp_path) / old).rename(tmp_path / new)
    (found,) = [f for f in judged(tmp_path / new, **SETTLED).findings if f.severity == "warning"]
    assert ("P401", f"rename the folder to {old}") == (found.code, found.fix)
    assert words in found.message


def test_steps_that_mixed_precision_skipped_are_no_other_name(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    trainer.train(5)
    folder = trainer.save("step_6", scaler={"scale": 2.0, "growth_factor": 2.0, "backoff_factor": 0.5})
    assert [] == codes(judged(folder, steps_per_epoch=4, **SETTLED))


@pytest.mark.parametrize(("last", "code"), [(4, "R501"), (9, "R502")])
def test_a_schedule_of_another_moment(tmp_path: Path, last: int, code: str) -> None:
    folder = run_of(tmp_path) / "step_6"
    change(folder / "scheduler.bin", last_epoch=last, _step_count=last + 1)
    file = judged(folder, **SETTLED)
    assert (code, "repairable") == (codes(file)[0], file.verdict)


def test_a_random_state_from_inside_an_epoch(tmp_path: Path) -> None:
    run = run_of(tmp_path, inside=(2, 6, 8))
    files = {file.checkpoint.path.name: file for file in scan(run, facts=facts(**SHUFFLED)).files}
    assert {"step_2": "ok", "step_6": "repairable", "step_8": "repairable"} == {
        name: file.verdict for name, file in files.items() if "R510" in codes(file)
    }
    (run / "epoch_0").rename(tmp_path.parent / "elsewhere")
    assert "ok" == judged(run / "step_6", **SHUFFLED).verdict
    assert [] == codes(judged(run / "step_6", **SETTLED))


def test_several_processes_that_shuffle_begin_with_the_order_of_epoch_0(tmp_path: Path) -> None:
    """Measured: the loader's generator is in no file. In epoch 0 its seed deals the same order again."""
    run = run_of(tmp_path, world=2, inside=(2, 6))
    files = {file.checkpoint.path.name: file for file in scan(run, facts=facts(**SHUFFLED)).files}
    assert {"step_2": "identical", "step_6": "differs", "epoch_0": "differs", "epoch_1": "differs"} == {
        name: file.resume for name, file in files.items() if name != "epoch_2"
    }
    assert {"ok"} == {file.verdict for file in files.values()}
    assert {"--shuffle or --no-shuffle"} == {p.settle for p in judged(run / "epoch_1").not_checked if "order" in p.what}


def test_check_tells_where_the_script_goes_on(tmp_path: Path) -> None:
    def start(name: str, **given: Any) -> tuple[int | None, int | None]:
        plan = check(tmp_path / name, facts=facts(**given)).files[0].plan
        assert plan is not None
        return plan.start_epoch, plan.skip_batches

    run_of(tmp_path)
    assert [(2, 0), (1, 2)] == [start("epoch_1"), start("step_6")]
    for name in ("epoch_0", "epoch_1", "epoch_2"):
        shutil.rmtree(tmp_path / name)
    assert [(None, None), (1, 2)] == [start("step_6"), start("step_6", steps_per_epoch=4)]


def understood(*members: Member, **given: Any) -> Run:
    told = {name: Evidence(value, "given", given=True) for name, value in given.items()}
    return understand(Run(RUN, "accelerate", members), told, ())


EPOCHS = (member("epoch_0", 4, 4), member("epoch_1", 8, 8), member("epoch_2", 12, 12))


@pytest.mark.parametrize(
    ("folder", "given", "place"),
    [
        (member("epoch_1", 8, 8), {}, (2, 0)),
        (member("step_6", 6, 6, 2), {}, (1, 2)),
        (member("step_6", 6, 6), {}, (1, 2)),
        (member("epoch_7"), {}, (8, 0)),
        (member("step_7"), {"steps_per_epoch": 4}, (1, 3)),
        (member("checkpoint_7"), {"steps_per_epoch": 4}, (None, None)),
    ],
)
def test_the_place_follows_from_steps_counters_or_the_name(
    folder: Member, given: dict[str, Any], place: tuple[int | None, int | None]
) -> None:
    run = understood(*EPOCHS, folder, **given)
    assert place == resume_point.place(folder, run)


def test_the_batches_of_an_accumulation_are_counted_where_the_steps_do_not_tell_them() -> None:
    folder = member("step_6", 3, 3, 2)
    run = understood(member("epoch_0", 2, 2), member("epoch_1", 4, 4), member("epoch_2", 6, 6), folder)
    assert (1, 2) == resume_point.place(folder, run)


def test_without_a_length_the_place_is_open() -> None:
    folder = member("step_6", 6, 6)
    point = resume_point.at(folder, understood(folder))
    assert (None, "--steps-per-epoch") == (point.start_epoch, point.unsettled["start_epoch"])


@pytest.mark.parametrize(
    ("folder", "due"),
    [
        (member("step_6", 6, 6), 6),
        (member("step_6", 6, 5), 6),
        (member("step_6", 6, 3), 6),
        (member("step_6", 6, 5, 0, "optimizer_1.bin"), None),
        (member("step_6"), None),
    ],
)
def test_the_schedule_is_due_where_the_other_folders_have_theirs(folder: Member, due: int | None) -> None:
    assert due == resume_point.due(folder, understood(*EPOCHS, folder))


def test_where_no_folder_shows_how_the_schedule_moves_nothing_is_due() -> None:
    alone = member("epoch_0", 4, 2)
    assert resume_point.due(alone, understood(alone)) is None


def test_gradients_of_an_accumulation_that_has_begun_are_lost() -> None:
    facts = facts_of(understood(*EPOCHS))
    assert (2, 2) == resume_point.lost_gradients(member("step_10", 8, 8, 2), facts)
    assert (0, 0) == resume_point.lost_gradients(member("step_6", 6, 6, 2), facts)
    assert resume_point.lost_gradients(member("epoch_0", 4, 4), facts) is None


@pytest.mark.parametrize("draws", [True, False])
def test_a_loader_that_starts_within_an_epoch_shifts_what_each_batch_draws(tmp_path: Path, draws: bool) -> None:
    """Dropout on a CPU; on a GPU it has a generator of its own, and torch's is the same all through the epoch."""
    run = run_of(tmp_path, inside=(2, 5, 6, 8))
    if not draws:
        state = torch.load(run / "step_5" / "random_states_0.pkl", weights_only=False)["torch_manual_seed"]
        change(
            run / "step_6" / "random_states_0.pkl", torch_manual_seed=state.clone(), torch_cuda_manual_seed=[state + 1]
        )
    files = {file.checkpoint.path.name: file for file in scan(run, facts=facts(**SETTLED)).files}
    apart = {"step_2", "step_5", "step_6", "step_8"} if draws else set()
    assert apart == {name for name, file in files.items() if file.resume == "differs"}
    assert not [finding for file in files.values() for finding in file.serious]
