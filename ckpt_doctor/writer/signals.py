"""SIGTERM as an exception, so that a write is rolled back before the process ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def orderly_exit() -> Iterator[None]:
    """A context in which SIGTERM and SIGHUP raise `SystemExit(128 + number)`.

    Only where nobody else handles them (a trainer may), and only in the main thread, the only one that can.
    """
    mine = []
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _leave)
                mine.append(number)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)
