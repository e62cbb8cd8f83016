"""Killed, interrupted or refused by the disk at any point, whatever writes leaves the old state or the new one."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

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


def script(command: str, folder: Path, scenario: str, *rest: str, prefix: tuple[str, ...] = ()):
    """Run faults.py in its own process, which never imports torch; or save_faults.py, which must."""
    name = "save_faults.py" if scenario in save_faults.SCENARIOS else "faults.py"
    line = [*prefix, sys.executable, str(HERE / name), command, str(folder), scenario, *rest]
    return subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)


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
    result = script("sweep", tmp_path, scenario, kind)
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert [] == outcome["complaints"]
    # Even the shortest path locks, changes, makes durable and unlocks.
    assert outcome["points"] >= 4


@pytest.mark.long
@pytest.mark.parametrize("scenario", save_faults.SCENARIOS)
def test_a_save_or_a_prune_may_fail_at_each_call_too(scenario, tmp_path):
    """The old checkpoint or the new one; whole folders or none; the next save or prune leaves nothing else."""
    result = script("sweep", tmp_path, scenario)
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert [] == outcome["complaints"]
    assert all(points >= 6 for points in outcome["points"].values())


def writing_calls(trace: str, names: list[str] = WRITING_CALLS) -> list[tuple[str, int]]:
    """`(name, n)` for the n-th call of a name, without the ioctls by which Python asks what its streams are."""
    counts = dict.fromkeys(names, 0)
    points = []
    for name, arguments in re.findall(r"^\d+ +(\w+)\((.*)$", trace, re.MULTILINE):
        counts[name] += 1
        if name != "ioctl" or "FICLONE" in arguments:
            points.append((name, counts[name]))
    return points


@pytest.mark.long
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed; the sweep above needs none")
@pytest.mark.parametrize("fault", ["signal=SIGKILL", "error=ENOSPC", "error=EIO"])
@pytest.mark.parametrize("scenario", faults.SCENARIOS)
def test_each_real_system_call_may_fail_or_be_the_last(scenario, fault, tmp_path):
    """The same of the real process and the kernel's own calls, with strace interfering."""
    sample = make(tmp_path / "sample", faults.SCENARIOS[scenario][1])
    log = tmp_path / "trace"
    strace = ("strace", "-f", "--seccomp-bpf", "-o", str(log))
    rehearsal = tmp_path / "rehearsal"
    rehearsal.mkdir()
    faults.prepare(sample, rehearsal, scenario)
    names = ",".join(WRITING_CALLS)
    traced = script("run", rehearsal, scenario, prefix=(*strace, "-e", f"trace={names}"))
    assert traced.returncode == 0, traced.stderr
    points = writing_calls(log.read_text())
    assert len(points) >= 4
    complaints = []
    for name, n in points:
        work = tmp_path / f"{name}-{n}"
        work.mkdir()
        before, after = faults.prepare(sample, work, scenario)
        inject = (*strace, "-e", f"trace={names}", "-e", f"inject={name}:{fault}:when={n}")
        status = script("run", work, scenario, prefix=inject).returncode
        status = 137 if status in (-9, 137) else status
        complaints += [(name, n, text) for text in faults.complaints(work, scenario, status, before, after)]
    assert [] == complaints


@pytest.mark.long
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed; the sweep above needs none")
@pytest.mark.parametrize("fault", ["signal=SIGKILL", "error=ENOSPC", "error=EIO"])
@pytest.mark.parametrize("scenario", save_faults.SCENARIOS)
def test_each_real_system_call_of_a_save_or_a_prune_may_fail(scenario, fault, tmp_path):
    """The process that trains, killed by the kernel in the middle of its checkpoint."""
    log, names = tmp_path / "trace", ",".join([*WRITING_CALLS, "rmdir"])
    strace = ("strace", "-f", "--seccomp-bpf", "-o", str(log))
    rehearsal = tmp_path / "rehearsal"
    rehearsal.mkdir()
    save_faults.prepare(rehearsal, scenario)
    traced = script("run", rehearsal, scenario, prefix=(*strace, "-e", f"trace={names}"))
    assert traced.returncode == 0, traced.stderr
    points = writing_calls(log.read_text(), [*WRITING_CALLS, "rmdir"])
    assert len(points) >= 4
    complaints = []
    for name, n in points:
        work = tmp_path / f"{name}-{n}"
        work.mkdir()
        save_faults.prepare(work, scenario)
        inject = (*strace, "-e", f"trace={names}", "-e", f"inject={name}:{fault}:when={n}")
        status = script("run", work, scenario, prefix=inject).returncode
        status = 137 if status in (-9, 137) else status
        complaints += [(name, n, text) for text in save_faults.complaints(work, scenario, status)]
    assert [] == complaints
