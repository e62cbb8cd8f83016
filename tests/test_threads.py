"""Several threads, whenever Ctrl-C comes: nothing waits for ever, and it comes out."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from queue import SimpleQueue
from threading import Barrier, Event, Thread, Timer
from types import FrameType, ModuleType

import pytest

from ckpt_doctor import threads
from ckpt_doctor.threads import awaited, in_threads, uninterrupted


def times_interrupted(work: Callable[[], object], module: ModuleType) -> int:
    """How often Ctrl-C has come out of some work, once at each place where it can come below a module's functions.

    That is where Python looks for signals: where a function begins, and where one in C has ended.
    """
    for place in count():
        left = iter(range(place + 1))

        def look(frame: FrameType | None, event: str, _: object, left: Iterator[int] = left, last: int = place) -> None:
            while frame is not None and frame.f_globals is not vars(module):
                frame = frame.f_back
            if frame is not None and event in ("call", "c_return") and next(left, None) == last:
                signal.raise_signal(signal.SIGINT)

        sys.setprofile(look)
        try:
            work()
        except KeyboardInterrupt:
            pass
        else:
            return place
        finally:
            sys.setprofile(None)
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    raise AssertionError


@pytest.mark.usefixtures("soon")
def test_threads_work_at_the_same_time_and_the_results_are_in_order() -> None:
    barrier = Barrier(3)
    assert list("ABCDEF") == in_threads(lambda item: (barrier.wait(), item.upper())[1], iter("abcdef"), 3)
    assert [] == in_threads(str, (), 3)


@pytest.mark.usefixtures("soon")
def test_an_exception_of_any_thread_comes_out_and_ends_all() -> None:
    begun: list[int] = []
    barrier = Barrier(2)

    def work(item: int) -> None:
        begun.append(item)
        if item < 2:
            barrier.wait()
        if item == 1:
            raise ValueError(item)
        time.sleep(0.01)

    with pytest.raises(ValueError, match="1"):
        in_threads(work, range(1_000), 2)
    assert len(begun) < 1_000


@pytest.mark.usefixtures("soon")
def test_ctrl_c_ends_the_threads_whenever_it_comes() -> None:
    assert times_interrupted(lambda: in_threads(str, range(3), 3), threads) > 50


@pytest.mark.usefixtures("soon")
def test_a_wait_is_ended_by_a_signal_that_another_thread_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by one that comes right before the wait, of which Python tells the wait nothing either."""
    monkeypatch.setattr(threads, "PATIENCE", 0.01)
    released = Event()
    other = Thread(target=released.wait)
    other.start()
    Timer(0.05, lambda: signal.pthread_kill(other.ident or 0, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        awaited(SimpleQueue())
    released.set()


def test_a_handler_of_the_callers_is_asked_after_the_block() -> None:
    told: list[str] = []
    before = signal.signal(signal.SIGINT, lambda *_: told.append("handled"))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            told.append("done")
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ["done", "handled", "handled"] == told
