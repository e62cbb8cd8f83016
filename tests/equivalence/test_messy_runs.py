"""What people do to runs: several of one name, a launch from an older file, copies by a file manager, lost lines.

Whatever is said about such a run must be true of each file by itself.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ckpt_doctor import audit, facts, latest, migrate
from ckpt_doctor.types import FileReport
from tests.equivalence import harness
from tests.equivalence.harness import LOG, Cells, Spec, codes, copy, edit, execute

pytestmark = pytest.mark.long  # each trains, and the tests beside it show the same of shorter cases


def judged(folder: Path, **given) -> dict[str, FileReport]:
    """The files of a run by their place in it."""
    report = audit.scan(folder, facts=facts(**given))
    return {str(file.checkpoint.path.relative_to(folder)): file for file in report.files}


@pytest.mark.parametrize(("generation", "fix"), [("legacy", "upgrade"), ("first-patch", "add-best-score")])
def test_a_log_that_may_be_another_runs_proves_nothing(cells: Cells, tmp_path: Path, generation: str, fix: str) -> None:
    """Several runs of one model comment (`--itr`, a sweep), and a log in which no line names a folder."""
    cell = copy(cells.get(Spec(generation, "TST", "best")), tmp_path / "a")
    run = cell.path.parent
    for folder in run.glob("checkpoint_step_*"):
        shutil.rmtree(folder)
    nameless = [line for line in cell.log.read_text().splitlines(keepends=True) if "checkpoint_step_" not in line]
    cell.log.write_text("".join(nameless))
    command = facts(steps_per_epoch=harness.TRAIN_STEPS, train_epochs=harness.EPOCHS, lradj="TST", learning_rate=0.01)
    (alone,) = migrate([cell.path], fixes=[fix], facts=command, dry_run=True)
    assert "planned" == alone.status
    shutil.copytree(run, run.with_name(run.name.replace("_0-", "_1-")))
    assert 2 == len(list(run.parent.iterdir()))
    results = migrate([run.parent], fixes=[fix], facts=command)
    assert {"refused"} == {result.status for result in results}
    assert "in which folder it saved" in results[0].refusals[0].reason


def rerun(root: Path) -> tuple[Path, dict[str, float | None]]:
    """A run that went on to epoch 4, was begun again from a step file of epoch 2 with other losses, and was killed.

    Returns its folder and the best_score that each file was saved with.
    """
    argv = (*harness.command(Spec("complete", "TST", "mid-epoch")), "--save_total_limit", "100")
    log = root / "logs" / LOG.format("TST")
    execute((*argv, "--vali-offsets", "0", "-0.2", "0", "0", "0", "0"), root, log, stop_after_step=46)
    run = next((root / "checkpoints").iterdir())
    older = ("--resume_from_checkpoint", str(run / "checkpoint_step_18" / "checkpoint.pt"))
    execute((*argv, *older, "--vali-offsets", "0", "-0.05", "-0.1", "0", "0", "0"), root, log, stop_after_step=38)
    held = {
        str(path.relative_to(run)): torch.load(path, weights_only=False)["best_score"]
        for path in run.rglob("checkpoint*")
        if path.is_file()
    }
    return run, held


def test_two_branches_in_one_folder_do_not_accuse_each_other(tmp_path: Path) -> None:
    """What a launch from an older file left standing is of another history, and each history is right."""
    run, held = rerun(tmp_path)
    assert len({score for score in held.values() if score is not None}) > 2
    found = judged(run)
    assert not {place for place, file in found.items() if "E605" in codes(file)} - ends_of_epochs(found)
    for result in migrate([run], fixes=["add-best-score"]):
        place = str(result.path.relative_to(run))
        if place not in ends_of_epochs(found) and held[place] is not None:
            assert held[place] == pytest.approx(torch.load(result.path, weights_only=False)["best_score"], abs=1e-7)


def ends_of_epochs(found: dict[str, FileReport]) -> set[str]:
    """Step files that stand at an epoch's end get the state of after its validation, which came later."""
    steps = {place: file.member.state.global_step for place, file in found.items() if file.member.role == "step"}
    return {place for place, step in steps.items() if step is not None and step % harness.TRAIN_STEPS == 0}


def test_where_the_log_lost_its_end_no_file_is_given_another_launchs_score(tmp_path: Path) -> None:
    """The second launch may have saved a step anew that only the first one's lines report."""
    run, held = rerun(tmp_path)
    log = tmp_path / "logs" / LOG.format("TST")
    lines = log.read_text().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if "checkpoint_step_36" in line)
    log.write_text("".join(lines[:last]))
    found = judged(run)
    place = "checkpoint_step_36/checkpoint.pt"
    for result in migrate([run], fixes=["add-best-score"]):
        here = str(result.path.relative_to(run))
        if held[here] is not None and here not in ends_of_epochs(found) - {place}:
            assert held[here] == pytest.approx(torch.load(result.path, weights_only=False)["best_score"], abs=1e-7)


def test_copies_of_step_folders_are_no_runs(cells: Cells, tmp_path: Path) -> None:
    """`checkpoint_step_48 (1)`, as Drive calls the second of two."""
    cell = copy(cells.get(Spec("complete", "TST", "mid-epoch")), tmp_path / "a")
    run = cell.path.parent.parent
    for name in ("checkpoint_step_54 (1)", "checkpoint_step_48 (1)", "Copy of checkpoint_step_48"):
        shutil.copytree(cell.path.parent, run / name)
    found, _ = latest(run, repairable=True, facts=facts(shuffle=False))
    assert cell.path == found
    assert 1 == len(audit.scan(run).runs)


def test_a_counter_that_is_not_there_counts_as_0(cells: Cells, tmp_path: Path) -> None:
    cell = copy(cells.get(Spec("complete", "TST", "mid-epoch")), tmp_path / "a")
    counter = torch.load(cell.path, weights_only=False)["counter"]
    assert counter > 0
    edit(cell, lambda file: file.pop("counter"))
    (file,) = audit.scan(cell.path).files
    assert "E605" in codes(file)
    migrate([cell.path], fixes=["add-best-score"])
    assert counter == torch.load(cell.path, weights_only=False)["counter"]


def test_a_cosine_file_under_one_cycle_is_broken(cells: Cells, tmp_path: Path) -> None:
    """The param groups have no `max_lr`: the trainer's first `scheduler.step()` ends in a KeyError."""
    cell = copy(cells.get(Spec("complete", "COS", "mid-epoch")), tmp_path / "a")
    trace = harness.resume(cell, ("--lradj", "TST"))
    assert "max_lr" in str(trace.error)
    file = judged(cell.path.parent.parent, lradj="TST")["checkpoint_step_54/checkpoint.pt"]
    assert ("broken", {"R509"}) == (file.verdict, {f.code for f in file.findings if f.severity == "error"})


@pytest.mark.parametrize("lradj", ["type1", "type3", "constant"])
def test_the_base_rate_is_told_where_only_the_mode_is_open(cells: Cells, tmp_path: Path, lradj: str) -> None:
    """In the second epoch all of these have one rate, and all need the same flag; the log is lost."""
    spec = Spec("complete", lradj, "mid-epoch")
    root = tmp_path / "a"
    execute((*harness.command(spec), "--save_total_limit", "100"), root, root / "lost" / "x", stop_after_step=20)
    path = next((root / "checkpoints").rglob("checkpoint_step_18/checkpoint.pt"))
    report = audit.scan(path, facts=facts(steps_per_epoch=harness.TRAIN_STEPS, train_epochs=harness.EPOCHS))
    assert report.runs[0].run.facts.lradj is None
    (file,) = report.files
    assert file.plan is not None
    assert "--learning_rate" == file.plan.flags[0]
    # It may be type2 as well, whose rates are a table: the flag does no harm there.
    (told,) = [finding for finding in file.findings if finding.code == "R506"]
    assert "type2" in told.message


def test_without_any_validation_no_score_is_missing(tmp_path: Path) -> None:
    """Killed in the first one, resumed from the step file before it, which never makes up for it."""
    argv = (*harness.command(Spec("complete", "TST", "mid-epoch")), "--save_total_limit", "100")
    log = tmp_path / "logs" / LOG.format("TST")
    execute(argv, tmp_path, log, stop_in_validation=1)
    run = next((tmp_path / "checkpoints").iterdir())
    older = ("--resume_from_checkpoint", str(run / "checkpoint_step_12" / "checkpoint.pt"))
    execute((*argv, *older), tmp_path, log, stop_after_step=20)
    assert not (run / "checkpoint").exists()
    assert "E601" not in codes(judged(run)["checkpoint_step_18/checkpoint.pt"])


def test_a_validation_that_nobody_made_is_not_counted(tmp_path: Path) -> None:
    """Resumed from a step file of an epoch's last step; the lines of the launch before it are lost."""
    argv = (*harness.command(Spec("complete", "TST", "mid-epoch")), "--save_total_limit", "100")
    first, second = (tmp_path / "logs" / f"train_TST_2026012{day}_120000.log" for day in (6, 7))
    execute((*argv, "--vali-offsets", "0", "0.5", "0.4"), tmp_path, first, stop_in_validation=3)
    run = next((tmp_path / "checkpoints").iterdir())
    older = ("--resume_from_checkpoint", str(run / "checkpoint_step_36" / "checkpoint.pt"))
    execute((*argv, *older, "--vali-offsets", *["0.5"] * 6), tmp_path, second, stop_after_step=50)
    lines = first.read_text().splitlines(keepends=True)
    first.write_text("".join(lines[: next(n for n, line in enumerate(lines) if "checkpoint_step_24" in line)]))
    path = run / "checkpoint_step_42" / "checkpoint.pt"
    counter = torch.load(path, weights_only=False)["counter"]
    migrate([run], fixes=["add-best-score"])
    migrate([run], fixes=["add-best-score"])
    assert counter == torch.load(path, weights_only=False)["counter"]


@pytest.mark.parametrize(
    ("lradj", "key"),
    [
        ("type1", "global_step"),
        ("TST", "epoch"),
        *(
            pytest.param(*more, marks=pytest.mark.long)
            for more in (("COS", "global_step"), ("TST", "global_step"), ("type1", "epoch"))
        ),
    ],
)
def test_one_run_of_all_repairs_is_enough(cells: Cells, tmp_path: Path, lradj: str, key: str) -> None:
    """Also where a trainer saves no number by which mode and rates are told."""
    cell = copy(cells.get(Spec("complete", lradj, "best")), tmp_path / "a")
    for path in (path for path in cell.path.parent.rglob("checkpoint*") if path.is_file()):
        edit(replace(cell, path=path), lambda file: file.pop(key))
    command = facts(steps_per_epoch=harness.TRAIN_STEPS)
    (result,) = migrate([cell.path], facts=command)
    assert "migrated" == result.status, (result.refusals, result.message)
    (again,) = migrate([cell.path], facts=command)
    assert ("unchanged", ()) == (again.status, again.edits)
    trace = harness.resume(cell, audit.check(cell.path).files[0].plan.flags)
    assert not trace.error
    assert not harness.divergences(trace, cell)


def test_a_score_given_by_hand_stands_when_the_step_is_repaired_too(cells: Cells, tmp_path: Path) -> None:
    """The second look at the file must not forget what a person said."""
    cell = copy(cells.get(Spec("complete", "type1", "mid-epoch")), tmp_path / "a")
    for path in (path for path in cell.path.parents[1].rglob("checkpoint*") if path.is_file()):
        edit(replace(cell, path=path), lambda file: file.pop("global_step"))
    edit(cell, lambda file: file.update(best_score=-0.125, val_loss_min=0.125))
    command = facts(steps_per_epoch=harness.TRAIN_STEPS)
    (result,) = migrate([cell.path], facts=command, best_score=-0.125)
    assert ("global_step",) in [edit.path for edit in result.edits], result
    assert -0.125 == torch.load(cell.path, weights_only=False)["best_score"]
