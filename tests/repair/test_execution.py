"""A plan that is applied: what is written, recorded and taken back, beside whom, and in how much memory."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from ckpt_doctor import audit, facts, migrate, open_checkpoint, undo
from ckpt_doctor.cli.main import app
from ckpt_doctor.inert import names
from tests.readers.torch_files import tar_checkpoint
from tests.repair.repairs import ROOT, contents


def test_a_result_says_what_was_done_and_what_is_left(run, step):
    """Per file: edits with their evidence, the findings before and after, the receipt of the write."""
    results = {result.path: result for result in migrate([run], fixes=["sync-scheduler"])}
    assert {run / "checkpoint", run / "checkpoint_step_120" / "checkpoint.pt", step} == set(results)
    assert "unchanged" == results[run / "checkpoint"].status
    result = results[step]
    assert "migrated" == result.status
    assert {"scheduler.last_epoch", "scheduler._step_count", "scheduler._last_lr"} < {edit.key for edit in result.edits}
    assert all(edit.evidence for edit in result.edits)
    assert "R501" in {finding.code for finding in result.before}
    assert "R501" not in {finding.code for finding in result.after}
    assert step == result.receipt.path


@pytest.mark.parametrize("name", ["with space.pt", "最佳模型.pt", "no-suffix", "new\nline.pt", "-rf", "'quoted'.pt"])
def test_any_name_will_do(name, run, step):
    """Migrated and taken back, named as a path or found in its folder."""
    step.rename(step.with_name(name))
    path = step.with_name(name)
    before = path.read_bytes()
    assert ["migrated"] == [r.status for r in migrate([path], fixes=["plain-scalars"])]
    torch.load(path, weights_only=True, map_location="cpu")
    assert ["undone"] == [r.status for r in undo([path])]
    assert before == path.read_bytes()


def test_output_writes_there_and_leaves_a_run_that_takes_no_lock(run, step, tmp_path):
    """A run on read-only media, for which a folder where the lock file belongs stands here."""
    (run / ".ckpt-doctor.lock").mkdir()
    before = contents(run)
    assert {"failed"} == {result.status for result in migrate([run], fixes=["sync-scheduler"])}
    results = migrate([run], fixes=["sync-scheduler"], output=tmp_path / "there")
    assert before == contents(run)
    written = [result.receipt.path for result in results if result.status == "migrated"]
    assert tmp_path / "there" / run.name / "checkpoint_step_140" / "checkpoint.pt" in written
    assert 140 == torch.load(written[-1], map_location="cpu", weights_only=False)["scheduler"]["last_epoch"]
    again = migrate([run], fixes=["sync-scheduler"], output=tmp_path / "there")
    assert all("exists already" in result.message for result in again if result.edits)


@pytest.mark.parametrize("in_place", [False, True])
def test_migrations_are_taken_back_one_by_one(in_place, run, step):
    """Each undo gives the bytes before the last migration still there; past the first it is refused."""
    below = []
    for fix in ("sync-scheduler", "plain-scalars", "to-cpu"):
        below.append(step.read_bytes())
        assert "migrated" == migrate([step], fixes=[fix], in_place=in_place)[0].status
        assert len(below) == len(open_checkpoint(step).migrations)
    for expected in reversed(below):
        assert "undone" == undo([step], in_place=in_place)[0].status
        assert expected == step.read_bytes()
    assert "refused" == undo([step])[0].status
    assert [] == undo([run])


def test_a_migration_that_was_cut_off_is_rolled_back_by_the_next(run, step):
    """And then made; where nothing may be written the finding and its cure are told. Nothing is left over."""
    code = f"""
import os; from ckpt_doctor.repair import execution
execution.verified = lambda *_: os._exit(137)
execution.migrate([{str(step)!r}], fixes=["sync-scheduler"], in_place=True)
"""
    original = step.read_bytes()
    assert 137 == subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode
    assert original != step.read_bytes()
    (refused,) = migrate([step], dry_run=True)
    assert "F107" in refused.refusals[0].reason
    assert refused.refusals[0].settle.startswith("ckpt-doctor undo")
    (result,) = migrate([step], fixes=["sync-scheduler"])
    assert "migrated" == result.status
    assert "rolled back first" in result.notes[0]
    assert ["checkpoint.pt"] == os.listdir(step.parent)
    undo([step])
    assert original == step.read_bytes()


def test_one_file_that_cannot_be_rolled_back_holds_up_no_other(run, step):
    """It alone fails, with its own message."""
    broken = run / "checkpoint"
    journal = names.journal(broken)
    journal.write_text('{"version": 99}')
    results = {result.path: result for result in migrate([run], fixes=["sync-scheduler"])}
    assert "migrated" == results[step].status
    assert "failed" == results[broken].status
    assert "another version" in results[broken].message
    assert journal.exists()


def test_a_tar_file_of_before_0_1_10_is_repaired_too(tmp_path):
    """By rewriting: the tensor keeps its bytes and its sharing, and undo gives all back."""
    path = tar_checkpoint(tmp_path / "a", ("module.w", "module.v"), **{"module.scale": np.float64(-0.5)})
    before, original = torch.load(path, weights_only=False), path.read_bytes()
    (result,) = migrate([path], fixes=["strip-prefix", "plain-scalars"], verify_torch=True)
    assert "migrated" == result.status, result.message
    after = torch.load(path, weights_only=False)
    assert ["w", "v", "scale"] == list(after)
    assert (-0.5, float) == (after["scale"], type(after["scale"]))
    assert torch.equal(before["module.w"], after["w"])
    assert after["w"] is after["v"]
    (again,) = migrate([path], fixes=["strip-prefix", "plain-scalars"])
    assert "unchanged" == again.status
    undo([path])
    assert original == path.read_bytes()
    (result,) = migrate([path], fixes=["to-cpu"])
    assert "unchanged" == result.status
    (result,) = migrate([tar_checkpoint(tmp_path / "b", location="cuda:0")], fixes=["to-cpu"])
    assert "refused" == result.status


def legacy_copy(run, tmp_path):
    """A step checkpoint of the run as a legacy stream, beside which undo data is kept."""
    target = tmp_path / "stream" / "my_run" / "checkpoint_step_140" / "checkpoint.pt"
    target.parent.mkdir(parents=True)
    held = torch.load(run / "checkpoint_step_140" / "checkpoint.pt", weights_only=False, map_location="cpu")
    torch.save(held, target, _use_new_zipfile_serialization=False)
    return target


def test_what_a_migration_keeps_beside_a_file_is_no_checkpoint(run, tmp_path):
    """The folder is scanned and migrated again as if it were not there."""
    target = legacy_copy(run, tmp_path)
    (result,) = migrate([target], fixes=["sync-scheduler"], facts=facts(lradj="TST"))
    assert "migrated" == result.status, result
    assert 2 == len(os.listdir(target.parent))
    assert [target] == [file.checkpoint.path for file in audit.scan(tmp_path / "stream").files]


def test_a_folder_is_told_of_the_file_that_cannot_be_undone(run, tmp_path):
    target = legacy_copy(run, tmp_path)
    migrate([target], fixes=["sync-scheduler"], facts=facts(lradj="TST"))
    (beside,) = target.parent.glob("*-undo")
    beside.write_bytes(b"damaged")
    (result,) = undo([tmp_path / "stream"])
    assert ("refused", target) == (result.status, result.path)


# --- the record -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_place", [False, True])
def test_a_person_can_read_later_what_was_done(in_place, step):
    """`inspect` shows when, which keys, from which evidence; torch loads the file in every way as before."""
    from click.testing import CliRunner

    migrate([step], in_place=in_place)
    (record,) = open_checkpoint(step).migrations
    assert {"scheduler.last_epoch", "best_score"} < {edit["key"] for edit in record.edits}
    shown = CliRunner().invoke(app, ["inspect", str(step)]).stdout
    for told in (record.when[:10], "scheduler.last_epoch", "139 -> 140", "OneCycleLR at global_step 140"):
        assert told in " ".join(shown.split()), shown
    for weights_only in (True, False):
        for mmap in (True, False):
            held = torch.load(step, map_location="cpu", weights_only=weights_only, mmap=mmap)
            assert 140 == held["scheduler"]["last_epoch"]


def test_the_record_of_a_stream_is_shown_too(step):
    """It stands beside the file there."""
    from click.testing import CliRunner

    held = torch.load(step, map_location="cpu", weights_only=False)
    torch.save(held, step, _use_new_zipfile_serialization=False)
    assert "migrated" == migrate([step], fixes=["sync-scheduler"])[0].status
    assert "139 -> 140" in CliRunner().invoke(app, ["inspect", str(step)]).stdout
    assert 140 == torch.load(step, weights_only=False)["scheduler"]["last_epoch"]


# --- memory -----------------------------------------------------------------------------------------------------------

MIGRATE = """
import sys; from pathlib import Path; from ckpt_doctor import migrate, undo
(result,) = migrate([sys.argv[1]], fixes=["to-cpu"], in_place=sys.argv[2] == "in-place")
assert result.status == "migrated", result
(result,) = undo([sys.argv[1]])
assert result.status == "undone", result
(peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(peak)
"""


@pytest.mark.long
@pytest.mark.parametrize("size", [100 << 20, 1 << 30], ids=["100 MiB", "1 GiB"])
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_memory_does_not_grow_with_the_file(container, size, tmp_path):
    """Migration and undo, copies included, stay below 60 MB whatever the weights take."""
    path = tmp_path / "model.pt"
    maker = (
        "import sys, torch; from unittest import mock\n"
        "with mock.patch.object(torch.serialization, 'location_tag', lambda _: 'cuda:0'):\n"
        "    torch.save({'w': torch.ones(int(sys.argv[2]) // 4)}, sys.argv[1], "
        "_use_new_zipfile_serialization=sys.argv[3] == 'zip')"
    )
    subprocess.run([sys.executable, "-c", maker, str(path), str(size), container], check=True)
    for mode in ("replace", "in-place"):
        line = [sys.executable, "-c", MIGRATE, str(path), mode]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        assert "" == done.stderr
        assert int(done.stdout) < 60 << 10  # KiB


# --- several at once --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", [pytest.param([], id="replace"), pytest.param(["--in-place"], id="in-place", marks=pytest.mark.long)]
)
def test_two_doctors_on_one_tree_share_the_work(mode, run):
    """Both succeed, each file is migrated once, and nothing is left over; a third finds nothing to do."""
    line = [sys.executable, "-m", "ckpt_doctor", "migrate", "--all", "--no-shuffle", *mode, str(run)]
    doctors = [subprocess.Popen(line, cwd=ROOT, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    said = [doctor.communicate(timeout=60) for doctor in doctors]
    assert [0, 0] == [doctor.returncode for doctor in doctors], said
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {"checkpoint", "checkpoint.pt"} == {path.name for path in files}
    assert {1} == {len(open_checkpoint(path).migrations) for path in files}
    assert {"unchanged"} == {result.status for result in migrate([run], facts=facts(shuffle=False))}


@pytest.mark.long
def test_a_doctor_waits_for_a_trainer_that_saves_and_then_repairs_what_it_saved(run, step):
    """The plan is made under the lock: it never rests on the file of before."""
    code = f"""
import torch; from ckpt_doctor.writer.locking import run_lock; from pathlib import Path
from ckpt_doctor import atomic_save
path = Path({str(step)!r})
with run_lock(path):
    print("locked", flush=True); input()
    held = torch.load(path, map_location="cpu", weights_only=False)
    atomic_save({{**held, "note": "saved meanwhile"}}, path)
"""
    doctor = [sys.executable, "-m", "ckpt_doctor", "migrate", "--sync-scheduler", str(step)]
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True, cwd=ROOT) as trainer:
        assert "locked\n" == trainer.stdout.readline()
        with subprocess.Popen(doctor, cwd=ROOT, stdout=-1, text=True) as process:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1.5)
            trainer.communicate("\n")
            assert 0 == process.wait(timeout=60)
    held = torch.load(step, map_location="cpu", weights_only=False)
    assert ("saved meanwhile", 140) == (held["note"], held["scheduler"]["last_epoch"])


def test_what_a_migration_and_an_undo_return_shows_itself(run, step):
    """A line as repr, the command's text when printed, HTML in a notebook; and it is a list all the same."""
    planned = migrate([step], fixes=["sync-scheduler"], dry_run=True)
    assert "Migrations(1 planned)" == repr(planned)
    assert "\n" not in repr(planned[0])
    assert "scheduler.last_epoch" in str(planned)
    assert "<td>scheduler.last_epoch</td>" in planned._repr_html_()
    assert ["planned"] == [result.status for result in planned]
    migrate([step], fixes=["sync-scheduler"])
    assert "taken back" in str(undo([step]))
