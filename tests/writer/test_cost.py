"""The disk space that a write will take is told before anything is written."""

import os

import pytest

from ckpt_doctor import writer
from tests.writer.sample_files import RECORD, accept, edited, make


def taken(folder):
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("mode", ["replace", "in-place", "output"])
def test_the_cost_told_beforehand_is_not_exceeded(container, mode, tmp_path):
    """Neither by the extra bytes kept afterwards, and it is close: within the allowance for the record."""
    path = make(tmp_path / "run" / "checkpoint" if (tmp_path / "run").mkdir() is None else tmp_path, container)
    checkpoint, program = edited(path, container)
    told = writer.cost(checkpoint, len(program), mode, tmp_path / "out")
    before = taken(tmp_path)
    writer.write(checkpoint, program, RECORD, mode=mode, output=tmp_path / "out", verify=accept)
    cost = taken(tmp_path) - before
    assert cost <= told.after <= told.during
    assert told.after - cost < 70_000
    assert told.free == pytest.approx(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.1)
