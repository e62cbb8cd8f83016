"""A copy of a sample run for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.migrators.sample_runs import Sample


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], Sample]:
    """`sample("complete-TST")` copies that run."""
    return lambda name: Sample.copy(name, tmp_path / name)
