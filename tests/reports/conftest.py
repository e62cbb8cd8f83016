"""A browser for the tests that look at rendered pages."""

from __future__ import annotations

import os
import shutil

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a browser its tests are left out, and said so; in CI they run, and fail."""
    needing = [item for item in items if "browser" in getattr(item, "fixturenames", ())]
    if BROWSER is None and needing and not os.environ.get("CI"):
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]
        print(f"\n{len(needing)} tests of rendered pages left out: no chromium and no google-chrome on PATH")


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of a Chromium."""
    assert BROWSER is not None, "no chromium and no google-chrome on PATH"
    return BROWSER
