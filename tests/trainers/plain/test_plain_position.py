"""Where a file stands, and what its `epoch` means: siblings, options and the script decide, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ckpt_doctor import check_resume, facts, migrate, scan
from ckpt_doctor.cli.main import app
from ckpt_doctor.types import FileReport
from tests.trainers.plain.plain_runs import STEPS, Loop, resumed, run, same, straight


def judged(path: Path, **given: Any) -> FileReport:
    """The only file, or the second of a run."""
    files = scan([path], facts=facts(**given)).files
    return files[min(1, len(files) - 1)]


def codes(file: FileReport) -> set[str]:
    return {finding.code for finding in file.findings if finding.severity != "info"}


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


@pytest.mark.parametrize("label", [0, 1])
def test_without_the_script_the_reading_of_the_label_is_open(tmp_path, label):
    file = judged(run(tmp_path, "StepLR", label=label))
    (finding,) = [f for f in file.findings if f.code == "P412"]
    assert ("open", "ok", "info") == (file.resume, file.verdict, finding.severity)
    assert "--script" in (finding.fix or "")


READINGS = [
    # label added, what is told, resume, start, cured epoch
    (0, {"resume_epoch": "label+1"}, "identical", 2, None),
    (0, {"resume_epoch": "label"}, "differs", 1, 2),
    (1, {"resume_epoch": "label"}, "identical", 2, None),
    (1, {"resume_epoch": "label+1"}, "open", None, None),  # a loop that counts from 1 is right
    (1, {"resume_epoch": "label+1", "epoch_label": "next"}, "differs", 3, 1),
    (1, {"resume_epoch": "label+1", "epoch_label": "finished"}, "identical", 3, None),
    (1, {"resume_epoch": "label", "epoch_label": "finished"}, "differs", 2, 3),
]


@pytest.mark.parametrize(("label", "told", "resume", "start", "cured"), READINGS)
def test_what_is_told_settles_it(tmp_path, label, told, resume, start, cured):
    """And a label that is wrong is set right; the run's other files are not touched by that."""
    folder = run(tmp_path, "StepLR", label=label)
    file = judged(folder, shuffle=False, **told)
    assert resume == file.resume
    assert start == (file.plan.start_epoch if file.plan else None)
    assert ({"P402"} if cured is not None else set()) == codes(file)
    path = folder / "checkpoint_1.pt"
    results = migrate([path], facts=facts(shuffle=False, **told))
    assert ["migrated" if cured is not None else "unchanged"] == [result.status for result in results]
    epoch = torch.load(path, weights_only=False)["epoch"]
    assert (1 + label if cured is None else cured) == epoch
    again = judged(folder, shuffle=False, **told)
    assert ("identical" if cured is not None else resume, set()) == (again.resume, codes(again))
    assert "unchanged" == migrate([path], facts=facts(shuffle=False, **told))[0].status


def test_a_cured_label_makes_the_resume_identical(tmp_path):
    folder = run(tmp_path, "CosineAnnealingLR")
    path, whole = folder / "checkpoint_1.pt", straight("CosineAnnealingLR")
    assert not same(whole, resumed(path, "CosineAnnealingLR", plus=0))
    migrate([path], facts=facts(resume_epoch="label"))
    assert same(whole, resumed(path, "CosineAnnealingLR", plus=0))


def test_a_meaning_that_the_files_rule_out_is_a_contradiction(tmp_path):
    report = scan([run(tmp_path, "StepLR")], facts=facts(resume_epoch="label", epoch_label="next"))
    assert ["P408"] == [finding.code for finding in report.runs[0].findings]
    assert {"open"} == {file.resume for file in report.files}
    report = scan([tmp_path], facts=facts(steps_per_epoch=STEPS + 1))
    assert ["P408"] == [finding.code for finding in report.runs[0].findings]


SCRIPT = """
start_epoch = 0
if args.resume:
    ckpt = torch.load(args.resume)
    model.load_state_dict(ckpt["model_state_dict"])
    optimizer.load_state_dict(ckpt["optimizer_state_dict"])
    start_epoch = ckpt["epoch"]{plus}
for epoch in range(start_epoch, 6):
    for batch in loader:
        loss(model(batch)).backward()
        optimizer.step()
    scheduler.step()
    state = {{"epoch": epoch, "model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}}
    torch.save(state, "checkpoint.pt")
"""


@pytest.mark.parametrize(("plus", "code"), [("", 1), (" + 1", 0)])
def test_the_script_settles_it_with_its_lines(tmp_path, plus, code):
    folder, script = run(tmp_path / "run", "StepLR"), tmp_path / "train.py"
    script.write_text(SCRIPT.format(plus=plus))
    arguments = ["check", str(folder / "checkpoint_1.pt"), "--script", str(script), "--no-shuffle"]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"}, catch_exceptions=False)
    assert code == result.exit_code, result.output
    assert "train.py:7" in result.output
    assert ("P402" in result.output) == bool(code)
    assert ("identical" in result.output) == (not code)


def test_a_script_that_shows_nothing_is_said(tmp_path):
    folder, script = run(tmp_path / "run", "StepLR"), tmp_path / "train.py"
    script.write_text("print(1)\n")
    result = CliRunner().invoke(app, ["check", str(folder / "checkpoint_1.pt"), "--script", str(script)])
    assert 0 == result.exit_code
    assert "does not show" in result.output


@pytest.mark.parametrize(
    ("more", "told", "resume"),
    [
        ({}, {}, "open"),
        ({}, {"shuffle": True}, "differs"),
        ({}, {"shuffle": False}, "identical"),
        ({"rng_state": torch.get_rng_state()}, {"shuffle": True}, "identical"),
        ({"torch_rng_state": torch.get_rng_state()}, {}, "identical"),
    ],
)
def test_the_order_of_the_batches_is_known_or_open(tmp_path, more, told, resume):
    assert resume == judged(run(tmp_path, "StepLR", **more), resume_epoch="label+1", **told).resume


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


def test_check_resume_takes_the_facts_of_a_loop(tmp_path):
    """The only file of a folder, and one of a run with what the script knows of itself."""
    folder = run(tmp_path / "one", "StepLR", epochs=1)
    assert folder / "checkpoint_0.pt" == check_resume(folder).file.checkpoint.path
    path = run(tmp_path / "run", "StepLR", before_step=True) / "checkpoint_1.pt"
    told = {"resume_epoch": "label+1", "epoch_label": "finished", "shuffle": False}
    assert "differs" == check_resume(path, **told).resume
    assert "identical" == check_resume(path, **told, saved_after_step=True).resume
