"""What holds for all tests: one Hypothesis profile, which tests one process runs, and copies of the sample runs."""

import gc
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let one process run all tests of a file, and all that resume interrupted runs: what they share is made once."""
    from xdist.scheduler import LoadScopeScheduling  # absent where pytest runs without xdist

    class ByWhatIsShared(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file.rpartition("/")[0] if "/equivalence/" in file else file

    return ByWhatIsShared(config, log) if config.option.dist == "load" else None


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs inherit it, and pass it on
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: the libraries and the tests themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], Path]:
    """`sample("complete-TST")` copies that run (`checkpoints/` and `logs/`) and returns its run folder."""
    samples = Path(__file__).parents[1] / "fixtures" / "sample-runs"

    def copy(name: str) -> Path:
        shutil.copytree(samples / name, tmp_path / name)
        return next((tmp_path / name / "checkpoints").iterdir())

    return copy


@pytest.fixture
def soon() -> Iterator[None]:
    """An alarm ends what hangs."""

    def fail(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
