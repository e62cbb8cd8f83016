"""File systems of fsspec, each found by its scheme and made to send a request once: `faults.trying` sends it again.

Left to themselves gcsfs and the hub's library send one six times, with half a minute of pauses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache, wraps
from importlib import import_module
from inspect import Parameter, signature
from threading import Thread
from types import MethodType
from typing import Any, TypeVar

from ckpt_doctor.errors import UsageError
from ckpt_doctor.remote.faults import RemoteError
from ckpt_doctor.remote.http import A_COPY, LONGEST, SILENCE

T = TypeVar("T")
S3, GOOGLE, WEB = frozenset({"s3", "s3a"}), frozenset({"gs", "gcs"}), frozenset({"http", "https"})
_OURS = S3 | GOOGLE | WEB | {"hf"}
"""Schemes whose libraries the extra `remote` installs."""
_INSTALL = "pip install 'ckpt-doctor[remote]'"
_LOUD = ("gcsfs", "google", "s3fs", "botocore", "aiobotocore", "huggingface_hub", "fsspec")
"""Libraries that log what they then raise."""
_OF_THE_HUB = ("huggingface_hub.hf_file_system", "huggingface_hub.utils._pagination")
_ASKING: list[None] = []
"""One for each of ckpt-doctor's requests on their way: the hub's library may send them from threads of its own."""


def file_system(scheme: str, path: object) -> Any:
    """The file system of a scheme. Raises `UsageError`: its library is not installed, or wants more than a URL."""
    try:
        import fsspec
    except ImportError:
        raise UsageError(f"{path} is a URL, and reading it needs fsspec: {_INSTALL}") from None
    for name in _LOUD:
        logging.getLogger(name).addHandler(logging.NullHandler())  # or Python prints tracebacks of what is said here
    try:
        kind = fsspec.get_filesystem_class(scheme)
        if not _wants(kind) - fsspec.config.apply_config(kind, {}).keys():  # one made in vain is loud at its end
            return _asking_once(scheme, kind(skip_instance_cache=True))
    except ImportError as error:
        how = _INSTALL if scheme in _OURS else f"install it, or {A_COPY}"
        raise UsageError(f"{scheme}:// needs a library that is not installed ({error}): {how}") from None
    except Exception as error:  # of whichever library: most of them want a host or a token
        if isinstance(error, ValueError) and scheme not in fsspec.available_protocols():
            raise UsageError(f"{path}: fsspec knows no {scheme}:// URLs") from None
    raise UsageError(f"{path}: fsspec needs more than a URL to read {scheme}://; {A_COPY}")


def _wants(kind: type) -> set[str]:
    """The arguments without which no file system of a kind is made."""
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    _self, *given = signature(kind.__init__).parameters.values()  # type: ignore[misc]
    return {one.name for one in given if one.default is Parameter.empty and one.kind in named}


def _asking_once(scheme: str, fs: Any) -> Any:
    if scheme in S3:
        fs.retries = 1
        fs.config_kwargs.setdefault("retries", {"total_max_attempts": 1})  # of botocore, for each of these
        fs._call_s3 = _ending(fs._call_s3)
    if scheme in GOOGLE:
        if once := getattr(type(fs)._request, "__wrapped__", None):  # below what repeats it
            fs._request = MethodType(once, fs)
        fs.requests_timeout = fs.requests_timeout or LONGEST
    if scheme == "hf":
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it has a handler, and names each URL it retries
        _hub_asking_once()
    return fs


def _ending(ask: Callable[..., Any]) -> Callable[..., Any]:
    """A request of S3 that ends: botocore bounds the time of each piece of an answer, and s3fs nothing else."""

    async def call(*given: Any, **named: Any) -> Any:
        answer = await asyncio.wait_for(ask(*given, **named), LONGEST)
        if "ContinuationToken" in named and answer.get("NextContinuationToken") == named["ContinuationToken"]:
            raise RemoteError("the store lists the same objects again and again")
        return answer

    return call


@cache
def _hub_asking_once() -> None:
    """Make the hub's library send each request once where it is ckpt-doctor's."""
    for name in _OF_THE_HUB:
        module: Any = import_module(name)
        module.http_backoff = _once(module.http_backoff)


def _once(ask: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(ask)
    def http_backoff(*given: Any, **named: Any) -> Any:
        if _ASKING:
            named |= {"max_retries": 0, "timeout": named.get("timeout") or SILENCE}
        return ask(*given, **named)

    return http_backoff


@contextmanager
def asking() -> Iterator[None]:
    """While this lasts the hub's library sends requests once, and as it was otherwise: others use it as well."""
    _ASKING.append(None)
    try:
        yield
    finally:
        _ASKING.pop()


def bounded(seconds: float, call: Callable[[], T]) -> T:
    """What a call gives that may wait for ever; `TimeoutError` after a time. The thread that waits is left behind."""
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # whoever waits gets it
            done.set_exception(error)

    Thread(target=work, daemon=True).start()
    return done.result(seconds)
