"""The facts of a loop: given by a person, or shown by its script's lines."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ckpt_doctor import check_resume, facts, scan
from ckpt_doctor.cli.main import app
from tests.trainers.plain.plain_runs import STEPS, changed, run


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


def test_check_resume_takes_the_facts_of_a_loop(tmp_path):
    """The only file of a folder, and one of a run with what the script knows of itself."""
    folder = run(tmp_path / "one", "StepLR", epochs=1)
    assert folder / "checkpoint_0.pt" == check_resume(folder).file.checkpoint.path
    path = run(tmp_path / "run", "StepLR", before_step=True) / "checkpoint_1.pt"
    told = {"resume_epoch": "label+1", "epoch_label": "finished", "shuffle": False}
    assert "differs" == check_resume(path, **told).resume
    assert "identical" == check_resume(path, **told, saved_after_step=True).resume


@pytest.mark.parametrize("by", ["script", "code", "option", ""])
def test_a_script_that_sets_its_rates_from_a_first_one_has_lost_no_scheduler(tmp_path, by):
    """As speed runs do; some save their code in the file."""
    line = 'for group in optimizer.param_groups:\n    group["initial_lr"] = group["lr"]\n'
    folder, script = run(tmp_path / "run", "StepLR"), tmp_path / "train.py"
    script.write_text(line)
    for path in folder.iterdir():
        changed(path, lambda v, _: (v.pop("scheduler_state_dict"), v.update(code=line if by == "code" else "")))
    words = {"script": ["--script", str(script)], "option": ["--rates-by-hand"]}.get(by, [])
    result = CliRunner().invoke(app, ["scan", str(folder), "-v", *words], env={"COLUMNS": "300"})
    assert ("R508" in result.output) == (not by), result.output
    assert ("rates by hand" in result.output) == bool(by)
