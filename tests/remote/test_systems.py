"""File systems of fsspec are made where a URL is enough, and send each request once."""

from __future__ import annotations

import asyncio
from concurrent.futures import TimeoutError as FutureTimeout
from threading import Event
from typing import Any, ClassVar

import pytest

from ckpt_doctor import scan
from ckpt_doctor.errors import UsageError
from ckpt_doctor.remote import RemoteError, systems
from ckpt_doctor.remote.http import SILENCE
from ckpt_doctor.remote.systems import asking, bounded


def test_what_fsspec_cannot_make_of_a_url_alone_is_wrong_usage(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of a server whose name is an argument of its own, as `github` and `ftp` have: none is begun."""
    begun: list[object] = []

    class Hosted:
        protocol = "github"

        def __init__(self, host: str, port: int = 21, **_options: object) -> None:
            """Connect."""

        def __new__(cls, *_given: object, **_options: object) -> Hosted:
            begun.append(cls)
            return super().__new__(cls)

    monkeypatch.setattr("fsspec.get_filesystem_class", lambda _scheme: Hosted)
    with pytest.raises(UsageError, match="fsspec needs more than a URL to read github://"):
        scan(["github://x"])
    assert [] == begun


def test_a_library_that_the_extra_does_not_install_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(scheme: str) -> object:
        raise ImportError(f"Install what reads {scheme}")

    monkeypatch.setattr("fsspec.get_filesystem_class", missing)
    told = {}
    for scheme in ("gs", "abfs"):
        with pytest.raises(UsageError, match=f"Install what reads {scheme}") as raised:
            systems.file_system(scheme, f"{scheme}://x/y")
        told[scheme] = "ckpt-doctor[remote]" in str(raised.value)
    assert {"gs": True, "abfs": False} == told


def test_the_hub_s_library_sends_again_what_others_ask_for() -> None:
    """In ckpt-doctor's requests it waits for an answer as long as elsewhere, in others for ever where it did."""
    attempts: list[tuple[int, float | None]] = []

    def http_backoff(_method: str, *, max_retries: int = 5, timeout: float | None = None) -> None:
        attempts.append((1 + max_retries, timeout))

    ask = systems._once(http_backoff)
    with asking():
        ask("GET", timeout=None)
        ask("GET", max_retries=20, timeout=10.0)
    ask("GET")
    assert [(1, SILENCE), (1, 10.0), (6, None)] == attempts


def test_a_call_that_waits_for_ever_is_left_behind() -> None:
    """And what another raises comes through."""
    never = Event()
    with pytest.raises(FutureTimeout):
        bounded(0.01, never.wait)
    never.set()
    with pytest.raises(ZeroDivisionError):
        bounded(1.0, lambda: 1 // 0)
    assert 5 == bounded(1.0, lambda: 5)


def test_a_listing_of_s3_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a store sends its pages a byte at a time, or names the page that it sends as the next one."""

    class Store:
        config_kwargs: ClassVar[dict[str, Any]] = {}

        async def _call_s3(self, _method: str, **asked: str) -> dict[str, str]:
            await asyncio.sleep(9 if asked.get("ContinuationToken") == "slow" else 0)
            return {"NextContinuationToken": "2"}

    ask = systems._asking_once("s3", Store())._call_s3
    for token in ({}, {"ContinuationToken": "1"}):
        assert {"NextContinuationToken": "2"} == asyncio.run(ask("list_objects_v2", **token))
    with pytest.raises(RemoteError, match="again and again"):
        asyncio.run(ask("list_objects_v2", ContinuationToken="2"))
    monkeypatch.setattr(systems, "LONGEST", 0.01)
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(ask("list_objects_v2", ContinuationToken="slow"))
