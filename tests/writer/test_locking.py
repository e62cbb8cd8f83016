"""One holder per run folder, whoever it is; nothing stays behind."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ckpt_doctor.errors import LockTimeout, WriteRefused
from ckpt_doctor.writer import locking
from ckpt_doctor.writer.locking import LOCK_NAME, run_folder, run_lock

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: object) -> subprocess.Popen:
    """A process of its own with the package at hand."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(line, stdin=-1, stdout=-1, stderr=-1, text=True, env=environment)


SOFTLY = """
import errno, fcntl, sys
from pathlib import Path
from ckpt_doctor.errors import LockTimeout
from ckpt_doctor.writer.locking import run_lock
def missing(*_):
    raise OSError(getattr(errno, sys.argv[1]), "no locks")
fcntl.flock = missing
try:
    with run_lock(Path(sys.argv[2]), timeout=0.2):
        print("held")
except LockTimeout as error:
    print(error)
"""

HOLD = """
import sys; from pathlib import Path; from ckpt_doctor.writer.locking import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True); input()
"""


@pytest.mark.parametrize("inside", ["checkpoint", "checkpoint_step_90/checkpoint.pt", "checkpoint_step_90", "."])
def test_a_run_is_locked_as_a_whole(inside, tmp_path):
    """A best checkpoint, a step's checkpoint, a step folder and the run folder share one lock."""
    (tmp_path / "checkpoint_step_90").mkdir()
    (tmp_path / "checkpoint_step_90" / "checkpoint.pt").touch()
    (tmp_path / "checkpoint").touch()
    assert tmp_path == run_folder(tmp_path / inside)
    with run_lock(tmp_path / inside):
        assert (tmp_path / LOCK_NAME).exists()
    assert not (tmp_path / LOCK_NAME).exists()


def test_names_of_runs_are_not_taken_for_steps(tmp_path):
    """The trainer's run folders end in `_0-...`, and may end in a number."""
    for name in ("long_term_forecast_ETTh1_Exp_0-Llama3_8B", "long_term_forecast_Exp_0-3", "run_12"):
        (tmp_path / name).mkdir()
        assert tmp_path / name == run_folder(tmp_path / name / "checkpoint")


def test_another_process_waits_and_is_told_for_whom(tmp_path):
    """After the timeout the message names the folder, the process that holds it and its host."""
    with python(HOLD, tmp_path) as other:
        assert "held\n" == other.stdout.readline()
        said = rf"{tmp_path} is in use by process {other.pid} on \S+; waited 0.1 s"
        with pytest.raises(LockTimeout, match=said), run_lock(tmp_path, timeout=0.1):
            pass
        other.communicate("\n")
    with run_lock(tmp_path, timeout=0.1) as held:
        assert (True, "") == (held.exclusive, held.note)


def test_a_killed_holder_holds_nothing(tmp_path):
    """Its lock file stays, means nothing, and goes with the next holder."""
    with python(HOLD, tmp_path) as other:
        assert "held\n" == other.stdout.readline()
        other.kill()
        other.wait()
    assert (tmp_path / LOCK_NAME).exists()
    with run_lock(tmp_path, timeout=1):
        pass
    assert [] == list(tmp_path.iterdir())


def test_the_thread_that_holds_it_may_take_it_again(tmp_path):
    """A repair holds the lock from reading to writing, and the writer takes it as well; only the last exit lets go."""
    with run_lock(tmp_path):
        with run_lock(tmp_path / "checkpoint"):
            pass
        assert (tmp_path / LOCK_NAME).exists()
        with python(HOLD.replace("argv[1])", "argv[1]), timeout=0.05"), tmp_path) as other:
            assert "LockTimeout" in other.communicate()[1]
    assert [] == list(tmp_path.iterdir())


def test_another_thread_waits(tmp_path):
    """Threads exclude each other as processes do."""
    seen = []

    def attempt() -> None:
        try:
            with run_lock(tmp_path, timeout=0.1):
                seen.append("got it")
        except LockTimeout:
            seen.append("waited")

    with run_lock(tmp_path):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert ["waited"] == seen


def test_many_processes_never_hold_it_together(tmp_path):
    """Though each deletes the lock file before it lets go: a counter that is read and written back loses no turn."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    code = """
import sys, time; from pathlib import Path; from ckpt_doctor.writer.locking import run_lock
for _ in range(25):
    with run_lock(Path(sys.argv[1])):
        n = int(Path(sys.argv[2]).read_text()); time.sleep(0.0005); Path(sys.argv[2]).write_text(str(n + 1))
"""
    processes = [python(code, tmp_path, counter) for _ in range(4)]
    for process in processes:
        assert ("", "") == process.communicate()
    assert "100" == counter.read_text()
    assert {"counter"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("code", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_flock_gets_a_lock_file_and_a_note(tmp_path, monkeypatch, code):
    """Google Drive on Colab, NFS without a lock daemon: the file's existence is the lock, and the user is told what a
    crash would leave. It may be taken again by its thread, and by no other process.
    """
    import fcntl

    def missing(_fd: int, _operation: int) -> None:
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    monkeypatch.setattr(fcntl, "flock", missing)
    for held_before in (False, True):
        with run_lock(tmp_path) as held:
            assert not held.exclusive
            assert LOCK_NAME in held.note
            assert (tmp_path / LOCK_NAME).stat().st_size
            with run_lock(tmp_path / "checkpoint"):
                pass
            if held_before:
                line = [sys.executable, "-c", SOFTLY, code, tmp_path]
                told = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
                assert "in use" in told.stdout, told.stderr
        assert [] == list(tmp_path.iterdir())


def test_a_folder_that_takes_no_lock_file_is_refused(tmp_path):
    """One that is missing is not made either."""
    with pytest.raises(WriteRefused, match="cannot be locked"), run_lock(tmp_path / "gone" / "checkpoint"):
        pass
    assert not (tmp_path / "gone").exists()
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(WriteRefused, match="cannot be locked"), run_lock(tmp_path / "checkpoint"):
        pass


@pytest.mark.parametrize("kind", ["hard link", "symbolic link", "dangling link", "pipe", "folder"])
def test_what_is_no_lock_file_is_refused_and_not_touched(kind, tmp_path):
    """Another file's content is never written over, nor its name removed; a pipe is not waited for."""
    precious, lock = tmp_path / "precious", tmp_path / LOCK_NAME
    precious.write_text("weights")
    make = {
        "hard link": lambda: os.link(precious, lock),
        "symbolic link": lambda: lock.symlink_to(precious),
        "dangling link": lambda: lock.symlink_to(tmp_path / "nowhere"),
        "pipe": lambda: os.mkfifo(lock),
        "folder": lock.mkdir,
    }
    make[kind]()
    with pytest.raises(WriteRefused, match=r"cannot be locked for writing.*remove it"), run_lock(tmp_path, timeout=0.1):
        pass
    assert "weights" == precious.read_text()
    assert {"precious", LOCK_NAME} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("swap", ["before it is signed", "while it is held"])
def test_a_link_that_takes_the_name_of_a_held_lock_is_not_touched(swap, tmp_path, monkeypatch):
    """The holder writes through its descriptor, and removes only the file that it holds."""
    precious, lock = tmp_path / "precious", tmp_path / LOCK_NAME
    precious.write_text("weights")

    def take_the_name() -> None:
        lock.unlink()
        os.link(precious, lock)

    if swap == "before it is signed":
        real = locking._sign
        monkeypatch.setattr(locking, "_sign", lambda own: (take_the_name(), real(own)))
    with run_lock(tmp_path):
        if swap == "while it is held":
            take_the_name()
    assert "weights" == precious.read_text()
    assert os.path.samefile(precious, lock)


def test_who_waits_reads_no_pipe_for_the_holders_name(tmp_path):
    """What took the lock file's name meanwhile is not opened to say who holds it."""
    with python(HOLD, tmp_path) as other:
        assert "held\n" == other.stdout.readline()
        (tmp_path / LOCK_NAME).rename(tmp_path / "moved")
        os.mkfifo(tmp_path / LOCK_NAME)
        assert "" == locking._holder(tmp_path / LOCK_NAME)
        other.communicate("\n")
