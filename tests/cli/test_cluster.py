"""`--dask`: the workers of a cluster make the same report, whatever becomes of them; what is amiss is a sentence."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import Result

from ckpt_doctor import scan
from ckpt_doctor.cli import cluster as module
from ckpt_doctor.errors import UsageError
from ckpt_doctor.types import Finding
from tests.audit.test_scanning_work import loop_run

Run = Callable[..., Result]
REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Dask cluster of two processes."""
    distributed = pytest.importorskip("distributed")
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(REPO)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, worker_dashboard_address=None
    ) as started:
        yield started
    os.environ.pop("PYTHONPATH")
    if path is not None:
        os.environ["PYTHONPATH"] = path


def test_without_the_extra_a_sentence_says_how_to_get_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    refused = run("scan", "--dask", "tcp://127.0.0.1:1", tmp_path)
    assert (2, 1) == (refused.exit_code, len(refused.output.splitlines()))
    assert "pip install 'ckpt-doctor[dask]'" in refused.output


@pytest.mark.long
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "foo://bar", "silent", "chatty"])
def test_an_address_where_no_scheduler_answers_is_named_in_a_line(tmp_path: Path, address: str) -> None:
    """Also where something listens: it says nothing for ever, or speaks another language."""
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if address in ("silent", "chatty"):
            Thread(
                target=answer, args=(listening, b"HTTP/1.1 200 OK" if address == "chatty" else b""), daemon=True
            ).start()
            address = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        refused = scan_on(address, tmp_path)
    assert (2, "", 1) == (refused.returncode, refused.stdout, len(refused.stderr.splitlines()))
    assert f"no Dask scheduler answers at {address}" in refused.stderr


def answer(listening: socket.socket, said: bytes) -> None:
    """Take connections and keep them."""
    kept = []
    with suppress(OSError):
        while True:
            kept.append(listening.accept()[0])
            kept[-1].sendall(said)


def scan_on(address: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A scan in a process of its own, which waits for a second."""
    code = (
        "import sys; from ckpt_doctor.cli import cluster, main; cluster.TIMEOUT = cluster.GRACE = 1.0; "
        f"sys.exit(main.main(['scan', '--dask', {address!r}, {str(folder)!r}]))"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=30)


@pytest.mark.long
def test_nothing_of_dask_s_own_is_printed(cluster: Any) -> None:
    logger = pytest.importorskip("distributed").client.logger
    with module.executor_at(cluster.scheduler_address):
        assert not logger.isEnabledFor(logging.CRITICAL)


def test_an_empty_address_is_named_in_a_line(run: Run, tmp_path: Path) -> None:
    refused = run("scan", "--dask", "", tmp_path)
    assert (2, 1) == (refused.exit_code, len(refused.output.splitlines()))
    assert "is a variable of the script not set?" in refused.output


@pytest.mark.long
def test_workers_of_another_version_are_named(
    cluster: Any, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "__version__", "99.1")
    refused = run("scan", "--dask", cluster.scheduler_address, tmp_path)
    assert 2 == refused.exit_code
    assert "has ckpt-doctor 0." in refused.output
    assert "install 99.1 there" in refused.output


def shown(report: str) -> str:
    """A report in JSON without how long it took."""
    return report.rpartition('"seconds"')[0]


def has_begun(dask_scheduler: Any) -> bool:
    """Whether any worker has finished something."""
    return any(worker.nbytes for worker in dask_scheduler.workers.values())


@pytest.mark.long
def test_a_worker_that_is_killed_in_the_middle_changes_nothing(cluster: Any, run: Run, tmp_path: Path) -> None:
    from distributed import Client

    first = loop_run(tmp_path / "run", 10)
    for number in range(150):
        shutil.copytree(first, tmp_path / f"run_{number}")
    expected = run("scan", "--format", "json", "--jobs", "1", tmp_path)
    command = [sys.executable, "-m", "ckpt_doctor", "scan", "--format", "json", "--dask", cluster.scheduler_address]
    process = subprocess.Popen(
        [*command, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO
    )
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        while process.poll() is None and not client.run_on_scheduler(has_begun):
            time.sleep(0.02)
    assert process.poll() is None, "it is in the middle"
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
    printed, notes = process.communicate(timeout=300)
    assert (expected.exit_code, "") == (process.returncode, notes)
    assert shown(expected.stdout) == shown(printed)


def deadly(here: int, _finding: Finding, path: Path) -> bool:
    """Kills the process that judges one of the runs, unless it is this one."""
    if os.getpid() != here and path.parent.name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return False


@pytest.mark.long
def test_a_run_that_kills_every_worker_is_a_finding_on_that_run(cluster: Any, tmp_path: Path) -> None:
    for name in ("a", "deadly", "z"):
        loop_run(tmp_path / name, 2)
    with module.executor_at(cluster.scheduler_address) as executor:
        report = scan(tmp_path, executor=executor, silenced=partial(deadly, os.getpid()))
    found = {run.run.path.name: {f.code for file in run.files for f in file.findings} for run in report.runs}
    assert {"F106"} == found.pop("deadly")
    assert {"a", "z"} == found.keys()
    assert not any("F106" in codes for codes in found.values())


@pytest.mark.long
def test_a_scheduler_that_goes_ends_the_scan_in_a_sentence() -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as started:
        address = started.scheduler_address
        with pytest.raises(UsageError, match="has gone"), module.executor_at(address) as executor:
            future = executor.submit(time.sleep, 30)
            started.close()
            future.result()
