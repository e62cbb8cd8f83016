"""Worker processes: every unit has a result, and one that kills its worker costs itself and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

import pytest

from ckpt_doctor.advice import workers
from ckpt_doctor.advice.workers import Lost, results
from ckpt_doctor.errors import CkptDoctorError
from tests.test_threads import times_interrupted

BATCHES = [["a", "b"], ["c", "deadly"], ["d", "e"], ["f"]]


def upper(units: Sequence[str]) -> list[str]:
    return [unit.upper() for unit in units]


def killed(units: Sequence[str]) -> list[str]:
    """As `upper`, but for one unit that kills its process."""
    if "deadly" in units:
        os.kill(os.getpid(), signal.SIGKILL)
    return upper(units)


def cut_off(marks: Path, units: Sequence[str]) -> list[str]:
    """As `upper`, but for one unit whose process is killed while it sends what it has made, the first time."""
    if "deadly" in units and not (marks / "killed").exists():

        def send(self: Connection, data: Any) -> None:
            os.write(self.fileno(), bytes(data)[:5])
            os.kill(os.getpid(), signal.SIGKILL)

        (marks / "killed").touch()
        Connection._send = send  # type: ignore[attr-defined]
    return upper(units)


def stuck(units: Sequence[str]) -> list[str]:
    if "deadly" in units:
        time.sleep(600)
    return upper(units)


def exhausted(units: Sequence[str]) -> list[str]:
    if "deadly" in units:
        raise MemoryError
    return upper(units)


def failing(units: Sequence[str]) -> list[str]:
    if "deadly" in units:
        raise ValueError("not a matter of the worker")
    return upper(units)


def folders(units: Sequence[str]) -> list[str]:
    return [str(Path.cwd()) for _ in units]


def variables(units: Sequence[str]) -> list[str | None]:
    return [os.environ.get(unit) for unit in units]


EACH = {unit: unit.upper() for batch in BATCHES for unit in batch}
BUT_ONE = {unit: made for unit, made in EACH.items() if unit != "deadly"}


def test_each_unit_has_its_result() -> None:
    assert EACH == dict(results(upper, BATCHES, 2))


def test_a_unit_that_kills_its_workers_is_lost_and_no_other_is() -> None:
    found = dict(results(killed, BATCHES, 2))
    assert isinstance(found.pop("deadly"), Lost)
    assert BUT_ONE == found


@pytest.mark.usefixtures("soon")
def test_a_unit_whose_worker_is_killed_once_is_tried_again(tmp_path: Path) -> None:
    assert EACH == dict(results(partial(cut_off, tmp_path), BATCHES, 2))
    assert (tmp_path / "killed").exists()


def test_a_unit_that_exhausts_the_memory_is_lost() -> None:
    with ThreadPoolExecutor(2) as executor:
        found = dict(results(exhausted, BATCHES, 1, executor))
    assert isinstance(found.pop("deadly"), Lost)
    assert BUT_ONE == found


def test_any_other_exception_is_the_callers_and_the_workers_end() -> None:
    with pytest.raises(ValueError, match="not a matter of the worker"):
        dict(results(failing, BATCHES, 2))
    assert [] == multiprocessing.active_children()


def test_where_no_process_can_be_started_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a daemon's process, which may have no children."""
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    with pytest.raises(CkptDoctorError, match=r"no worker process can be started here .*; --jobs 1 needs none"):
        dict(results(upper, BATCHES, 2))


def test_where_no_further_process_can_be_started_the_others_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the files that a process may open are used up, of which the server that starts them dies."""
    started, process = workers._started, multiprocessing.get_context("forkserver").Process
    begun: list[int] = []

    def start(self: Any) -> None:
        begun.append(1)
        if len(begun) > 1:
            raise EOFError
        multiprocessing.process.BaseProcess.start(self)

    monkeypatch.setattr(process, "start", start)
    assert EACH == dict(results(upper, BATCHES, 3))
    assert len(begun) > 1
    with pytest.raises(CkptDoctorError, match="no worker process can be started here"):
        started(upper)


def test_workers_are_in_the_folder_of_their_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {str(tmp_path)} == set(dict(results(folders, BATCHES, 1)).values())


def test_workers_have_the_environment_of_their_parent_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that forks them keeps the one that it was started with."""
    for now in ("first", "second"):
        monkeypatch.setenv("AWS_PROFILE", now)
        assert {"AWS_PROFILE": now} == dict(results(variables, [["AWS_PROFILE"]], 1))


@pytest.mark.usefixtures("soon")
def test_ctrl_c_ends_workers_also_where_another_thread_gets_the_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the signal comes right before the wait, which doesn't end by it."""
    monkeypatch.setattr(workers, "PATIENCE", 0.01)
    released = Event()
    other = Thread(target=released.wait)
    other.start()
    found = results(stuck, [["a"], ["deadly"]], 1)
    assert ("a", "A") == next(found)
    Timer(0.05, lambda: signal.pthread_kill(other.ident or 0, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        next(found)
    released.set()
    assert [] == multiprocessing.active_children()


@pytest.mark.usefixtures("soon")
def test_ctrl_c_leaves_no_lock_of_an_executor_taken_whenever_it_comes() -> None:
    def work() -> None:
        with ThreadPoolExecutor(1) as executor:
            dict(results(upper, [["a"]], 1, executor))

    assert times_interrupted(work, workers) > 50
