"""`--dask ADDRESS`: the executor of a Dask cluster, whose workers see the same paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

from ckpt_doctor.cli.output import note
from ckpt_doctor.errors import UsageError
from ckpt_doctor.version import __version__

if TYPE_CHECKING:
    from concurrent.futures import Executor

TIMEOUT = 10.0
"""Seconds that a scheduler may take to answer."""
GRACE = 2.0
"""Seconds more, within which Dask's own reason comes."""
RETRIES = 3
"""How often a batch is tried again that a worker could not finish."""


@contextmanager
def executor_at(address: str) -> Iterator[Executor]:
    """The executor of the cluster whose scheduler is at an address.

    Raises `UsageError` where none answers, and where a worker has another ckpt-doctor.
    """
    if not address:
        raise UsageError("--dask needs the address of a scheduler; is a variable of the script not set?")
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise UsageError("--dask needs Dask's client: pip install 'ckpt-doctor[dask]'") from error
    import logging
    from concurrent.futures import CancelledError

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(
            logging.CRITICAL + 1
        )  # some have levels of their own; what matters is said here
    with _connected(Client, address) as client:
        _ensure_same_version(client)
        executor = client.get_executor(retries=RETRIES, pure=False)
        try:
            yield executor
        except CancelledError as error:
            raise UsageError(
                f"the Dask scheduler at {address} has gone, and with it what it had still to do"
            ) from error
        finally:
            executor.shutdown(wait=False)


def _connected(client: Callable[..., Any], address: str) -> Any:
    """The client of a scheduler. Raises `UsageError` where none answers in time.

    What takes the connection and says nothing keeps a client waiting for ever, so another thread makes it.
    """
    found: Future[Any] = Future()

    def connect() -> None:
        try:
            found.set_result(client(address, timeout=f"{TIMEOUT}s", set_as_default=False))
        except Exception as error:  # whatever it makes of what is no scheduler's answer
            found.set_exception(error)

    Thread(target=connect, daemon=True).start()
    try:
        return found.result(TIMEOUT + GRACE)
    except Exception as error:
        why = f"nothing comes for {TIMEOUT:.0f} s"
        if found.done():
            is_plain = isinstance(error, (OSError, ValueError, TypeError))
            why = (str(error) or type(error).__name__).splitlines()[0] if is_plain else "what answers is something else"
        raise UsageError(f"no Dask scheduler answers at {address} ({why})") from error


def _ensure_same_version(client: Any) -> None:
    """That every worker has this ckpt-doctor: another one may judge otherwise."""
    from pkgutil import resolve_name  # which workers have without ours

    found = client.run(resolve_name, "ckpt_doctor.version:__version__", on_error="return")
    if not found:
        note("the Dask cluster has no workers yet: waiting for the first")
    for worker, version in found.items():
        if isinstance(version, Exception):
            raise UsageError(f"the Dask worker {worker} has no ckpt-doctor; install {__version__} there")
        if version != __version__:
            raise UsageError(f"the Dask worker {worker} has ckpt-doctor {version}; install {__version__} there")
