"""Anything that lies in a folder of scripts: read, or said in one sentence why not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor.errors import UsageError
from ckpt_doctor.lint import lint, starts
from tests.lint.sources import DELETES, report_of

UNREADABLE = {
    "syntax error": (b"def train(:\n", "line 1 is not Python 3."),
    "Python 2": (b'print "checkpoints"\n', "line 1 is not Python 3."),
    "null bytes": (b"import torch\0\n", "null bytes"),
    "not UTF-8": (b"# caf\xe9\nimport torch\n", "not text in the encoding it declares"),
    "an encoding that does not exist": (b"# coding: klingon\nimport torch\n", "not text in the encoding it declares"),
    "nested too deeply": (b"x = " + b"(" * 5000 + b")" * 5000, "line 1 is not Python 3."),
    "a long chain of operators": (b"x = " + b"-" * 200_000 + b"1", "nested too deeply"),
    "enormous": (b"x = 1\n" * 200_000, "exceed the limit"),
}

READABLE = {
    "byte order mark": b"\xef\xbb\xbf" + DELETES.encode(),
    "Latin-1, declared": b"# coding: latin-1\n# caf\xe9\n" + DELETES.encode(),
    "Windows line ends": DELETES.replace("\n", "\r\n").encode(),
    "no newline at the end": DELETES.rstrip("\n").encode(),
    "Chinese comments": ("# 删除检查点\n" + DELETES).encode(),
    "thousands of functions": b"".join(b"def f%d(x): return x\n" % i for i in range(3000)) + DELETES.encode(),
    "a long sum": b"x = " + b" + ".join([b"1"] * 2000) + b"\n" + DELETES.encode(),
}


@pytest.mark.parametrize(("data", "reason"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_that_is_no_readable_python_gets_one_sentence(tmp_path: Path, data: bytes, reason: str) -> None:
    report = report_of(tmp_path / "a.py", data)
    assert report.findings == ()
    assert len(report.not_checked) == 1
    assert reason in report.not_checked[0].why + report.not_checked[0].what
    assert "\n" not in report.not_checked[0].what


@pytest.mark.parametrize("data", READABLE.values(), ids=READABLE.keys())
def test_a_file_that_python_would_run_is_read(tmp_path: Path, data: bytes) -> None:
    report = report_of(tmp_path / "a.py", data)
    assert ["X901"] == [f.finding.code for f in report.findings]
    line = data.decode("latin-1").replace("\r\n", "\n").split("\n").index('shutil.rmtree("./checkpoints")') + 1
    assert line == report.findings[0].line
    assert 'shutil.rmtree("./checkpoints")' == report.findings[0].excerpt


@settings(max_examples=60)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass"))))
def test_no_bytes_make_it_fail(tmp_path: Path, data: bytes) -> None:
    report = report_of(tmp_path / "a.py", data)
    assert len(report.not_checked) <= 1
    assert not report.findings


def cut(text: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(text.split("\n")), max_size=40).map("\n".join)


@settings(max_examples=60)
@given(cut((Path(__file__).parent / "time_llm/complete/run_main.py").read_text()))
def test_no_shuffling_of_a_script_makes_it_fail(tmp_path: Path, text: str) -> None:
    report = report_of(tmp_path / "a.py", text.encode())
    assert all(1 <= f.line <= text.count("\n") + 1 for f in report.findings)
    facts = starts(tmp_path / "a.py")
    assert facts is None or facts.path == tmp_path / "a.py"


def notebook(*cells: str, language: str = "python") -> bytes:
    """A notebook of code cells, after a markdown cell."""
    document = {
        "cells": [
            {"cell_type": "markdown", "source": ["# Training\n", "rm -rf checkpoints"]},
            *({"cell_type": "code", "source": c.splitlines(keepends=True), "outputs": []} for c in cells),
        ],
        "metadata": {"kernelspec": {"language": language}},
        "nbformat": 4,
    }
    return json.dumps(document).encode()


def test_a_notebook_is_read_cell_by_cell(tmp_path: Path) -> None:
    cells = ["%matplotlib inline\nimport shutil", "path = './checkpoints'", "x = 1\nshutil.rmtree(path)"]
    report = report_of(tmp_path / "a.ipynb", notebook(*cells))
    (finding,) = report.findings
    assert (4, 2) == (finding.cell, finding.line)
    assert finding.finding.where.endswith("a.ipynb:cell 4:2")


def test_a_notebooks_shell_commands_are_read(tmp_path: Path) -> None:
    report = report_of(tmp_path / "a.ipynb", notebook("!ls\n!rm -rf ./checkpoints"))
    assert [("X901", 2, 2)] == [(f.finding.code, f.cell, f.line) for f in report.findings]


def test_a_cell_in_another_language_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    report = report_of(tmp_path / "a.ipynb", notebook("%%html\n<b>", "this is = not python", DELETES))
    assert [4] == [f.cell for f in report.findings]
    assert ["cell 2", "cell 3"] == [n.what.rsplit(":", 1)[-1] for n in report.not_checked]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "not a Jupyter notebook"),
        (b"[1, 2]", "not a Jupyter notebook"),
        (b'{"cells": [7]}', "not a Jupyter notebook"),
        (b"[" * 100_000, "not a Jupyter notebook"),
        (notebook("x <- 1", language="R"), "R, not Python"),
    ],
)
def test_what_is_no_python_notebook_gets_one_sentence(tmp_path: Path, data: bytes, reason: str) -> None:
    (point,) = report_of(tmp_path / "a.ipynb", data).not_checked
    assert reason in point.what + point.why


def test_a_folder_is_read_whole_without_environments_and_hidden_folders(tmp_path: Path) -> None:
    for name in ("run.py", "exp/train.py", "venv/lib/x.py", ".git/hooks/x.py", "py/pyvenv.cfg", "py/x.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(DELETES)
    assert ["run.py", "train.py"] == sorted(r.path.name for r in lint([tmp_path]))


def test_a_path_that_does_not_exist_is_an_error_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nope"):
        lint([tmp_path / "nope"])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    (report,) = lint([tmp_path / "a.py"])
    assert "not a regular file" in report.not_checked[0].why
