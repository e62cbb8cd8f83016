"""What the evidence leaves open, and what it contradicts: runs of the trainer, killed, with and without their log."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ckpt_doctor import audit, facts, latest, migrate
from ckpt_doctor.cli.main import app
from ckpt_doctor.types import FileReport
from tests.equivalence import harness
from tests.equivalence.comparison import divergences
from tests.equivalence.harness import Cell, Cells, Spec, codes

pytestmark = pytest.mark.long  # each trains, and tests/trainers/time_llm shows the same of files alone


def judged(path: Path, **given: object) -> FileReport:
    (file,) = audit.check(path, facts=facts(**given)).files
    return file


def command(*arguments: object) -> tuple[int, str]:
    """Exit code and stdout of a command line."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout


def copy(cells: Cells, tmp_path: Path, *spec: str, shuffle: bool = True, log: bool = True) -> Cell:
    """A cell of the complete trainer, shuffled as Time-LLM's loaders are."""
    cell = harness.copy(cells.get(Spec(*spec, shuffle=shuffle)), tmp_path / "run")
    if not log:
        shutil.rmtree(cell.log.parent)
    return cell


# --- what is open ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lradj", ["type1", "constant"])
def test_an_open_mode_that_matters_is_a_finding_also_after_every_repair(tmp_path: Path, lradj: str) -> None:
    """The log is lost. In one mode the best file's rate is right, in another it must change: neither is claimed."""
    argv = (*harness.command(Spec("complete", lradj, "best", shuffle=True)), "--vali-offsets", "0", "0")
    whole = harness.execute(argv, tmp_path / "whole", tmp_path / "whole" / "log")
    harness.execute(argv, tmp_path / "run", tmp_path / "lost" / "log", stop_after_step=26)
    path = next((tmp_path / "run").rglob("checkpoint"))
    migrate([path.parent])
    file = judged(path)
    assert ("open", True) == (file.resume, "P413" in codes(file))
    code, shown = command("check", path)
    assert 1 == code
    assert "can continue bit for bit" not in shown
    assert "verdict: ok" not in shown
    document = json.loads(command("check", path, "--format", "json")[1])
    assert ("open", "open", "ok") == (
        document["plan"]["resume"],
        document["files"][0]["resume"],
        document["files"][0]["verdict"],
    )

    (result,) = migrate([path], facts=facts(lradj=lradj))
    assert not result.refusals
    file = judged(path, lradj=lradj)
    assert file.keeps_its_path
    more = ("--resume_from_checkpoint", str(path), *file.plan.flags)
    rest = harness.execute((*argv, *more), tmp_path / "run", tmp_path / "lost" / "log")
    assert whole.steps[24:] == rest.steps


def test_in_the_first_epoch_the_modes_agree(cells: Cells, tmp_path: Path) -> None:
    """Every idle mode begins with the same rate and comes to the same place: nothing is open that matters."""
    cell = copy(cells, tmp_path, "complete", "type1", "first-epoch", log=False)
    told = {"steps_per_epoch": harness.TRAIN_STEPS, "world_size": 1}
    migrate([cell.path], facts=facts(**told))
    file = judged(cell.path, **told)
    assert ("identical", set()) == (file.resume, codes(file))
    assert set() == divergences(harness.resume(cell), cell)


def test_a_later_file_of_the_same_epoch_shows_that_an_older_one_does_not_end_it(tmp_path: Path) -> None:
    """Alone it may; the schedule of COS has no length that would tell."""
    argv = harness.command(Spec("complete", "COS", "first-epoch", shuffle=True))
    harness.execute((*argv, "--save_steps", "4"), tmp_path, tmp_path / "lost" / "log", stop_after_step=10)
    older = next(tmp_path.rglob("checkpoint_step_4/checkpoint.pt"))
    assert "P413" not in codes(judged(older))
    shutil.rmtree(older.parents[1] / "checkpoint_step_8")
    assert "P413" in codes(judged(older))


def test_two_processes_in_an_idle_mode_are_open_until_they_are_given(cells: Cells, tmp_path: Path) -> None:
    """What the trainer skips is a matter of how many there are, and no file says so."""
    spec = Spec("complete", "type1", "mid-epoch", world_size=2)
    cell = harness.copy(cells.get(spec), tmp_path / "run")
    file = judged(cell.path, shuffle=False)
    assert ("open", True) == (file.resume, "--world-size" in {f.where for f in file.findings if f.code == "P413"})
    assert "P413" not in codes(judged(cell.path, shuffle=False, world_size=2, steps_per_epoch=harness.TRAIN_STEPS))


# --- what is contradicted --------------------------------------------------------------------------------------------

WRONG = {
    "lradj": ("type3", "TST", "COS"),
    "world_size": (2, 3),
    "steps_per_epoch": (6, 45),
    "train_epochs": (3,),
    "learning_rate": (0.5,),
    "patience": (9,),
    "pct_start": (0.3,),
}
RIGHT = {
    "lradj": "type1",
    "world_size": 1,
    "steps_per_epoch": harness.TRAIN_STEPS,
    "train_epochs": harness.EPOCHS,
    "learning_rate": 0.01,
    "patience": harness.PATIENCE,
    "pct_start": 0.2,
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_what_files_or_log_contradict_is_refused_as_it_is_found(cells: Cells, tmp_path: Path, name, value) -> None:
    """`check` says it (exit code 1), and `migrate` writes nothing that could rest on it."""
    cell = copy(cells, tmp_path, "complete", "type1", "epoch-end")
    before = {path: path.read_bytes() for path in cell.root.rglob("*") if path.is_file()}
    report = audit.check(cell.path, facts=facts(**{name: value}))
    assert any(finding.severity != "info" and finding.code in ("P408", "P404") for finding in report.findings)
    assert report.files[0].resume != "identical"
    results = migrate([cell.path.parents[1]], facts=facts(**{name: value}))
    assert {"refused"} == {result.status for result in results}
    assert before == {path: path.read_bytes() for path in cell.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("lradj", ["type1", "TST"])
@pytest.mark.parametrize("epochs", [harness.EPOCHS - 1, harness.EPOCHS + 1])
def test_another_number_of_epochs_than_the_schedule_s_is_found_and_repaired_nonetheless(
    cells: Cells, tmp_path: Path, lradj: str, epochs: int
) -> None:
    """A run may be trained for longer. No value that is written rests on the number; what is still to come does."""
    cell = copy(cells, tmp_path, "complete", lradj, "best")
    code, shown = command("check", "--train-epochs", epochs, cell.path)
    assert (1, lradj == "type1") == (code, "P408" in shown)
    written = []
    for given in (harness.EPOCHS, epochs):
        other = harness.copy(cell, tmp_path / str(given))
        migrate([other.path], facts=facts(train_epochs=given))
        held = torch.load(other.path, weights_only=False)
        written.append((held["epoch"], held["global_step"], held["scheduler"], held["optimizer"]["param_groups"]))
    assert written[0] == written[1]
    code, shown = command("check", "--train-epochs", epochs, other.path)
    assert (1, True) == (code, "P408" in shown or "R505" in shown)


@pytest.mark.parametrize("name", RIGHT)
def test_the_command_s_own_facts_are_never_contradicted(cells: Cells, tmp_path: Path, name) -> None:
    cell = copy(cells, tmp_path, "complete", "type1", "epoch-end")
    report = audit.check(cell.path, facts=facts(**{name: RIGHT[name]}))
    assert "P408" not in {finding.code for finding in report.findings}


def test_an_idle_mode_is_told_from_the_others_by_the_files_alone(cells: Cells, tmp_path: Path) -> None:
    """Without a log the rates in the checkpoints speak."""
    cell = copy(cells, tmp_path, "complete", "type1", "epoch-end", log=False)
    (result,) = migrate([cell.path], facts=facts(lradj="type3"))
    assert ("refused", True) == (result.status, "P408" in result.refusals[0].reason)


@pytest.mark.parametrize("lradj", ["TST", "COS"])
@pytest.mark.parametrize(("kind", "settled"), [("first-epoch", False), ("mid-epoch", True)])
def test_a_mode_that_steps_is_contradicted_whether_or_not_the_idle_mode_is_settled(
    cells: Cells, tmp_path: Path, lradj: str, kind: str, settled: bool
) -> None:
    """Nothing is repaired with such a fact, no cure is printed, and no earlier resume is inferred from it."""
    cell = copy(cells, tmp_path, "complete", "type1", kind, log=False)
    assert settled == (audit.check(cell.path).runs[0].run.facts.lradj is not None)
    before = cell.path.read_bytes()
    code, shown = command("check", "--lradj", lradj, cell.path)
    assert (1, 1) == (code, shown.count("P408"))
    assert "P411" not in shown
    assert {"--plain-scalars"} >= {line.split()[3] for line in shown.splitlines() if "cure: ckpt-doctor" in line}
    assert "all repairs at once" not in shown
    for asked in ("--all", "--sync-scheduler"):
        code, shown = command("migrate", asked, "--lradj", lradj, cell.path)
        assert (1, True) == (code, "P408" in shown)
    assert before == cell.path.read_bytes()


# --- what is said of nothing to do -----------------------------------------------------------------------------------


def test_a_random_state_of_the_first_epoch_is_repaired_by_total_steps_alone(tmp_path: Path) -> None:
    """Step 7 of 72 ends no epoch, however many there are."""
    argv = [*harness.command(Spec("complete", "type1", "first-epoch", shuffle=True)), "--save_steps", "7"]
    root = tmp_path / "other"
    harness.execute(tuple(argv), root, root / "lost" / "log", stop_after_step=9)
    path = next(root.rglob("checkpoint_step_7/checkpoint.pt"))
    (result,) = migrate([path])
    assert ("migrated", ["rng_state"]) == (result.status, [edit.key for edit in result.edits if "." not in edit.key])
    assert torch.load(path, weights_only=False)["rng_state"] is None
    file = judged(path)
    assert ("identical", 7) == (file.resume, file.plan.skip_batches)
    code, shown = command("check", path)
    assert (0, True) == (code, "and skips 7 batches" in shown)
    assert 1 == shown.count("bit for bit")
    assert "is open" not in shown


def test_needs_nothing_is_not_said_of_what_cannot_be_cured(cells: Cells, tmp_path: Path) -> None:
    """The epoch before brought no better model, so no file has the random state of this one's beginning."""
    cell = copy(cells, tmp_path, "complete", "COS", "mid-epoch")
    code, shown = command("migrate", "--all", cell.path)
    assert 1 == code
    assert "needs none" not in shown
    assert "refused sync-rng" in shown


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_file_without_adam_s_moments_differs_and_is_not_called_open(
    cells: Cells, tmp_path: Path, shuffle: bool
) -> None:
    """An upgraded bare state_dict: every fact is known, and the rate is a new optimizer's."""
    cell = copy(cells, tmp_path, "legacy", "type1", "best")
    known = {"steps_per_epoch": harness.TRAIN_STEPS, "train_epochs": harness.EPOCHS, "lradj": "type1"}
    (result,) = migrate([cell.path], facts=facts(shuffle=shuffle, **known))
    assert "migrated" == result.status, result
    file = judged(cell.path, shuffle=shuffle, **known)
    assert ("differs", True, False) == (file.resume, "O702" in codes(file), "P413" in codes(file))
    options = [f"--{name.replace('_', '-')}={value}" for name, value in known.items()]
    _, shown = command("check", cell.path, *options, *["--no-shuffle"] * (not shuffle))
    assert "settle" not in shown
    assert not re.search(r"\bopen\b", shown)


# --- which one to resume from ----------------------------------------------------------------------------------------


def test_latest_prefers_one_that_continues_identically_and_says_so(cells: Cells, tmp_path: Path) -> None:
    """The newest ends an epoch whose validation is lost; an older one of the same epoch goes on bit for bit."""
    cell = copy(cells, tmp_path, "complete", "TST", "beside-best")
    root = tmp_path / "other"
    argv = (*cell.argv, "--save_total_limit", "9")
    harness.execute(argv, root, root / "logs" / harness.LOG.format("TST"), stop_in_validation=4)
    run = next((root / "checkpoints").iterdir())
    migrate([run])
    path, passed_over = latest(run)
    assert "checkpoint_step_42" == path.parent.name
    ((newest, why),) = passed_over
    assert "checkpoint_step_48" == newest.parent.name
    assert "P405" in why
    assert "continues identically" in why
    rest = harness.execute((*argv, "--resume_from_checkpoint", str(path)), root, root / "lost" / "log")
    assert cell.reference.steps[42:] == rest.steps


# --- what stays ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lradj", ["TST", "type1"])
def test_an_earlier_unrepaired_resume_is_told_for_good(cells: Cells, tmp_path: Path, lradj) -> None:
    """Schedule and rate are right again after the repair, and the losses never are."""
    cell = copy(cells, tmp_path, "complete", lradj, "second", shuffle=False)
    assert "P411" in codes(judged(cell.path, shuffle=False))
    migrate([cell.path], facts=facts(shuffle=False))
    file = judged(cell.path, shuffle=False)
    assert ("differs", {"P411"}) == (file.resume, codes(file) - {"R506"})
    assert {"loss"} <= divergences(harness.resume(cell, file.plan.flags), cell)
