"""Which folders are those of save_state, and which of them is resumed from."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_doctor import latest, prune, scan
from ckpt_doctor.audit import check
from ckpt_doctor.trainers.accelerate import layout
from tests.trainers.accelerate.runs import Trainer, judged, run_of
from tests.trainers.accelerate.values import member, unit


def test_a_folder_of_transformers_trainer_is_not_ours(tmp_path: Path) -> None:
    folder = Trainer(tmp_path).save("checkpoint-0")
    (folder / "trainer_state.json").write_text("{}")
    assert "accelerate" not in {file.trainer for file in scan(tmp_path).files}


def test_a_folder_of_weights_alone_is_not_ours(tmp_path: Path) -> None:
    folder = Trainer(tmp_path).save("step_4")
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        (folder / name).unlink()
    assert {""} == {file.trainer for file in scan(tmp_path).files}


def test_a_name_of_the_scripts_own_is_ours_by_its_parts(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    trainer.train(4)
    file = judged(trainer.save("last"))
    assert ("accelerate", "open") == (file.trainer, file.resume)


def test_latest_goes_by_adams_steps_and_passes_over_half_a_folder(tmp_path: Path) -> None:
    run_of(tmp_path)
    assert tmp_path / "epoch_2" == latest(tmp_path)[0]
    (tmp_path / "epoch_2/optimizer.bin").unlink()
    assert tmp_path / "epoch_1" == latest(tmp_path)[0]


def test_a_run_with_automatic_names_is_resumed_from_its_last(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for number in range(11):
        trainer.train(1)
        trainer.save(f"checkpoint_{number}")
    assert "checkpoint_10" == check(tmp_path).files[0].checkpoint.path.name


def test_prune_keeps_the_furthest(tmp_path: Path) -> None:
    prune(run_of(tmp_path), 2)
    assert {"epoch_1", "epoch_2"} == {path.name for path in tmp_path.iterdir() if path.is_dir() and path.name[0] != "."}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("step_40", ("step", 40)),
        ("epoch_3", ("epoch", 3)),
        ("checkpoint-40", ("optimizer-step", 40)),
        ("checkpoint_4", ("save", 4)),
        ("checkpoint", None),
        ("step_", None),
        (f"step_{'9' * 30}", None),
    ],
)
def test_a_name_says_what_its_number_counts(name: str, told: tuple[str, int] | None) -> None:
    assert told == layout.name_of(Path("run") / name)
    assert (Path("run") if told else None) == layout.run_of(Path("run") / name)


@pytest.mark.parametrize(
    ("folder", "names", "is_one"),
    [
        ("last", {"random_states_0.pkl"}, True),
        ("step_4", {"optimizer.bin", "scheduler.bin"}, True),
        ("last", {"optimizer.bin", "scheduler.bin"}, False),
        ("step_4", {"optimizer.bin"}, False),
        ("step_4", {"random_states_0.pkl", "trainer_state.json"}, False),
        ("step_4", {"random_states_0.pkl", "rng_state.pth"}, False),
        ("step_4", {"notes.txt"}, False),
    ],
)
def test_a_folder_is_theirs_by_what_nobody_else_writes(
    tmp_path: Path, folder: str, names: set[str], is_one: bool
) -> None:
    assert is_one is layout.is_unit(tmp_path / folder, names)


def test_a_save_that_was_cut_off_is_known_by_the_folders_beside_it(tmp_path: Path) -> None:
    (tmp_path / "step_8").mkdir()
    assert not layout.is_unit(tmp_path / "step_4", {"model.safetensors"})
    (tmp_path / "step_8/random_states_0.pkl").touch()
    assert layout.is_unit(tmp_path / "step_4", {"model.safetensors"})


def test_what_load_state_opens_is_a_part() -> None:
    """Also in the folders of FSDP and DeepSpeed."""
    for name in ("optimizer_1.bin", "dl_state_dict.bin", "custom_checkpoint_0.pkl", "pytorch_model_fsdp_0/.metadata"):
        assert layout.reads_part(name)
    for name in ("config.json", "optimizer.bin.tmp", "other/optimizer.bin"):
        assert not layout.reads_part(name)
    assert layout.loads_part("random_states_3.pkl") and not layout.loads_part("custom_checkpoint_0.pkl")


def test_several_processes_objects_and_optimizers_are_told_by_their_files() -> None:
    folder = unit("step_4", "random_states_10.pkl", "random_states_2.pkl", "custom_checkpoint_0.pkl", "optimizer_1.bin")
    assert ([0, 2, 10], 1, True) == (layout.ranks(folder), layout.customs(folder), layout.has_several(folder))
    assert layout.is_sharded(unit("step_4", "optimizer_0/__0_0.distcp"))
    assert not layout.is_sharded(unit("step_4"))


def test_a_member_counts_by_adams_steps_and_its_batches_where_they_were_counted() -> None:
    held = member("step_6", 6, 6, 2)
    assert (6, 6, 6, "step_6", 2) == (
        held.state.global_step,
        held.state.last_epoch,
        held.named_step,
        held.right_name,
        layout.within_epoch(held),
    )
    assert ("checkpoint-6", None) == (member("checkpoint-9", 6).right_name, layout.within_epoch(member("epoch_0", 4)))
    assert ("", None) == (member("epoch_1", 8).right_name, member("epoch_1", 8).named_step)
