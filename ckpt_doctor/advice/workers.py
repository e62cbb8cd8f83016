"""Batches of units -> their results, from worker processes or any executor; and what becomes of a unit that kills them.

Results come in any order. A batch whose worker died is tried once more, each of its units alone; where the worker dies
again, `Lost` is in the place of the unit's result.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Union

from ckpt_doctor.errors import CkptDoctorError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


class Lost:
    """In the place of a result: the worker died, and a second one did."""


U = TypeVar("U")
R = TypeVar("R")
Work = Callable[[Sequence[U]], list[R]]
Batch = Sequence[U]
Outcomes = Iterator[tuple[U, Union[R, "Lost"]]]
Opens = Callable[[], AbstractContextManager[Executor]]
AHEAD = 4
"""Batches that wait for each worker process."""
MANY_AHEAD = 256
"""Batches that are handed to an executor whose number of workers is not known."""
PRELOADED = ["ckpt_doctor.advice.scanning", "ckpt_doctor.readers.torch_zip", "ckpt_doctor.trainers"]
"""What every worker process needs."""


def results(
    work: Work[U, R], batches: Iterable[Batch[U]], jobs: int, executor: Executor | None = None
) -> Outcomes[U, R]:
    """The results of worker processes, of which new ones are started where some have died; or of an executor.

    The executor is left open. Raises `BrokenExecutor` where all of it is lost; one that replaces its workers, as Dask's
    does, is not.
    """
    if executor is None:
        lost: tuple[type[BaseException], ...] = (BrokenExecutor, MemoryError)
        return _outcomes(work, batches, partial(_processes, jobs), partial(_processes, 1), AHEAD * jobs, lost)
    given = executor
    distributed = sys.modules.get("distributed")  # loaded where the executor is Dask's
    lost = (MemoryError,) if distributed is None else (MemoryError, distributed.KilledWorker)

    def opens() -> AbstractContextManager[Executor]:
        return nullcontext(given)

    return _outcomes(work, batches, opens, opens, MANY_AHEAD, lost)


def _outcomes(
    work: Work[U, R],
    batches: Iterable[Batch[U]],
    opens: Opens,
    opens_for_one: Opens,
    ahead: int,
    lost: tuple[type[BaseException], ...],
) -> Outcomes[U, R]:
    waiting, suspects = deque(batches), deque[Batch[U]]()
    while waiting:
        with opens() as executor:
            for batch, results in _round(work, waiting, executor, ahead, lost):
                if results is None:
                    suspects.extend([unit] for unit in batch)
                else:
                    yield from zip(batch, results, strict=True)
    while suspects:
        with opens_for_one() as executor:
            for [unit], results in _round(work, suspects, executor, 1, lost):
                yield unit, Lost() if results is None else results[0]


def _round(
    work: Work[U, R],
    waiting: deque[Batch[U]],
    executor: Executor,
    ahead: int,
    lost: tuple[type[BaseException], ...],
) -> Iterator[tuple[Batch[U], list[R] | None]]:
    """What an executor makes of the waiting batches, until none is left or the executor is broken."""
    running: dict[Future[list[R]], Batch[U]] = {}
    is_broken = False
    try:
        while (waiting and not is_broken) or running:
            while waiting and len(running) < ahead and not is_broken:
                try:
                    running[executor.submit(work, waiting[0])] = waiting[0]
                except lost:
                    is_broken = True
                else:
                    waiting.popleft()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                batch = running.pop(future)
                try:
                    results = future.result()
                except lost:
                    yield batch, None
                else:
                    yield batch, results
    finally:
        for future in running:
            future.cancel()


@contextmanager
def _processes(jobs: int) -> Iterator[Executor]:
    """Worker processes, which end with the block: at once where an exception ends it.

    They are forked by a server that is started for this and has no threads: to fork this process would copy locks that
    its threads hold (fsspec has one for URLs), and to spawn each worker would import everything once more.
    """
    from concurrent.futures import ProcessPoolExecutor  # for several jobs only
    from multiprocessing import active_children, get_context

    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    others = set(active_children())
    pool = ProcessPoolExecutor(jobs, context, _begin, (str(Path.cwd()), dict(os.environ), gc.get_threshold()))
    try:
        _start(pool)
        yield pool
    except BaseException:
        for worker in set(active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start(pool: Executor) -> None:
    """Start the server and a first worker; an error that says so where the system allows none."""
    from multiprocessing import resource_tracker

    try:
        resource_tracker.ensure_running()  # by itself it would let the signal through again
        with _without_interrupts():
            first = pool.submit(os.getpid)
        first.result()
    except (BrokenExecutor, OSError, AssertionError, RuntimeError) as error:  # of a daemon, of a program's own start
        raise CkptDoctorError(f"no worker process can be started here ({error}); --jobs 1 needs none") from error


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started here never see Ctrl-C, which a terminal sends to all: the parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(folder: str, environment: Mapping[str, str], thresholds: tuple[int, int, int]) -> None:
    """Make a worker process as its parent is, and end it with its parent, even if that is killed.

    The server forks what it was when it started: a notebook may have changed folder and credentials since.
    """
    from multiprocessing import parent_process
    from threading import Thread

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    gc.set_threshold(*thresholds)
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
