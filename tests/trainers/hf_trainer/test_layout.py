"""Which folders are checkpoints of the Trainer, and which of them a resume takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from ckpt_doctor import audit, latest, scan
from ckpt_doctor.cli.main import app
from ckpt_doctor.trainers.hf_trainer import layout
from ckpt_doctor.training.pruning import prune
from tests.trainers.hf_trainer.runs import remove, told
from tests.trainers.hf_trainer.values import adam, lambda_lr, member, unit


def test_true_picks_the_highest_number_and_latest_another(run: Path) -> None:
    remove("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth")(run / "checkpoint-21")
    (run / "checkpoint-30").mkdir()
    assert audit.resume_file(run) == run / "checkpoint-30"
    assert {"F114"} == told(audit.check(run).files[0])
    path, passed_over = latest(run)
    assert path == run / "checkpoint-14" and len(passed_over) == 2
    printed = CliRunner().invoke(app, ["check", str(run)])
    assert printed.exit_code == 1 and "better: checkpoint-14 (step 14 of 40)" in printed.output


def test_the_finished_model_in_the_output_folder_is_no_fault(run: Path) -> None:
    for name in ("model.safetensors", "config.json", "training_args.bin"):
        shutil.copy(run / "checkpoint-21" / name, run / name)
    (run / "trainer_state.json").write_text(json.dumps({"global_step": 40}))
    report = scan([run])
    assert [] == [f.code for f in report.findings if f.severity != "info"]
    assert 3 == sum(f.trainer == "hf" for f in report.files)


def test_accelerates_folders_are_not_the_trainers(tmp_path: Path) -> None:
    folder = tmp_path / "run/checkpoint-500"
    folder.mkdir(parents=True)
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl", "model.safetensors"):
        (folder / name).write_bytes(b"")
    assert "hf" not in {one.run.trainer for one in scan([tmp_path]).runs}


def test_pruning_keeps_the_best_and_the_newest(best_run: Path) -> None:
    result = prune(best_run, 1)
    assert {"checkpoint-5", "checkpoint-15"} == {path.name for path in result.removed}
    assert {"checkpoint-10", "checkpoint-20"} == {path.name for path in best_run.glob("checkpoint-*")}


STEP, OUTPUT = Path("run/checkpoint-14"), Path("run")


@pytest.mark.parametrize(
    ("folder", "names", "is_one"),
    [
        (STEP, {"trainer_state.json"}, True),
        (STEP, {"rng_state_3.pth"}, True),
        (STEP, {"model.safetensors", "config.json"}, False),
        (STEP, {"model.pt", "optimizer.pt"}, False),
        (STEP, {"model.pt", "optimizer.pt", "training_args.bin"}, True),
        (STEP, {"optimizer.bin", "random_states_0.pkl"}, False),
        (OUTPUT, {"trainer_state.json", "model.safetensors", "training_args.bin"}, False),
        (OUTPUT, {"trainer_state.json", "optimizer.pt"}, True),
        (OUTPUT, {"checkpoint-14", "trainer_state.json"}, False),
        (STEP, {"checkpoint-14", "trainer_state.json"}, False),
        (Path("run/checkpoint-best"), {"optimizer.pt", "scheduler.pt"}, False),
    ],
)
def test_a_folder_is_a_checkpoint_by_what_only_the_trainer_writes(folder: Path, names: set[str], is_one: bool) -> None:
    """Under another name only with its state and what is resumed from: a finished model's folder has the former."""
    assert is_one is layout.is_unit(folder, names)


def test_a_numbered_folder_whose_save_was_cut_off_is_known_by_its_neighbours(tmp_path: Path) -> None:
    for name in ("run/checkpoint-10", "run/checkpoint-20", "other/checkpoint-20"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "run/checkpoint-10/trainer_state.json").touch()
    assert layout.is_unit(tmp_path / "run/checkpoint-20", {"model.safetensors"})
    assert not layout.is_unit(tmp_path / "run/checkpoint-20", {"optimizer.bin"}), "Accelerate's"
    assert not layout.is_unit(tmp_path / "other/checkpoint-20", {"model.safetensors"})


def test_the_number_is_in_the_folders_name_also_where_it_is_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [14, None, None] == [layout.named_step(Path(name)) for name in ("a/checkpoint-14", "a/checkpoint-x", "a")]
    assert (OUTPUT, None) == (layout.run_of(STEP), layout.run_of(OUTPUT))
    (tmp_path / "checkpoint-7").mkdir()
    monkeypatch.chdir(tmp_path / "checkpoint-7")
    assert 7 == layout.named_step(Path("."))
    assert tmp_path == (layout.run_of(Path(".")) or Path()).resolve()


@pytest.mark.parametrize(
    ("names", "optimizer", "scheduler", "weights"),
    [
        (("optimizer.pt", "scheduler.pt", "model.safetensors"), True, True, True),
        (("optimizer.bin", "pytorch_model.bin"), True, False, True),
        (("optimizer_0/.metadata", "optimizer_0/__0_0.distcp"), True, False, False),
        (("optimizer.pt_0",), True, False, False),
        (("global_step14/mp_rank_00_model_states.pt", "latest"), True, True, True),
        (("adapter_model.safetensors", "rng_state.pth", "training_args.bin"), False, False, True),
        (("scheduler.pt", "rng_state_0.pth", "scaler.pt", "tokenizer.json", "config.json"), False, True, False),
    ],
)
def test_the_parts_are_found_in_each_of_their_forms(
    names: tuple[str, ...], optimizer: bool, scheduler: bool, weights: bool
) -> None:
    checkpoint = unit(files=names)
    assert (optimizer, scheduler, weights) == (
        layout.has_optimizer(checkpoint),
        layout.has_scheduler(checkpoint),
        layout.has_weights(checkpoint),
    )


def test_what_a_resume_does_not_read_is_no_part_of_it() -> None:
    names = ("optimizer.pt", "training_args.bin", "tokenizer.json", "config.json")
    assert ["optimizer.pt", "config.json"] == [name for name in names if layout.reads_part(name)]


def test_random_states_come_in_the_order_of_their_processes() -> None:
    names = [f"rng_state_{rank}.pth" for rank in (10, 2, 0)]
    checkpoint = unit(**{name: {} for name in names})
    assert [names[2], names[1], names[0]] == layout.random_files(checkpoint)
    assert {0, 2, 10} == set(layout.ranks(checkpoint))
    assert [None] == layout.ranks(unit(files=("rng_state.pth",)))


def test_a_member_has_its_state_from_several_files() -> None:
    """`epoch` of the state is a fraction, of which the whole epochs are finished."""
    held = member(
        state={"global_step": 14, "epoch": 1.4, "best_metric": 0.5},
        optimizer=adam(14, 0.007),
        scheduler=lambda_lr(14, 0.007),
    )
    state = held.state
    assert (1, 14, 14, 14, 0.007, 0.5) == (
        state.epoch,
        state.global_step,
        state.optimizer_step,
        state.last_epoch,
        state.lr,
        state.best_score,
    )
    assert ("checkpoint-14", 14, "checkpoint-14") == (held.label, held.named_step, held.right_name)
    assert member(state={"global_step": 14, "epoch": float("nan")}).state.epoch is None
