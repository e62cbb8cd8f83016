"""A web server, and requests that are made again at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ckpt_doctor.remote import faults
from tests.remote.web import Web, serving


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server on loopback."""
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(faults, "PAUSE", 0.0)
    with serving() as server:
        yield server


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty store in memory."""
    fs = pytest.importorskip("fsspec").filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()
