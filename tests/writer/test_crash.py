"""Killed, interrupted or refused by the disk at any point, whatever writes leaves the old state or the new one."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from tests.writer import faults, save_faults
from tests.writer.sample_files import make

HERE = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": str(HERE.parents[1]),
}
WRITING_CALLS = [
    "write",
    "pwrite64",
    "copy_file_range",
    "ioctl",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "link",
    "linkat",
]
WRITING_CALLS += ["fsync", "fdatasync", "ftruncate", "fchmod", "fchown", "utimensat"]


def swept(tmp_path: Path, script: ModuleType, scenario: str, *rest: str) -> dict:
    """What one of the scripts prints, in a process of its own; that of files never imports torch."""
    line = [sys.executable, script.__file__, "sweep", str(tmp_path), scenario, *rest]
    result = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert 0 == result.returncode, result.stderr
    return json.loads(result.stdout)


def sweeps() -> list:
    """Every scenario with every kind of fault; by default the one that happens most, written and undone in archives."""
    default = ("replace-zip", "undo-zip-in-place")
    return [
        pytest.param(scenario, kind, marks=[] if kind == "kill" and scenario in default else [pytest.mark.long])
        for scenario in faults.SCENARIOS
        for kind in faults.KINDS
    ]


@pytest.mark.parametrize(("scenario", "kind"), sweeps())
def test_each_writing_call_may_fail_or_be_the_last(scenario, kind, tmp_path):
    """The path holds the old or the new file, exit and content agree, and the next run leaves no litter."""
    make(tmp_path / "sample", faults.SCENARIOS[scenario][1])
    outcome = swept(tmp_path, faults, scenario, kind)
    assert [] == outcome["complaints"]
    # Even the shortest path locks, changes, makes durable and unlocks.
    assert outcome["points"] >= 4


@pytest.mark.long
@pytest.mark.parametrize("scenario", save_faults.SCENARIOS)
def test_a_save_or_a_prune_may_fail_at_each_call_too(scenario, tmp_path):
    """The old checkpoint or the new one; whole folders or none; the next save or prune leaves nothing else."""
    outcome = swept(tmp_path, save_faults, scenario)
    assert [] == outcome["complaints"]
    assert all(points >= 6 for points in outcome["points"].values())


def writing_calls(trace: str, names: Sequence[str]) -> list[tuple[str, int]]:
    """`(name, n)` for the n-th call of a name, without the ioctls by which Python asks what its streams are."""
    counts = dict.fromkeys(names, 0)
    points = []
    for name, arguments in re.findall(r"^\d+ +(\w+)\((.*)$", trace, re.MULTILINE):
        counts[name] += 1
        if name != "ioctl" or "FICLONE" in arguments:
            points.append((name, counts[name]))
    return points


def with_strace(test: Callable[..., None]) -> Callable[..., None]:
    """A test that runs with each fault with which strace can interfere."""
    faults = pytest.mark.parametrize("fault", ["signal=SIGKILL", "error=ENOSPC", "error=EIO"])
    skip = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed; the sweeps need none")
    return pytest.mark.long(skip(faults(test)))


def struck(
    tmp_path: Path,
    script: ModuleType,
    scenario: str,
    fault: str,
    more_calls: Sequence[str],
    prepare: Callable[[Path], object],
    complaints: Callable[[Path, int, object], list[str]],
) -> dict[tuple[str, int], list[str]]:
    """Each writing call of the real process -> the complaints where the kernel fails it, with strace interfering."""
    log, calls = tmp_path / "trace", [*WRITING_CALLS, *more_calls]
    strace = ("strace", "-f", "--seccomp-bpf", "-o", str(log), "-e", f"trace={','.join(calls)}")

    def run(name: str, *inject: str) -> tuple[Path, object, subprocess.CompletedProcess]:
        work = tmp_path / name
        work.mkdir()
        states = prepare(work)
        line = [*strace, *inject, sys.executable, script.__file__, "run", str(work), scenario]
        return work, states, subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)

    *_, traced = run("rehearsal")
    assert 0 == traced.returncode, traced.stderr
    found = {}
    for name, n in writing_calls(log.read_text(), calls):
        work, states, done = run(f"{name}-{n}", "-e", f"inject={name}:{fault}:when={n}")
        found[name, n] = complaints(work, 137 if done.returncode in (-9, 137) else done.returncode, states)
    return found


@with_strace
@pytest.mark.parametrize("scenario", faults.SCENARIOS)
def test_each_real_system_call_may_fail_or_be_the_last(scenario, fault, tmp_path):
    """The same of the real process and the kernel's own calls."""
    sample, scene = make(tmp_path / "sample", faults.SCENARIOS[scenario][1]), faults.scene(scenario)
    found = struck(
        tmp_path, faults, scenario, fault, (),
        lambda work: faults.prepare(sample, work, scenario),
        lambda work, status, states: faults.complaints(scene, work, status, *states),
    )  # fmt: skip
    assert len(found) >= 4
    assert {} == {call: told for call, told in found.items() if told}


@with_strace
@pytest.mark.parametrize("scenario", save_faults.SCENARIOS)
def test_each_real_system_call_of_a_save_or_a_prune_may_fail(scenario, fault, tmp_path):
    """The process that trains, killed by the kernel in the middle of its checkpoint."""
    found = struck(
        tmp_path, save_faults, scenario, fault, ("rmdir",),
        lambda work: save_faults.prepare(work, scenario),
        lambda work, status, _: save_faults.complaints(work, scenario, status),
    )  # fmt: skip
    assert len(found) >= 4
    assert {} == {call: told for call, told in found.items() if told}
