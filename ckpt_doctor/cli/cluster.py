"""`--dask ADDRESS`: the executor of a Dask cluster, whose workers see the same paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ckpt_doctor.cli.output import note
from ckpt_doctor.errors import UsageError
from ckpt_doctor.version import __version__

if TYPE_CHECKING:
    from concurrent.futures import Executor

TIMEOUT = "10s"
"""How long a scheduler may take to answer."""
RETRIES = 3
"""How often a batch is tried again that a worker could not finish."""


@contextmanager
def executor_at(address: str) -> Iterator[Executor]:
    """The executor of the cluster whose scheduler is at an address.

    Raises `UsageError` where none answers, and where a worker has another ckpt-doctor.
    """
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise UsageError("--dask needs Dask's client: pip install 'ckpt-doctor[dask]'") from error
    import logging
    from concurrent.futures import CancelledError

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of it is said here
    try:
        client: Any = Client(address, timeout=TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call, unused-ignore]
    except (OSError, ValueError) as error:
        raise UsageError(f"no Dask scheduler answers at {address} ({_first_line(error)})") from error
    with client:
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


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
