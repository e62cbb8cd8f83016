"""The work of several threads, calls that Ctrl-C does not come into, and waits that it ends.

Ctrl-C may come between any two steps of the main thread, those of the standard library among them: a lock that an
executor has just taken stays taken then, and the executor's own threads wait for it for ever.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import current_thread, main_thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
PATIENCE = 1.0
"""Seconds of one wait: Python does not end it for a signal that came right before, or to another thread."""


def in_threads(work: Callable[[T], R], items: Iterable[T], most: int) -> list[R]:
    """What a function makes of each item, in their order: in several threads where there are several items.

    After an exception, or Ctrl-C, each thread ends with the item at hand.
    """
    every = list(items)
    if min(most, len(every)) < 2:
        return [work(item) for item in every]
    rest = enumerate(every)  # shared: each thread takes the next item
    made: dict[int, R] = {}
    ended: SimpleQueue[Future[None]] = SimpleQueue()

    def take() -> None:
        for number, item in rest:
            made[number] = work(item)

    with uninterrupted():
        pool = ThreadPoolExecutor(min(most, len(every)))
    try:
        with uninterrupted():
            futures = [pool.submit(take) for _ in range(min(most, len(every)))]
            for future in futures:
                future.add_done_callback(ended.put)
        for _ in futures:
            awaited(ended).result()
    finally:
        deque(rest, maxlen=0)
        with uninterrupted():
            pool.shutdown()
    return [made[number] for number in range(len(every))]


def awaited(queue: SimpleQueue[T]) -> T:
    """The next object that comes."""
    while True:
        with suppress(Empty):
            return queue.get(timeout=PATIENCE)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C that comes in the block is handled after it, when no lock that the block takes is held."""
    handler = signal.getsignal(signal.SIGINT)
    if current_thread() is not main_thread() or not callable(handler):  # no other thread is interrupted
        yield
        return
    came: list[int] = []
    try:
        signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)
