"""What holds for all tests: one Hypothesis profile, and which tests one process runs."""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says nothing about the package. What a function-scoped fixture makes is made once for all
# examples; the tests that use one know it. In CI Hypothesis adds its own profile: the same examples in each run.
settings.register_profile(
    "ckpt-doctor",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
settings.load_profile("ckpt-doctor")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process run all tests of a file, and all of the same interrupted runs: what they share is made once."""
    for item in items:
        shared = item.path.parent if item.path.parent.name == "equivalence" else item.path
        item.add_marker(pytest.mark.xdist_group(shared.relative_to(Path(__file__).parent).as_posix()))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: the libraries and the tests themselves."""
    gc.collect()
    gc.freeze()
