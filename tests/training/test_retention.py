"""Pruning removes what is old and replaceable, and nothing else."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor.errors import LockTimeout, UsageError
from ckpt_doctor.inert import names
from ckpt_doctor.training.retention import Step, contents, keep_newest
from ckpt_doctor.writer.locking import run_lock


def step_of(folder: Path) -> int | None:
    """N of `checkpoint_step_N`."""
    head, _, number = folder.name.rpartition("_")
    return int(number) if head == "checkpoint_step" and number.isdigit() else None


def whole(folder: Path) -> bool:
    """A step folder whose file was not marked as damaged."""
    return (folder / "checkpoint.pt").read_bytes() != b"damaged"


def make_run(folder: Path, steps: list[int], damaged: tuple[int, ...] = ()) -> Path:
    """A run folder with the best checkpoint, a log and step folders."""
    folder.mkdir(exist_ok=True)
    (folder / "checkpoint").write_bytes(b"best")
    (folder / "train.log").touch()
    for step in steps:
        (folder / f"checkpoint_step_{step}").mkdir()
        (folder / f"checkpoint_step_{step}" / "checkpoint.pt").write_bytes(
            b"damaged" if step in damaged else b"x" * 5000
        )
    return folder


def steps_in(run: Path) -> list[int]:
    """Steps of the folders that are there."""
    return sorted(step for path in run.iterdir() if (step := step_of(path)) is not None)


def pruned(run: Path, keep: int, **options):
    """`keep_newest` with this module's ideas of a step and of a resumable checkpoint."""
    return keep_newest(run, keep, find_steps=lambda: found_in(run), **options)


def found_in(run: Path) -> list[Step]:
    """The step folders by their names."""
    return [
        Step((step,), path, whole(path), contents(path))
        for path in run.iterdir()
        if (step := step_of(path)) is not None
    ]


def test_a_link_to_itself_leads_nowhere(tmp_path):
    """It needs no folder, and stops nothing."""
    run = make_run(tmp_path / "run", [10, 20])
    (run / "best").symlink_to("best")
    pruned(run, 1)
    assert [20] == steps_in(run)


def test_the_newest_stay_by_number_not_by_text(tmp_path):
    """1000 is newer than 900; best checkpoint, log and unknown folders are not its business."""
    run = make_run(tmp_path / "run", [80, 900, 1000, 20])
    (run / "plots").mkdir()
    result = pruned(run, 2)
    assert [900, 1000] == steps_in(run)
    assert [1000, 900] == [step_of(path) for path in result.kept]
    assert [20, 80] == [step_of(path) for path in result.removed]
    assert {"checkpoint", "train.log", "plots", "checkpoint_step_900", "checkpoint_step_1000"} == set(os.listdir(run))
    assert result.freed >= 2 * 5000


@pytest.mark.long
@settings(max_examples=25)
@given(st.dictionaries(st.integers(0, 10**6), st.booleans(), max_size=9), st.integers(1, 5))
def test_so_many_resumable_ones_stay_as_asked_for_or_all(tmp_path_factory, whole_by_step, keep):
    """Damaged ones never count; no resumable one goes while a newer one than the limit is missing."""
    damaged = tuple(step for step, good in whole_by_step.items() if not good)
    run = make_run(tmp_path_factory.mktemp("run"), list(whole_by_step), damaged)
    pruned(run, keep)
    good = sorted(step for step, is_good in whole_by_step.items() if is_good)
    assert good[-keep:] == [step for step in steps_in(run) if step not in damaged]
    # Damaged ones newer than the oldest kept may be salvaged, or are being written; older ones are of no use.
    oldest = good[-keep] if len(good) >= keep else -1
    assert sorted(step for step in damaged if step > oldest) == [step for step in steps_in(run) if step in damaged]


@pytest.mark.long
@settings(max_examples=10)
@given(st.dictionaries(st.integers(0, 99), st.booleans(), min_size=1, max_size=9), st.integers(1, 4))
def test_who_departs_counts_only_where_all_do(tmp_path_factory, departs_by_step, keep):
    """So many stay of those that keep the run's path as asked for, or all; the newest of all stays."""
    run = make_run(tmp_path_factory.mktemp("run"), list(departs_by_step))
    steps = [replace(step, departs=departs_by_step[step.progress[0]]) for step in found_in(run)]
    result = keep_newest(run, keep, find_steps=lambda: steps)
    counting = sorted(step for step, departs in departs_by_step.items() if not departs) or sorted(departs_by_step)
    oldest = counting[-keep] if len(counting) >= keep else -1
    assert sorted(step for step in departs_by_step if step >= oldest) == steps_in(run)
    assert counting[-keep:] == sorted(step_of(path) for path in result.kept)
    assert set(result.departing) == set(run.glob("checkpoint_step_*")) - set(result.kept)


def test_who_departs_counts_where_the_others_are_not_sound(tmp_path):
    """A damaged older one that would have kept the run's path costs nothing but its own folder's room."""
    run = make_run(tmp_path / "run", [1, 2, 3])
    steps = [replace(step, departs=step.progress != (1,)) for step in found_in(run)]
    keep_newest(run, 1, find_steps=lambda: steps, is_sound=lambda step: not step.departs, dry_run=True)
    result = keep_newest(run, 1, find_steps=lambda: steps, is_sound=lambda step: step.departs)
    assert ([3], ()) == ([step_of(path) for path in result.kept], result.departing)
    assert [3] == steps_in(run)


def test_with_fewer_than_the_limit_nothing_goes(tmp_path):
    """Three folders of which one is resumable: it and the others stay, and the others are named."""
    run = make_run(tmp_path / "run", [1, 2, 3], damaged=(2, 3))
    result = pruned(run, 2)
    assert [1, 2, 3] == steps_in(run)
    assert [3, 2] == [step_of(path) for path in result.uncounted]


def test_a_rehearsal_removes_nothing_and_tells_the_same(tmp_path):
    """`--dry-run` gives the result that the real call then has."""
    run = make_run(tmp_path / "run", [1, 2, 3])
    told = pruned(run, 1, dry_run=True)
    assert [1, 2, 3] == steps_in(run)
    done = pruned(run, 1)
    assert (told.removed, told.kept, told.freed, told.dry_run) == (done.removed, done.kept, done.freed, True)


def test_what_is_protected_or_linked_stays(tmp_path):
    """The checkpoint to resume from, what a `best` link leads to, and a step folder that is itself a link."""
    run = make_run(tmp_path / "run", [1, 2, 3, 9])
    (run / "best").symlink_to(run / "checkpoint_step_2" / "checkpoint.pt")
    elsewhere = make_run(tmp_path / "disk", [7]) / "checkpoint_step_7"
    (run / "checkpoint_step_7").symlink_to(elsewhere)
    result = pruned(run, 1, protect=[run / "checkpoint_step_1" / "checkpoint.pt"])
    assert [1, 2, 7, 9] == steps_in(run)
    assert (elsewhere / "checkpoint.pt").exists()
    assert {1: "protected", 2: "link best", 7: "symbolic link"}.keys() == {step_of(s.path) for s in result.spared}
    assert {2, 3, 7} == {
        step_of(s.path) for s in pruned(make_run(run, [3]), 1, protect=[Path("checkpoint_step_3")]).spared
    }


def test_what_is_to_be_protected_and_is_not_there_stops_it(tmp_path):
    """A misspelled name must not cost the checkpoint that was meant."""
    run = make_run(tmp_path / "run", [1, 2])
    with pytest.raises(UsageError, match="checkpoint_step_l"):
        pruned(run, 1, protect=[Path("checkpoint_step_l")])
    assert [1, 2] == steps_in(run)


@pytest.mark.parametrize(
    ("how", "use"),
    [
        ("f = open(path, 'r+b')", "writing"),
        ("f = open(path, 'rb')", "reading"),
        (
            "import mmap; g = open(path, 'rb'); f = mmap.mmap(g.fileno(), 0, access=mmap.ACCESS_READ); g.close()",
            "reading",
        ),
    ],
)
def test_a_checkpoint_in_use_by_another_process_stays(how, use, tmp_path):
    """Written, read, or only mapped as by `torch.load(mmap=True)`; and goes once it is free."""
    run = make_run(tmp_path / "run", [1, 2])
    path = run / "checkpoint_step_1" / "checkpoint.pt"
    code = f"path = {str(path)!r}\n{how}\nprint('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert "open\n" == process.stdout.readline()
        (spared,) = pruned(run, 1).spared
        assert f"process {process.pid} is {use} it" == spared.reason
        assert [1, 2] == steps_in(run)
        process.communicate("\n")
    pruned(run, 1)
    assert [2] == steps_in(run)


def test_a_crash_leaves_no_half_checkpoint_under_its_name(tmp_path, monkeypatch):
    """The folder is renamed before the first file goes; the next call removes what is left."""
    import shutil

    run = make_run(tmp_path / "run", [1, 2])
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pruned(run, 1)
    assert [2] == steps_in(run)
    assert ".checkpoint_step_1.ckpt-doctor-removing" in os.listdir(run)
    pruned(run, 1)
    assert {"checkpoint", "train.log", "checkpoint_step_2"} == set(os.listdir(run))


def test_it_waits_for_whoever_works_in_the_run(tmp_path):
    """A trainer in `atomic_save` or a migration holds the lock: nothing is removed meanwhile."""
    run = make_run(tmp_path / "run", [1, 2])
    code = (
        "import sys; from pathlib import Path; from ckpt_doctor.writer.locking import run_lock\n"
        "with run_lock(Path(sys.argv[1])): print('held', flush=True); input()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    line = [sys.executable, "-c", code, str(run)]
    with subprocess.Popen(line, stdin=-1, stdout=-1, text=True, env=environment) as other:
        assert "held\n" == other.stdout.readline()
        with pytest.raises(LockTimeout):
            pruned(run, 1, timeout=0.1)
        assert [1, 2] == steps_in(run)
        other.communicate("\n")


def test_who_looks_for_the_steps_may_take_the_lock_itself(tmp_path):
    """It runs inside the lock, in the same thread."""
    run = make_run(tmp_path / "run", [1, 2])

    def look() -> list[Step]:
        with run_lock(run, timeout=0.1):
            return found_in(run)

    keep_newest(run, 1, find_steps=look)
    assert [2] == steps_in(run)


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_none_is_a_mistake(keep, tmp_path):
    """The last checkpoint is never removed by a limit."""
    run = make_run(tmp_path / "run", [1])
    with pytest.raises(UsageError):
        pruned(run, keep)
    with pytest.raises(UsageError):
        pruned(tmp_path / "no such run", 1)
    assert [1] == steps_in(run)


@pytest.mark.parametrize("call", range(12))
def test_a_save_into_a_folder_that_is_about_to_go_is_kept(call, tmp_path, monkeypatch):
    """Whichever rename, look or removal it comes before, until the last look: an old step can be saved again."""
    run = make_run(tmp_path / "run", [1, 2])
    path = run / "checkpoint_step_1" / "checkpoint.pt"
    steps = found_in(run)
    calls = 0
    state = {"saved": False, "in time": False}

    def intrude(name, real, self, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls > call and not state["saved"] and path.exists():
            state["saved"] = True
            path.write_bytes(b"the trainer's")
            state["in time"] = True
        return real(self, *args, **kwargs)

    for name in ("lstat", "rename", "rglob", "is_symlink"):
        real = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda self, *a, n=name, r=real, **k: intrude(n, r, self, *a, **k))
    result = keep_newest(run, 1, find_steps=lambda: steps)
    monkeypatch.undo()
    assert state["in time"]
    assert b"the trainer's" == path.read_bytes()
    assert ["it changed while it was looked at"] == [spared.reason for spared in result.spared]


def test_a_folder_that_was_taken_aside_and_not_looked_at_comes_back(tmp_path):
    """A kill in between: it has its name again, or one beside a folder that has been made anew."""
    run = make_run(tmp_path / "run", [1, 2, 3])
    for again in (False, True):
        (run / "checkpoint_step_1").rename(run / ".checkpoint_step_1.ckpt-doctor-leaving")
        if again:
            make_run(run, [1])
        pruned(run, 9)
        assert [1, 2, 3] == steps_in(run)
    assert (run / "checkpoint_step_1 (1)" / "checkpoint.pt").exists()


def test_a_folder_that_is_busy_and_made_anew_meanwhile_is_kept_beside_it(tmp_path, monkeypatch):
    """Both hold what somebody saved."""
    from ckpt_doctor.training import retention

    run = make_run(tmp_path / "run", [1, 2])
    steps = found_in(run)

    def save_anew(folder):
        if folder.name.endswith("-leaving"):
            (run / "checkpoint_step_1").mkdir()
            (run / "checkpoint_step_1" / "checkpoint.pt").write_bytes(b"anew")
            return retention.Spared(folder, "it is busy")
        return None

    monkeypatch.setattr(retention, "_in_use", save_anew)
    (spared,) = keep_newest(run, 1, find_steps=lambda: steps).spared
    assert run / "checkpoint_step_1 (1)" == spared.path
    assert b"x" * 5000 == (spared.path / "checkpoint.pt").read_bytes()
    assert b"anew" == (run / "checkpoint_step_1" / "checkpoint.pt").read_bytes()


def test_undo_data_of_a_folder_goes_with_it(tmp_path):
    """It would take disk space and be of no use; that of the others stays."""
    run = make_run(tmp_path / "run", [1, 2, 3])
    for step in (1, 3):
        names.store(run / f"checkpoint_step_{step}").mkdir(parents=True)
        (names.store(run / f"checkpoint_step_{step}") / "kept").touch()
    pruned(run, 1)
    assert ["checkpoint_step_3"] == os.listdir(run / names.STORE)
