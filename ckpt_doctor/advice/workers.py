"""Batches of units -> their results, from worker processes or any executor; and what becomes of a unit that kills them.

Results come in any order. A batch whose worker died is tried once more, each of its units alone; where the worker dies
again, `Lost` is in the place of the unit's result.

Ctrl-C may come, and a worker may be killed, at any moment. Therefore worker processes share no lock and no pipe, as
those of `ProcessPoolExecutor` do: what one has left half done would stop all.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from traceback import format_exc
from typing import TYPE_CHECKING, NamedTuple, TypeVar, Union, cast

from ckpt_doctor.errors import CkptDoctorError
from ckpt_doctor.threads import PATIENCE, awaited, uninterrupted

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future
    from multiprocessing.process import BaseProcess


class Lost:
    """In the place of a result: the worker died, and a second one did."""


class _Raised(NamedTuple):
    """In the place of results: what has been raised in a worker process, and where."""

    error: Exception
    trace: str


U = TypeVar("U")
R = TypeVar("R")
Work = Callable[[Sequence[U]], list[R]]
Batch = Sequence[U]
Outcomes = Generator[tuple[U, Union[R, "Lost"]], None, None]
Made = Generator[tuple[Batch[U], list[R] | None], None, None]
"""Batches with what was made of them: None where the worker died, or ran out of memory."""
AHEAD = 256
"""Batches that are handed to an executor, whose number of workers is not known."""
PRELOADED = [
    "ckpt_doctor.advice.scanning",
    "ckpt_doctor.advice.workers",
    "ckpt_doctor.readers.torch_zip",
    "ckpt_doctor.trainers",
]
"""What every worker process needs."""


def results(
    work: Work[U, R], batches: Sequence[Batch[U]], jobs: int, executor: Executor | None = None
) -> Outcomes[U, R]:
    """The results of worker processes, of which new ones are started where some have died; or of an executor.

    The executor is left open. Raises `BrokenExecutor` where all of it is lost; one that replaces its workers, as Dask's
    does, is not.
    """
    made: Callable[[Sequence[Batch[U]], int], Made[U, R]]
    if executor is None:
        made, most = partial(_of_processes, work), jobs
    else:
        made, most = partial(_of_executor, work, executor), AHEAD
    suspects: list[Batch[U]] = []
    with closing(made(batches, most)) as found:
        for batch, results in found:
            if results is None:
                suspects.extend([unit] for unit in batch)
            else:
                yield from zip(batch, results, strict=True)
    with closing(made(suspects, 1)) as found:
        for [unit], results in found:
            yield unit, Lost() if results is None else results[0]


def _of_executor(work: Work[U, R], executor: Executor, batches: Sequence[Batch[U]], most: int) -> Made[U, R]:
    distributed = sys.modules.get("distributed")  # loaded where the executor is Dask's
    lost = (MemoryError,) if distributed is None else (MemoryError, distributed.KilledWorker)
    waiting = deque(batches)
    running: dict[Future[list[R]], Batch[U]] = {}
    done: SimpleQueue[Future[list[R]]] = SimpleQueue()
    try:
        while waiting or running:
            while waiting and len(running) < most:
                with uninterrupted():
                    future = executor.submit(work, waiting[0])
                    running[future] = waiting.popleft()
                    future.add_done_callback(done.put)
            batch = running.pop(future := awaited(done))
            try:
                results = future.result()
            except lost:
                yield batch, None
            else:
                yield batch, results
    finally:
        with uninterrupted():
            for future in running:
                future.cancel()


def _of_processes(work: Work[U, R], batches: Sequence[Batch[U]], most: int) -> Made[U, R]:
    """What worker processes make of batches. Each has one at a time. They end with this generator, at once."""
    waiting = deque(batches)
    workers: dict[Connection, BaseProcess] = {}
    asked: dict[Connection, Batch[U] | None] = {}  # none: it has yet to say that it has begun

    def start() -> None:
        with uninterrupted():
            pipe, process = _started(work)
            workers[pipe], asked[pipe] = process, None

    try:
        if waiting:
            start()  # the others when this one has begun: where none can, one says why
        while asked:
            for pipe in cast("list[Connection]", wait(list(asked), PATIENCE)):
                batch = asked.pop(pipe)
                try:
                    results = pipe.recv()
                except (EOFError, OSError) as error:  # it has died
                    if batch is None and not asked:
                        raise _unavailable("it ends at once") from error
                    results = None
                    workers.pop(pipe).join()
                else:
                    if isinstance(results, _Raised):
                        raise results.error from RuntimeError(results.trace)
                    if waiting:
                        asked[pipe] = waiting.popleft()
                        with suppress(OSError):  # it has died, which the next look at it shows
                            pipe.send(asked[pipe])
                while waiting and len(workers) < most:
                    try:
                        start()
                    except CkptDoctorError:  # too many open files, say
                        if not workers:
                            raise
                        most = len(workers)
                if batch is not None:
                    yield batch, results
    finally:
        with uninterrupted():
            for pipe, process in workers.items():
                pipe.close()
                process.kill()
        for process in workers.values():
            process.join()


def _started(work: Work[U, R]) -> tuple[Connection, BaseProcess]:
    """A worker process and the way to it.

    It is forked by a server that is started for this and has no threads: to fork this process would copy locks that its
    threads hold (fsspec has one for URLs), and to spawn each worker would import everything once more.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    here, there = context.Pipe()
    surroundings = (str(Path.cwd()), dict(os.environ), gc.get_threshold())
    process = context.Process(target=_serve, args=(there, work, *surroundings), daemon=True)
    try:
        resource_tracker.ensure_running()  # by itself it would let the signal through again
        with _without_interrupts():
            process.start()
    except (OSError, EOFError, AssertionError, RuntimeError) as error:  # of a daemon, of a program's own start
        raise _unavailable(error) from error
    there.close()  # so that the worker alone has that end, and its death is the end of what can be read
    return here, process


def _unavailable(why: object) -> CkptDoctorError:
    return CkptDoctorError(f"no worker process can be started here ({why}); --jobs 1 needs none")


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started here never see Ctrl-C, which a terminal sends to all: the parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(
    pipe: Connection,
    work: Work[U, R],
    folder: str,
    environment: Mapping[str, str],
    thresholds: tuple[int, int, int],
) -> None:
    """In a worker process, which is made as its parent is and ends with it: say so, then work on what comes.

    The server forks what it was when it started: a notebook may have changed folder and credentials since.
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    gc.set_threshold(*thresholds)
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    with suppress(EOFError, OSError):  # the parent has ended
        pipe.send(None)
        while True:
            batch = pipe.recv()
            try:
                pipe.send(work(batch))
            except MemoryError:
                pipe.send(None)
            except Exception as error:  # also of results that cannot be sent
                pipe.send(_Raised(error, format_exc()))


def _end_with(parent: BaseProcess) -> None:
    """End this process when its parent has ended, even if that was killed."""
    parent.join()
    os._exit(1)
