"""How far a checkpoint is, and which of several is preferred."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.distributed.checkpoint import save

from ckpt_doctor import latest
from ckpt_doctor.audit import scan
from ckpt_doctor.audit.ranking import departs, is_resumable, preferred, progress


def test_a_name_does_not_make_a_checkpoint_new(sample) -> None:
    """Progress is what the file counted, not the number of its folder."""
    run = sample("complete-TST")

    def steps() -> list[int | None]:
        files = sorted(((file, r.run) for r in scan([run]).runs for file in r.files), key=progress)
        return [file.member.state.global_step for file, _ in files]

    before = steps()
    assert sorted(before) == before
    min(run.glob("checkpoint_step_*")).rename(run / "checkpoint_step_99999")
    assert before == steps()


def test_of_several_the_newest_that_keeps_its_path_is_preferred(sample) -> None:
    files = list(scan([sample("complete-TST")]).files)
    kept = [file for file in files if not departs(file)]
    assert preferred(files) is (kept[0] if kept else files[0])
    assert preferred([]) is None


def test_a_training_state_is_one_however_deep_it_lies(tmp_path: Path) -> None:
    """Composer has all of it below `state`; bare weights are none."""
    parameter = torch.nn.Parameter(torch.ones(2))
    state = {"model": {"w": parameter.detach()}, "optimizers": {"Adam": torch.optim.Adam([parameter]).state_dict()}}
    torch.save({"state": state}, tmp_path / "ep0-ba1-rank0.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "weights.pt")
    assert [True, False] == [is_resumable(file) for file in scan([tmp_path]).files]


def test_folders_of_shards_go_by_the_number_in_their_names(tmp_path: Path) -> None:
    """No count of theirs is read, and a folder that was copied has any time."""
    for step in (900, 1000, 200):
        folder = tmp_path / f"step-{step}"
        folder.mkdir()
        save({"step": torch.tensor(step)}, checkpoint_id=folder, no_dist=True)
    files = sorted(((file, run.run) for run in scan([tmp_path]).runs for file in run.files), key=progress)
    assert ["step-200", "step-900", "step-1000"] == [file.checkpoint.path.name for file, _ in files]


def test_steps_are_not_held_against_epochs(tmp_path: Path) -> None:
    """Of an optimizer that gets a further group its parameters count from there on, so the later files tell no step."""
    layers = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.Adam(layers[:1])
    for epoch in range(6):
        if epoch == 3:
            optimizer.add_param_group({"params": layers[1:]})
        for _ in range(5):
            for layer in layers:
                layer.grad = torch.ones(2)
            optimizer.step()
        model = {str(at): layer.detach() for at, layer in enumerate(layers)}
        value = {"epoch": epoch, "model": model, "optimizer": optimizer.state_dict()}
        torch.save(value, tmp_path / f"ckpt_{epoch}.pt")
    assert "ckpt_5.pt" == latest(tmp_path)[0].name
