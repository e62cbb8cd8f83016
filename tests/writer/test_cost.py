"""The disk space that a write will take is told before anything is written."""

import os

import pytest

from ckpt_doctor import writer
from tests.writer.sample_files import RECORD, accept, edited, make


@pytest.mark.parametrize("mode", ["replace", "in-place", "output"])
def test_the_cost_told_beforehand_is_not_exceeded(container, mode, tmp_path):
    """Neither by the extra bytes kept afterwards, and it is close: within the allowance for the record."""
    path = make(tmp_path / "run" / "checkpoint" if (tmp_path / "run").mkdir() is None else tmp_path, container)
    checkpoint, program = edited(path, container)
    told = writer.cost(checkpoint, len(program), mode, tmp_path / "out")
    receipt = writer.write(checkpoint, program, RECORD, mode=mode, output=tmp_path / "out", verify=accept)
    assert receipt.disk_cost <= told.after <= told.during
    assert told.after - receipt.disk_cost < 70_000
    assert told.free == pytest.approx(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.1)
