"""A run of ten checkpoints in which much is wrong takes a screen, answer and summary with it."""

from __future__ import annotations

from ckpt_doctor import scan
from ckpt_doctor.reports.table import SCREEN
from tests.advice.drive import Call
from tests.reports.many_findings import written


def test_much_that_is_wrong_takes_a_screen(tmp_path, call: Call) -> None:
    folder = written(tmp_path)
    found = scan([folder])
    rules = {finding.code for file in found.files for finding in file.findings if finding.severity != "info"}
    assert len(rules) > 7, "there is much to say"
    short, whole = call("scan", folder).stdout, call("scan", folder, "-v").stdout
    assert len(short.splitlines()) <= SCREEN < len(whole.splitlines())
    assert all(code in short for code in rules)
    assert all(file.checkpoint.path.parent.name in whole for file in found.files)
