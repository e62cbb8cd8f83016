"""Worker processes: every unit has a result, and one that kills its worker costs itself and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread, Timer
from types import FrameType
from typing import Any

import pytest

from ckpt_doctor.advice import workers
from ckpt_doctor.advice.workers import Lost, results
from ckpt_doctor.errors import CkptDoctorError

RELEASED = Event()
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
        RELEASED.wait(600)
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


@pytest.fixture
def soon() -> Iterator[None]:
    """An alarm ends what hangs."""

    def fail(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


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


def test_workers_are_in_the_folder_of_their_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {str(tmp_path)} == set(dict(results(folders, BATCHES, 1)).values())


def test_workers_have_the_environment_of_their_parent_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that forks them keeps the one that it was started with."""
    for now in ("first", "second"):
        monkeypatch.setenv("AWS_PROFILE", now)
        assert {"AWS_PROFILE": now} == dict(results(variables, [["AWS_PROFILE"]], 1))


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("opens", [nullcontext, partial(ThreadPoolExecutor, 2)], ids=["processes", "executor"])
def test_ctrl_c_ends_the_wait_also_where_another_thread_gets_the_signal(
    opens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the signal comes right before the wait: that doesn't end by it."""
    monkeypatch.setattr(workers, "PATIENCE", 0.01)
    other = Thread(target=RELEASED.wait)
    other.start()
    with opens() as executor:
        found = results(stuck, [["a"], ["deadly"]], 1, executor)
        assert ("a", "A") == next(found)
        Timer(0.1, lambda: signal.pthread_kill(other.ident or 0, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            next(found)
        RELEASED.set()
    other.join()
    RELEASED.clear()
    assert [] == multiprocessing.active_children()


@pytest.mark.usefixtures("soon")
def test_ctrl_c_leaves_no_lock_of_an_executor_taken_whenever_it_comes() -> None:
    """It comes at each place in turn where Python looks for signals: as a function begins, as one in C has ended."""

    def interrupted(at: int) -> bool:
        places = iter(range(at))

        def look(frame: FrameType | None, event: str, _: object) -> None:
            while frame is not None and frame.f_globals is not vars(workers):
                frame = frame.f_back
            if frame is not None and event in ("call", "c_return") and next(places, None) == at - 1:
                signal.raise_signal(signal.SIGINT)

        with ThreadPoolExecutor(1) as executor, suppress(KeyboardInterrupt):
            sys.setprofile(look)
            try:
                dict(results(upper, [["a"]], 1, executor))
            finally:
                sys.setprofile(None)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        return next(places, None) is None

    last = next(at for at in range(1, 1_000) if not interrupted(at))
    assert last > 50


def test_a_handler_of_the_callers_is_asked_once_the_executor_has_been() -> None:
    told: list[str] = []

    class Interrupting(ThreadPoolExecutor):
        def submit(self, *given: Any) -> Future[Any]:
            signal.raise_signal(signal.SIGINT)
            told.append("submitted")
            return super().submit(*given)

    before = signal.signal(signal.SIGINT, lambda *_: told.append("handled"))
    try:
        with Interrupting(1) as executor:
            assert EACH == dict(results(upper, BATCHES, 1, executor))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ["submitted", "handled"] * len(BATCHES) == told
