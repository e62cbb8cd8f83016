"""Interrupted runs, made once per session and shared by its tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.equivalence import harness


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Cells]:
    """Every way of being interrupted, built on demand."""
    yield harness.Cells(tmp_path_factory.mktemp("equivalence"))
    harness.close_ranks()
