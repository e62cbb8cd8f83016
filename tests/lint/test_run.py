"""Linting reads scripts and runs nothing; each defect is reported once, where it lies, unless a comment accepts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_doctor.lint import lint
from tests.lint.sources import DELETES, found, report_of


def test_nothing_of_a_script_runs(tmp_path: Path) -> None:
    text = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nimport helper\n" + DELETES
    (tmp_path / "helper.py").write_text(text)
    report_of(tmp_path / "a.py", text.encode())
    assert not (tmp_path / "ran").exists()


IGNORED = {
    "on its line": 'shutil.rmtree("checkpoints")  # ckpt-doctor: ignore[X901]\n',
    "by its name": 'shutil.rmtree("checkpoints")  # ckpt-doctor: ignore[deletes-checkpoints]\n',
    "with others": 'shutil.rmtree("checkpoints")  # ckpt-doctor: ignore[X902, X901]\n',
    "whatever it is": 'shutil.rmtree("checkpoints")  # ckpt-doctor: ignore\n',
    "above": '# ckpt-doctor: ignore[X901]\nshutil.rmtree("checkpoints")\n',
    "within": 'shutil.rmtree(\n    "checkpoints",  # ckpt-doctor: ignore[X901]\n)\n',
}


@pytest.mark.parametrize("line", IGNORED.values(), ids=IGNORED.keys())
def test_a_comment_silences_a_finding(tmp_path: Path, line: str) -> None:
    report = report_of(tmp_path / "a.py", b"import shutil\n" + line.encode())
    spoken = report_of(tmp_path / "b.py", b"import shutil\n" + line.replace("ckpt-doctor:", "").encode())
    assert ([], ["X901"]) == ([*report.findings], [f.finding.code for f in spoken.findings])


@pytest.mark.parametrize(
    "line",
    [
        'shutil.rmtree("checkpoints")  # ckpt-doctor: ignore[X902]\n',
        'shutil.rmtree("checkpoints")\n# ckpt-doctor: ignore[X901]\n',
        'x = 1  # ckpt-doctor: ignore[X901]\nshutil.rmtree("checkpoints")\n',
        'note = "# ckpt-doctor: ignore[X901]"; shutil.rmtree("checkpoints")\n',
    ],
    ids=["another code", "below", "at the end of the line above", "in a string"],
)
def test_a_comment_that_means_something_else_silences_nothing(tmp_path: Path, line: str) -> None:
    report = report_of(tmp_path / "a.py", b"import shutil\n" + line.encode())
    assert ["X901"] == [f.finding.code for f in report.findings]


def test_a_defect_in_a_helper_is_reported_once_however_many_scripts_use_it(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(DELETES.replace("shutil.rmtree", "def f():\n    shutil.rmtree"))
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("from tools import f\nf()\n")
    assert ["tools.py:3 X901"] == [
        line for r in lint([tmp_path / "a.py", tmp_path / "b.py"]) for line in found(r.findings)
    ]
