"""`migrate` and `undo` from Python: what they return and refuse, and that nothing counts before it is checked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ckpt_doctor import audit, facts, migrate, open_checkpoint, trainers, undo
from ckpt_doctor.cli.main import app
from ckpt_doctor.errors import UsageError, VerificationFailed
from ckpt_doctor.inert import names, pickle_writer
from ckpt_doctor.repair import execution
from ckpt_doctor.repair.torch_check import compare_loaded
from ckpt_doctor.types import Edit, Finding
from ckpt_doctor.writer import commit
from tests.readers.test_open import tar_checkpoint

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "fixtures" / "sample-runs"


@pytest.fixture
def run(tmp_path) -> Path:
    """A copy of a run of the complete trainer in TST mode; its log stands beside it."""
    shutil.copytree(SAMPLES / "complete-TST", tmp_path / "copy")
    return next((tmp_path / "copy" / "checkpoints").iterdir())


@pytest.fixture
def step(run) -> Path:
    """A step checkpoint whose schedule lags."""
    return run / "checkpoint_step_140" / "checkpoint.pt"


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder, with its bytes and its time."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


# --- what comes back --------------------------------------------------------------------------------------------------


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
    assert (step, step.stat().st_size) == (result.receipt.path, result.receipt.new_size)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fixes": ["sync-shedule"]}, "unknown fix 'sync-shedule'"),
        ({"best_score": 0.4}, "minus the best loss; give --val-loss 0.4"),
        ({"val_loss": -0.4}, "minus the best loss"),
        ({"best_score": float("nan")}, "cannot be"),
        ({"paths": ["gone"]}, "gone does not exist"),
        ({"paths": "gone"}, "gone does not exist"),
        ({"logs": ["gone.log"]}, "the log gone.log does not exist"),
        ({"ignore": ["E699"]}, "no rule has the code or name 'E699'"),
        ({"in_place": True, "output": "there"}, "exclude each other"),
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


# --- nothing counts before it is checked ------------------------------------------------------------------------------


def assert_refused(step: Path, said: str, **options) -> None:
    """The migration fails for this reason, and leaves the file and its folder as they were."""
    before = contents(step.parent)
    (result,) = migrate([step], **{"fixes": ["sync-scheduler"], **options})
    assert ("failed", True) == (result.status, said in result.message), result.message
    assert ((), result.before) == (result.edits, result.after)
    assert before == contents(step.parent)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_finding_that_is_still_there_stops_it(in_place, step, monkeypatch):
    """A migration that does not do what it says is thrown away."""
    broken = Edit(("scheduler", "last_epoch"), 139, 138, "sabotage")
    (sync,) = (m for m in trainers.fixes("time-llm") if m.name == "sync-scheduler")
    lies = replace(sync, plan=lambda case: replace(sync.plan(case), edits=(broken,)))
    monkeypatch.setattr(trainers, "fixes", lambda name: (lies,))
    assert_refused(step, "R501 scheduler-behind is still there", in_place=in_place)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_finding_that_was_not_there_before_stops_it(in_place, step, monkeypatch):
    """However good the rest is."""
    judge = audit.judge
    calls = []

    def second_time_worse(case):
        report = judge(case)
        calls.append(case)
        worse = Finding("P499", "made-up", "warning", "something else broke")
        return replace(report, findings=(*report.findings, worse)) if len(calls) > 1 else report

    monkeypatch.setattr(audit, "judge", second_time_worse)
    assert_refused(step, "P499 made-up would be new", in_place=in_place)


HARMS = {
    "another value": lambda root: {**root, "global_step": 141},
    "a key lost": lambda root: {key: root[key] for key in root if key != "rng_state"},
    "another tensor": lambda root: {**root, "model": dict.fromkeys(root["model"], next(iter(root["model"].values())))},
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("in_place", [False, True])
def test_a_program_that_is_not_the_planned_one_stops_it(in_place, harm, step, monkeypatch):
    """Read back by our own reader and compared object for object."""
    dump = pickle_writer.dump
    monkeypatch.setattr(pickle_writer, "dump", lambda root, **options: dump(HARMS[harm](root), **options))
    assert_refused(step, "does not read back as planned", in_place=in_place)


def test_tensors_that_an_edit_would_lose_stop_it(step, monkeypatch):
    """Also when the plan itself says so: weights are never the price of a repair."""
    (sync,) = (m for m in trainers.fixes("time-llm") if m.name == "sync-scheduler")
    loses = Edit(("rng_state", "torch"), "a tensor", None, "sabotage")
    lies = replace(sync, plan=lambda case: replace(sync.plan(case), edits=(*sync.plan(case).edits, loses)))
    monkeypatch.setattr(trainers, "fixes", lambda name: (lies,))
    assert_refused(step, "tensors of the written file are not those of the original")


def test_a_file_saved_anew_while_it_is_migrated_is_left_alone(step):
    """The trainer's new checkpoint stays; the copy of the old one is thrown away."""
    saved = []

    def trainer_saves(_path: Path, _count: int) -> None:
        if not saved:
            torch.save({"epoch": 4}, step)
            saved.append((step.read_bytes(), step.stat().st_mtime_ns))

    (result,) = migrate([step], fixes=["sync-scheduler"], progress=trainer_saves)
    assert ("failed", True) == (result.status, "changed since it was read" in result.message), result.message
    assert {"checkpoint.pt": saved[0]} == contents(step.parent)


@pytest.mark.parametrize("name", ["checkpoint.pt.tmp", "checkpoint.tmp", "checkpoint.pt.part"])
def test_an_unfinished_file_is_never_touched(name, step):
    """F108 by its name; the refusal says so."""
    path = step.rename(step.with_name(name))
    before = contents(path.parent)
    (result,) = migrate([path])
    assert (["migrate"], True) == ([r.migration for r in result.refusals], "F108" in result.refusals[0].reason)
    assert before == contents(path.parent)


def test_a_file_that_somebody_is_writing_is_never_touched(step):
    """Though it reads well at the moment."""
    code = f"f = open({str(step)!r}, 'r+b'); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert "open\n" == process.stdout.readline()
        for in_place in (False, True):
            assert_refused(step, f"is being written by process {process.pid}", in_place=in_place)
        process.communicate("\n")


@pytest.mark.parametrize("mode", ["replace", "in-place", "output"])
def test_a_disk_that_is_too_small_is_told_before_anything_is_written(mode, step, monkeypatch, tmp_path):
    """With both sizes."""
    monkeypatch.setattr(commit, "free_space", lambda _folder: 12_345)
    assert_refused(
        step, "12,345 bytes free", in_place=mode == "in-place", output=tmp_path / "there" if mode == "output" else None
    )
    assert not (tmp_path / "there").exists()


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


def test_damaged_files_are_refused_with_the_finding(tmp_path):
    """A cut archive, an empty file, a web page: nothing to edit, and the message says what they are."""
    shutil.copytree(SAMPLES / "damaged", tmp_path / "copy")
    run = next((tmp_path / "copy" / "checkpoints").iterdir())
    before = contents(run)
    reasons = [result.refusals[0].reason for result in migrate([run])]
    assert sorted(["F101", "F104", "F105"]) == sorted(reason[:4] for reason in reasons)
    assert before == contents(run)


# --- --verify torch ---------------------------------------------------------------------------------------------------


def test_torch_itself_may_have_the_last_word(run):
    """Every repair of every file passes it."""
    assert {"migrated"} == {result.status for result in migrate([run], verify_torch=True)}
    legacy = SAMPLES / "legacy"
    shutil.copytree(legacy, run.parents[2] / "legacy")
    (result,) = migrate([run.parents[2] / "legacy" / "checkpoints"], verify_torch=True)
    assert "migrated" == result.status, result


def test_what_torch_loads_otherwise_stops_it(step, monkeypatch):
    """A defect that our own reader would share does not get through."""
    monkeypatch.setattr(execution, "verified", lambda *_: ())
    dump = pickle_writer.dump
    monkeypatch.setattr(pickle_writer, "dump", lambda root, **options: dump({**root, "global_step": 141}, **options))
    assert_refused(step, "torch loads 141 for 140 at global_step", verify_torch=True)


BASE = {
    "model": {"a": torch.arange(6.0), "b": torch.ones(2, 3)},
    "epoch": 3,
    "rate": 0.5,
    "tuple": (1, [2]),
    "no": None,
}


@pytest.mark.parametrize(
    "other",
    [
        {**BASE, "model": {**BASE["model"], "a": torch.arange(6.0) + 1e-7}},
        {**BASE, "model": {**BASE["model"], "a": torch.arange(6.0).double()}},
        {**BASE, "model": {**BASE["model"], "b": torch.ones(3, 2)}},
        {**BASE, "model": {"a": BASE["model"]["a"]}},
        {**BASE, "model": {**BASE["model"], "c": torch.ones(1)}},
        {**BASE, "epoch": 4},
        {**BASE, "rate": float("nan")},
        {**BASE, "tuple": (1, [3])},
        {**BASE, "tuple": (1, (2,))},
        {**BASE, "no": 0},
    ],
)
def test_the_comparison_sees_every_kind_of_difference(other, tmp_path):
    """And none between a file and itself."""
    old, new = tmp_path / "old.pt", tmp_path / "new.pt"
    torch.save(BASE, old)
    torch.save(other, new)
    compare_loaded(old, old, [])
    with pytest.raises(VerificationFailed, match="torch loads"):
        compare_loaded(old, new, [])


def test_torch_runs_no_foreign_code_for_it(tmp_path):
    """A file that would is refused before torch sees it."""
    path = tmp_path / "checkpoint.pt"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    torch.save({"x": Evil()}, path)
    with pytest.raises(VerificationFailed, match="foreign code"):
        compare_loaded(path, path, [])
    assert not (tmp_path / "ran").exists()


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


@pytest.mark.parametrize("mode", [[], ["--in-place"]], ids=["replace", "in-place"])
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


def test_a_place_that_is_not_in_the_file_is_named(step, monkeypatch):
    (sync,) = (m for m in trainers.fixes("time-llm") if m.name == "sync-scheduler")
    astray = Edit(("scheduler", "nowhere", "last_epoch"), 139, 138, "sabotage")
    lost = replace(sync, plan=lambda case: replace(sync.plan(case), edits=(astray,)))
    monkeypatch.setattr(trainers, "fixes", lambda name: (lost,))
    assert_refused(step, "scheduler.nowhere.last_epoch is to be changed, but there is no such place")
