"""Where a file stands, and what its `epoch` means: siblings, options and the script decide, and nothing is guessed."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor import facts, migrate, scan
from tests.trainers.plain.plain_runs import STEPS, Loop, codes, judged, resumed, run, same, straight


def test_three_siblings_show_how_long_an_epoch_is(tmp_path):
    folder = run(tmp_path / "three", "StepLR", epochs=3)
    assert STEPS == scan([folder]).runs[0].run.facts.steps_per_epoch.value
    assert 2 == judged(folder).resume_point.finished_epochs
    assert scan([run(tmp_path / "two", "StepLR", epochs=2)]).runs[0].run.facts.steps_per_epoch is None


def test_one_file_is_read_with_its_siblings(tmp_path):
    folder = run(tmp_path, "StepLR", epochs=3)
    torch.save({"w": torch.ones(2)}, folder / "other.pt")
    assert 2 == judged(folder / "checkpoint_1.pt").resume_point.finished_epochs


def test_the_siblings_that_are_read_are_the_nearest(tmp_path):
    """A gate must not read a whole folder; those at the other end of a long run may have another length."""
    run(tmp_path, "none", epochs=3)
    for epoch in range(100, 130):
        torch.save(Loop().saved(epoch), tmp_path / f"checkpoint_{epoch}.pt")
    file = judged(tmp_path / "checkpoint_1.pt")
    assert 3 <= len(scan([tmp_path / "checkpoint_1.pt"]).runs[0].run.members) < 15
    assert file.checkpoint.path.name == "checkpoint_1.pt"


@pytest.mark.parametrize("steps", [[4, 8, 13], [3, 7, 11], [9, 13, 17], [4, 4, 8]])
def test_steps_that_are_not_whole_epochs_prove_nothing(tmp_path, steps):
    """An epoch of another length, saves within epochs, a run that began with other steps, two files of one step."""
    for epoch, count in enumerate(steps):
        state = Loop("StepLR").saved(epoch)
        loop = Loop()
        loop.train()
        optimizer = loop.optimizer.state_dict()
        for entry in optimizer["state"].values():
            entry["step"] = torch.tensor(float(count))
        torch.save(state | {"optimizer_state_dict": optimizer}, tmp_path / f"{epoch}.pt")
    report = scan([tmp_path])
    assert report.runs[0].run.facts.steps_per_epoch is None
    assert {"open"} == {file.resume for file in report.files}
    assert set() == set().union(*map(codes, report.files))


def test_another_model_in_the_folder_is_another_run(tmp_path):
    folder = run(tmp_path, "StepLR", epochs=3)
    loop = Loop("StepLR")
    loop.model.append(torch.nn.Linear(1, 1))
    torch.save(loop.saved(7), folder / "other.pt")
    assert 2 == judged(folder).resume_point.finished_epochs
    assert () == scan([folder]).runs[0].findings


def test_a_family_has_its_own_reading(tmp_path):
    """imagenet's `epoch` is the next one, where it starts; a copy that saves the finished one proves nothing."""
    for name, label, resume in (("imagenet", 1, "identical"), ("changed", 0, "open")):
        folder = run(tmp_path / name, "StepLR", label=label)
        for path in folder.iterdir():
            state = torch.load(path, weights_only=False)
            names = {"model_state_dict": "state_dict", "optimizer_state_dict": "optimizer"}
            torch.save({names.get(k, k): v for k, v in state.items()} | {"arch": "x", "best_acc1": 1.0}, path)
        assert resume == judged(folder, shuffle=False).resume


def test_an_optimizer_without_steps_needs_the_meaning_of_the_label(tmp_path):
    folder = run(tmp_path, "StepLR", "SGD")
    assert "open" == judged(folder, resume_epoch="label+1", shuffle=False).resume
    assert "identical" == judged(folder, resume_epoch="label+1", epoch_label="finished", shuffle=False).resume
    wrong = judged(folder, resume_epoch="label", epoch_label="finished", shuffle=False)
    assert "differs" == wrong.resume
    migrate([folder], facts=facts(resume_epoch="label", epoch_label="finished"))
    assert same(straight("StepLR", "SGD"), resumed(folder / "checkpoint_1.pt", "StepLR", "SGD", plus=0))
