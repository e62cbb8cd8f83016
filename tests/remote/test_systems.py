"""File systems of fsspec are made where a URL is enough, and send each request once."""

from __future__ import annotations

from typing import Any

import pytest

from ckpt_doctor import scan
from ckpt_doctor.errors import UsageError
from ckpt_doctor.remote import systems
from ckpt_doctor.remote.systems import asking


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
    attempts: list[int] = []

    def http_backoff(_method: str, *, max_retries: int = 5) -> None:
        attempts.append(1 + max_retries)

    ask = systems._once(http_backoff)
    with asking():
        ask("GET")
        ask("GET", max_retries=20)
    ask("GET")
    assert [1, 1, 6] == attempts
