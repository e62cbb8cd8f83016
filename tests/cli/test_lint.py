"""`ckpt-doctor lint` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ckpt_doctor.cli.main import app

DELETES = 'import shutil\nshutil.rmtree("./checkpoints")\n'
PRUNES = 'import glob, shutil\nfor f in glob.glob("checkpoint_step_*")[3:]:\n    shutil.rmtree(f)\n'
WEIGHTS = 'import torch\nfor epoch in range(9):\n    torch.save(model.state_dict(), "checkpoint")\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["lint", *arguments])


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (DELETES, [], 1),
        (DELETES, ["--fail-on", "error"], 1),
        (DELETES, ["--fail-on", "never"], 0),
        (PRUNES, [], 1),
        (PRUNES, ["--fail-on", "error"], 0),
        (WEIGHTS, [], 0),
        ("import torch\n", [], 0),
        ("", [], 0),
        (DELETES + PRUNES, ["--select", "X902", "--fail-on", "error"], 0),
        (DELETES + PRUNES, ["--ignore", "X901,unlocked-prune"], 0),
        (DELETES + PRUNES, ["--select", "X"], 1),
    ],
)
def test_the_exit_code_says_whether_something_is_as_bad_as_was_asked_for(
    text: str, options: list[str], code: int
) -> None:
    Path("run.py").write_text(text)
    assert code == run("run.py", *options).exit_code


def test_a_file_that_is_no_python_is_said_to_be_unchecked_and_the_others_are_linted() -> None:
    Path("old.py").write_text("print 'checkpoints'\n")
    Path("run.py").write_text(DELETES)
    result = run("old.py", "run.py")
    assert 1 == result.exit_code
    printed = " ".join(result.stdout.split())
    assert "old.py was not linted: line 1 is not Python 3" in printed
    assert "X901" in printed
    assert "2 scripts: 1 error, 0 warnings." in printed


def test_json_places_findings_and_names_what_was_not_read() -> None:
    Path("run.py").write_text(PRUNES)
    Path("old.py").write_text("print 'checkpoints'\n")
    document = json.loads(run(".", "--format", "json").stdout)
    (finding,) = document["findings"]
    assert ("X902", "run.py", 3, "shutil.rmtree(f)") == tuple(
        finding[key] for key in ("code", "path", "line", "code_line")
    )
    assert ["old.py"] == [point["what"] for point in document["not_checked"]]


def test_sarif_and_annotations_point_at_the_line() -> None:
    Path("run.py").write_text(PRUNES)
    (result,) = json.loads(run("run.py", "--format", "sarif").stdout)["runs"][0]["results"]
    assert 3 == result["locations"][0]["physicalLocation"]["region"]["startLine"]
    assert "file=run.py,line=3" in run("run.py", "--format", "github").stdout


def test_a_silenced_line_counts_for_no_format() -> None:
    Path("run.py").write_text(DELETES.replace('")\n', '")  # ckpt-doctor: ignore[X901]\n'))
    assert 0 == run("run.py").exit_code
    assert [] == json.loads(run("run.py", "--format", "json").stdout)["findings"]
    assert "X901" not in run("run.py", "--format", "github").stdout


def test_help_tells_how_a_line_is_silenced() -> None:
    assert "# ckpt-doctor: ignore[X901]" in run("--help").stdout


def test_a_hostile_script_does_not_reach_the_terminal() -> None:
    Path("run.py").write_text('import shutil\nshutil.rmtree("./checkpoints/\x1b]0;owned\x07\x1b[2J")\n')
    printed = run("run.py").stdout
    assert "X901" in printed
    assert "\x1b" not in printed
    assert "\x07" not in printed
