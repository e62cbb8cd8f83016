"""The files of a repository: found by the names under which they import each other, and followed within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_doctor.lint import library
from tests.lint.sources import found, report_of


def test_modules_that_import_each_other_and_names_that_are_defined_by_themselves_end(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("from a import *\nfrom a import clean as clean\npath = path\n")
    text = "import shutil\nfrom b import *\nfrom b import clean\nroot = root + root\nclean(root)\nclean = clean\n"
    text += "def f(p): f(p)\ndef g(p): shutil.rmtree(g(p))\nf(f)\ng(g(root))\nclass A(A): pass\nA().x()\n"
    report = report_of(tmp_path / "a.py", text.encode())
    assert report.path == tmp_path / "a.py"


def test_a_large_repository_is_followed_in_part_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_FOLLOWED_TEXT", 1000)
    (tmp_path / "near.py").write_text("import shutil\ndef clean(path): shutil.rmtree(path)\n")
    (tmp_path / "big.py").write_text("def f(x): return x\n" * 100)
    (tmp_path / "far.py").write_text("import shutil\ndef wipe(path): shutil.rmtree(path)\n")
    text = "from near import clean\nfrom big import f\nclean('checkpoints')\nf(1)\nfrom far import wipe\nf(wipe)\n"
    report = report_of(tmp_path / "run.py", text.encode())
    assert ["run.py:3 X901"] == found(report.findings)
    assert ["the repository is large"] == [point.why for point in report.not_checked]
