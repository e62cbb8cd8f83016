"""Checkpoints of a run that lie beside others of it: copies under another name, and files that go together."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from ckpt_doctor import latest, scan
from ckpt_doctor.types import Checkpoint, Member, TrainingState
from ckpt_doctor.validators import series

STEPS = (10, 20, 30)


def state(step: int, **held: object) -> dict[str, object]:
    """Of no trainer that is known: it has two counts."""
    moments = {0: {"exp_avg": torch.full((4,), step / 7), "step": torch.tensor(float(step))}}
    group = {"lr": 0.1, "betas": (0.9, 0.99), "params": [0]}
    return {"net": {"w": torch.full((4,), step / 3)}, "optim": {"state": moments, "param_groups": [group]}, **held}


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)


def found(folder: Path) -> Mapping[str, list[str]]:
    """Name -> the codes of what is more than a note."""
    codes = {
        file.checkpoint.path.name: [f.code for f in file.findings if f.severity != "info"]
        for file in scan([folder]).files
    }
    return {name: each for name, each in codes.items() if each}


@pytest.mark.parametrize("name", ["net_{}.pth", "step-{}/state.pt"])
def test_a_copy_under_another_number_is_told_and_passed_over(tmp_path: Path, name: str) -> None:
    for step in STEPS:
        write(tmp_path / name.format(step), state(step))
    assert {} == found(tmp_path)
    shutil.copy(tmp_path / name.format(20), tmp_path / name.format(30))
    assert [["P401"]] == list(found(tmp_path).values())
    assert latest(tmp_path)[0] == tmp_path / name.format(20)


def test_what_rests_from_the_beginning_and_what_all_have_is_no_copy(tmp_path: Path) -> None:
    """Averages that begin later; weights that no step moves; the best one under a name of its own."""
    for step in STEPS:
        write(tmp_path / f"average_{step}.pt", {"w": torch.full((4,), max(step, 20) / 3)})
        write(tmp_path / f"frozen_{step}.pt", {"w": torch.ones(4)})
        write(tmp_path / f"net_{step}.pt", state(step))
    shutil.copy(tmp_path / "net_20.pt", tmp_path / "best_20.pt")
    assert {} == found(tmp_path)


def test_an_optimizer_of_another_moment_s_folder_is_told(tmp_path: Path) -> None:
    """SGD counts no steps."""
    for step in STEPS:
        moments = {0: {"momentum_buffer": torch.full((4,), step / 7)}}
        write(tmp_path / f"step-{step}" / "opt.pt", {"state": moments, "param_groups": [{"lr": 0.1, "params": [0]}]})
        write(tmp_path / f"step-{step}" / "net.pt", {"w": torch.full((4,), step / 3)})
    assert {} == found(tmp_path)
    shutil.copy(tmp_path / "step-20" / "opt.pt", tmp_path / "step-30" / "opt.pt")
    assert {"step-30": ["P409"]} == found(tmp_path)


def test_a_folder_that_is_named_by_its_step_alone_is_held_against_the_count_in_it(tmp_path: Path) -> None:
    """As LeRobot has them."""
    for step in STEPS:
        folder = tmp_path / f"{step:06d}"
        write(folder / "weights" / "model.pt", {"w": torch.full((4,), step / 3)})
        write(folder / "state" / "optimizer.pt", [torch.full((4,), step / 7)])
        (folder / "state" / "training_step.json").write_text(f'{{"step": {min(step, 20)}}}')
    assert {"000030": ["P401"]} == found(tmp_path)
    (tmp_path / "000020" / "state" / "training_step.json").write_text('{"step": ')
    assert {"000020", "000030"} == set(found(tmp_path)), "cut off"


def shards(folder: Path) -> None:
    for step in STEPS:
        for rank in (0, 1):
            write(folder / f"net_{step}-shard{rank}.pt", state(step, shard_metadata={}, rank=torch.full((2,), rank)))


def test_a_rank_s_file_of_another_save_and_a_missing_one_are_told(tmp_path: Path) -> None:
    shards(tmp_path)
    assert {} == found(tmp_path)
    last = tmp_path / "net_30-shard1.pt"
    write(last, state(25, shard_metadata={}, rank=torch.ones(2)))
    assert {"net_30-shard0.pt": ["P409"], last.name: ["P409"]} == found(tmp_path)
    last.unlink()
    assert {"net_30-shard0.pt": ["F114"]} == found(tmp_path)
    write(tmp_path / "net_30-shard0.pt", state(30, shard_metadata={}, rank=torch.ones(2000)))
    assert {} == found(tmp_path), "a single rank has all of it"


def test_a_file_without_the_one_that_all_others_have_is_told(tmp_path: Path) -> None:
    for step in STEPS:
        write(tmp_path / f"model{step}.pt", {"w": torch.full((4,), step / 3)})
        write(tmp_path / f"opt{step}.pt", state(step)["optim"])
        if step > 10:
            write(tmp_path / f"average{step}.pt", {"w": torch.full((4,), step / 5)})
            write(tmp_path / f"best{step}.pt", {"w": torch.full((4,), step / 9)})
    assert {} == found(tmp_path), "what begins later is no lack"
    why = {one.why for file in scan([tmp_path]).files for one in file.not_checked if one.what == "the resume"}
    assert {"weights only: the optimizer is in another file of its number"} == {w for w in why if "weights" in w}
    (tmp_path / "opt30.pt").unlink()
    assert {"model30.pt": ["F114"]} == found(tmp_path)


def generator_and_critic(folder: Path, begins: int = 0) -> None:
    """Two models, each with an optimizer and a count; the critic's may make its first step later."""
    for step in (*STEPS, 40):
        held = state(step)
        write(folder / f"G_{step}.pt", {**held, "epoch": step // 10})
        net = {"w": torch.full((4,), max(step, begins) / 5), "b": torch.zeros(2)}
        critic = {**state(step)["optim"], **({} if step > begins else {"state": {}})}
        write(folder / f"D_{step}.pt", {"net": net, "optim": critic, "epoch": step // 10})


def test_files_of_two_models_go_together(tmp_path: Path) -> None:
    """A lost one is told at the other, and a copy of another number's as well; what begins later is no lack."""
    generator_and_critic(tmp_path / "late", begins=20)
    generator_and_critic(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "saved late")
    (tmp_path / "saved late" / "D_10.pt").unlink()
    for name in ("late", "whole", "saved late"):
        assert {} == found(tmp_path / name), name
    lost, copied = (shutil.copytree(tmp_path / "whole", tmp_path / name) for name in ("lost", "copied"))
    (lost / "D_40.pt").unlink()
    assert {"G_40.pt": ["F114"]} == found(lost)
    shutil.copy(copied / "D_20.pt", copied / "D_40.pt")
    assert {"G_40.pt": ["P409"]} == found(copied)
    assert latest(copied)[0].name in ("D_30.pt", "G_30.pt")


@pytest.mark.parametrize("is_trained", [False, True])
def test_a_model_that_rests_between_two_saves_is_no_copy_unless_an_optimizer_moves_it(
    tmp_path: Path, is_trained: bool
) -> None:
    for step in (*STEPS, 40):
        write(tmp_path / f"critic{step}.pt", {"w": torch.full((4,), min(step, 30) / 3)})
        moments = state(step)["optim"]
        write(tmp_path / f"other{step}.pt", moments if is_trained else {"w": torch.full((4,), step / 5)})
    assert ({"critic40.pt": ["P401"], "other40.pt": ["P409"]} if is_trained else {}) == found(tmp_path)


def test_a_count_of_another_number_is_told_where_no_trainer_owns_the_file(tmp_path: Path) -> None:
    """A scheduler in a file of its own: what lies beside it goes with another one."""
    for step in (*STEPS, 40):
        write(tmp_path / f"model{step}.pt", {"w": torch.full((4,), step / 3)})
        write(
            tmp_path / f"scheduler{step}.pt", {"last_epoch": step * 3, "_step_count": step * 3 + 1, "base_lrs": [0.1]}
        )
    assert {} == found(tmp_path)
    write(tmp_path / "scheduler40.pt", {"last_epoch": 60, "_step_count": 61, "base_lrs": [0.1]})
    assert {"model40.pt": ["P409"], "scheduler40.pt": ["P401"]} == found(tmp_path)
    write(tmp_path / "scheduler40.pt", {"last_epoch": 77, "_step_count": 78, "base_lrs": [0.1]})
    assert {} == found(tmp_path), "saved between two others"
    write(tmp_path / f"model{0:019}.pt", {"w": torch.full((4,), 0.1)})
    write(tmp_path / f"scheduler{0:019}.pt", {"last_epoch": 50, "_step_count": 51, "base_lrs": [0.1]})
    assert {} == found(tmp_path), "no number of a moment has as many digits"


class Step(int):
    """A count that knows how often counts are compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Step.compared += 1
        return int(self) == int(other)  # type: ignore[call-overload]

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


@pytest.mark.parametrize("odd", [7, 8])
def test_a_rank_of_another_step_is_told_and_no_two_ranks_of_one_step_are_compared(odd: int) -> None:
    named = [
        series._Named(f"opt_1_rank_{rank}.pt", Member(saved(rank), TrainingState(global_step=Step(step)), None))
        for rank, step in enumerate([7] * 500 + [odd] + [7] * 499)
    ]
    Step.compared = 0
    told = dict(series._ranks({"opt_#_rank_0.pt": named}))
    assert Step.compared <= 4 * len(named)
    if odd == 7:
        assert {} == told
    else:
        assert [(8, "opt_1_rank_500.pt")] * 2 == [told[Path(name)][1:] for name in ("0", "999")]
        assert (8, 7, "opt_1_rank_0.pt") == told[Path("500")]


def saved(rank: int) -> Checkpoint:
    return Checkpoint(Path(str(rank)), 1, "torch-zip", "training", {})
