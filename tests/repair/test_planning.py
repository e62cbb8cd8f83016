"""What a plan has for each file: edits with their evidence, or a refusal with what would settle it."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from ckpt_doctor import advice, facts, migrate, repair, undo
from ckpt_doctor.cli.main import main
from ckpt_doctor.errors import UsageError
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.repair import execution
from tests.repair.repairs import SAMPLES, contents


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fixes": ["sync-shedule"]}, "unknown fix 'sync-shedule'"),
        ({"best_score": 0.4}, "minus the best loss; give --val-loss 0.4"),
        ({"val_loss": -0.4}, "minus the best loss"),
        ({"best_score": float("nan")}, "is impossible: it is minus the best loss$"),
        ({"paths": ["gone"]}, "gone does not exist"),
        ({"paths": "gone"}, "gone does not exist"),
        ({"logs": ["gone.log"]}, "the log gone.log does not exist"),
        ({"ignore": ["E699"]}, "no rule has the code or name 'E699'"),
        ({"in_place": True, "output": "there"}, "exclude each other"),
        ({"best_score": -0.4, "val_loss": 0.4}, "exclude each other"),
    ],
)
def test_a_call_that_cannot_be_meant_raises(arguments, said, run):
    """Before any file is looked at."""
    before = contents(run)
    with pytest.raises(UsageError, match=said):
        migrate(**{"paths": [run], **arguments})
    assert before == contents(run)


def test_a_dry_run_plans_all_and_writes_nothing(run):
    """No lock file either; the same edits are then made."""
    before = contents(run.parents[1])
    planned = migrate([run], dry_run=True)
    assert before == contents(run.parents[1])
    assert {"planned"} == {result.status for result in planned}
    done = migrate([run])
    assert [[e.key for e in result.edits] for result in planned] == [[e.key for e in result.edits] for result in done]


def test_a_file_reached_by_several_paths_is_migrated_once(run, step):
    """The folder, the file, a link to the file, a link to the folder."""
    (run / "latest").symlink_to("checkpoint_step_140")
    (run / "linked.pt").symlink_to(step)
    results = migrate([run, step, run / "latest", run / "linked.pt"], fixes=["sync-scheduler"])
    assert 1 == sum(result.status == "migrated" and result.path.resolve() == step for result in results)
    assert 1 == len(open_checkpoint(step).migrations)
    assert (run / "linked.pt").is_symlink()


@pytest.mark.parametrize("name", ["checkpoint.pt.tmp", "checkpoint.tmp", "checkpoint.pt.part"])
def test_an_unfinished_file_is_never_touched(name, step):
    """F108 by its name; the refusal says so."""
    path = step.rename(step.with_name(name))
    before = contents(path.parent)
    (result,) = migrate([path])
    assert (["migrate"], True) == ([r.migration for r in result.refusals], "F108" in result.refusals[0].reason)
    assert before == contents(path.parent)


def test_damaged_files_are_refused_with_the_finding(tmp_path):
    """A cut archive, an empty file, a web page: nothing to edit, and the message says what they are."""
    shutil.copytree(SAMPLES / "damaged", tmp_path / "copy")
    run = next((tmp_path / "copy" / "checkpoints").iterdir())
    before = contents(run)
    reasons = [result.refusals[0].reason for result in migrate([run])]
    assert sorted(["F101", "F104", "F105"]) == sorted(reason[:4] for reason in reasons)
    assert before == contents(run)


@pytest.mark.parametrize(
    ("name", "value"), [("lradj", "type1"), ("lradj", "COS"), ("steps_per_epoch", 50), ("world_size", 2)]
)
def test_nothing_is_written_from_a_fact_that_the_files_rule_out(run, name, value):
    """It would bring healthy files out of step; what does not depend on it is still done."""
    before = contents(run)
    results = migrate(run, facts=facts(**{name: value}), dry_run=True)
    assert {"refused"} == {r.status for r in results if r.refusals}
    assert all("P408" in refusal.reason for r in results for refusal in r.refusals)
    results = migrate(run, fixes=["sync-scheduler", "fix-epoch", "add-best-score"], facts=facts(**{name: value}))
    assert all(name.replace("_", "-") in refusal.settle for r in results for refusal in r.refusals)
    assert before == contents(run)
    assert "migrated" in {r.status for r in migrate(run, fixes=["plain-scalars"], facts=facts(**{name: value}))}


# --- a plan is a value ------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """Every file that is opened as a checkpoint, wherever in the package; a temporary copy by its own name."""
    paths = []

    def counted(path):
        paths.append(Path(path))
        return open_checkpoint(path)

    for name, module in list(sys.modules.items()):
        if name.startswith("ckpt_doctor.") and getattr(module, "open_checkpoint", None) is open_checkpoint:
            monkeypatch.setattr(module, "open_checkpoint", counted)
    return paths


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("verify_torch", [False, True])
def test_a_file_is_opened_once_to_plan_and_once_to_judge_what_was_written(in_place, verify_torch, run, opened):
    planned = repair.plan([run], in_place=in_place)
    assert sorted(opened) == sorted(file.checkpoint.path for file in planned.files)
    del opened[:]
    written = [result.path for result in repair.apply(planned, verify_torch=verify_torch)]
    assert len(written) == len(opened)
    assert not in_place or sorted(written) == sorted(opened)


def test_the_command_opens_no_file_more_often(run, opened):
    assert 0 == main(["migrate", "--all", "--in-place", "--no-shuffle", str(run)])
    assert {2} == set(Counter(opened).values()), "to plan, and to verify"


def test_nothing_is_opened_again_for_the_answer(run, opened):
    """But for what another process wrote since."""
    assert 0 == main(["migrate", "--all", "--no-shuffle", str(run)])
    written = [path for path in opened if path.name.startswith(".")]
    assert {1} == set(Counter(opened).values())
    assert len(opened) == 2 * len(written) > 0, "each file to plan, and its new copy to verify"
    del opened[:]
    assert 0 == main(["migrate", "--all", "--no-shuffle", "--dry-run", str(run)])
    assert {1} == set(Counter(opened).values())


def test_what_was_saved_since_it_was_read_is_read_again(run, opened):
    planned = repair.plan([run])
    path = planned.files[0].checkpoint.path
    del opened[:]
    path.touch()
    advice.scan([run], read=planned.read)
    assert [path] == opened


def test_the_plan_that_was_made_is_applied(run, monkeypatch):
    """No rule speaks and no migration plans between the plan and the write."""
    planned = repair.plan([run])
    assert {"planned"} == {result.status for result in planned.results}
    monkeypatch.setattr(execution, "plan_run", None)
    done = repair.apply(planned)
    assert {()} == {result.notes for result in done}
    assert {"migrated"} == {result.status for result in done}
    assert [file.edits for file in planned.files] == [result.edits for result in done]
    assert [file.before.findings for file in planned.files] == [result.before for result in done]


def test_a_file_that_was_saved_since_is_planned_anew(step):
    """Nothing that the old content called for is written into the new one."""
    migrate([step], fixes=["sync-scheduler"])
    right = step.read_bytes()
    undo([step])
    planned = repair.plan([step], fixes=["sync-scheduler"])
    assert {"planned"} == {result.status for result in planned.results}
    step.write_bytes(right)
    (result,) = repair.apply(planned)
    assert ("unchanged", True) == (result.status, "made again" in result.notes[0])
    assert right == step.read_bytes()
