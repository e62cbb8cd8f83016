"""Something else than a file where the Trainer has one: a link that leads nowhere, a folder, a pipe, a socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpt_doctor import migrate
from ckpt_doctor.audit import check
from tests.trainers.hf_trainer.runs import Writer


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))  # its address has room for a hundred characters


ODD: dict[str, Callable[[Path], object]] = {
    "link": lambda path: path.symlink_to("/nowhere/at/all"),
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "socket": socket_at,
}


@pytest.fixture(params=ODD)
def put(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts it in the place of a file of the run's last checkpoint, and returns that one."""
    folder = Writer(tmp_path / "out").write(10, 20) / "checkpoint-20"
    monkeypatch.chdir(folder)

    def replaced(name: str) -> Path:
        (folder / name).unlink()
        ODD[request.param](folder / name)
        return folder

    return replaced


@pytest.mark.parametrize("name", ["training_args.bin", "rng_state.pth"])
def test_what_no_resume_needs_is_a_note(put: Callable[[str], Path], name: str) -> None:
    """`training_args.bin` is written and not read; without `rng_state.pth` the Trainer goes on."""
    file = check(put(name)).files[0]
    [odd] = [finding for finding in file.findings if finding.code == "F114"]
    assert ("info", name) == (odd.severity, odd.where)
    assert "no resume needs it" in odd.message
    assert ("ok", False) == (file.verdict, file.resume == "impossible")


@pytest.mark.parametrize("name", ["scheduler.pt", "optimizer.pt", "trainer_state.json"])
def test_what_a_resume_reads_is_an_error_and_no_cure_is_promised(put: Callable[[str], Path], name: str) -> None:
    """Nothing is written over what lies there."""
    folder = put(name)
    file = check(folder).files[0]
    assert "error" in {finding.severity for finding in file.findings if finding.where == name}
    assert "broken" == file.verdict
    [done] = migrate([folder])
    assert ("refused", ()) == (done.status, done.edits)
