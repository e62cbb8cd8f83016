"""docs/colab.ipynb: its cells run from top to bottom on a run that died, and end with how to resume."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_doctor import scan, undo

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "colab.ipynb"
SAMPLES = ROOT / "fixtures" / "sample-runs"
ON_DRIVE = "/content/drive/MyDrive/checkpoints"
KERNEL = """
import ast, sys, types

def display(value):
    print(value._repr_html_())

shown = types.ModuleType("IPython.display")
shown.display = display
sys.modules |= {"IPython": types.ModuleType("IPython"), "IPython.display": shown}
names = {}
for number, cell in enumerate(sys.stdin.read().split("\\0")):
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, f"cell {number}", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
        if value is not None:
            display(value)
"""
"""What a notebook does with code cells, the HTML of what a cell ends with printed."""


def cells(kind: str) -> list[str]:
    """The sources of the notebook's cells of a kind."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def executed(folder: Path) -> str:
    """What the notebook shows of the checkpoints in a folder."""
    sources = [source.replace(ON_DRIVE, str(folder)) for source in cells("code")]
    done = subprocess.run(
        [sys.executable, "-c", KERNEL],
        input="\0".join(sources),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def died(tmp_path: Path) -> Path:
    """The checkpoints of a run that was killed, with its log beside them."""
    shutil.copytree(SAMPLES / "first-patch-type1", tmp_path / "drive")
    return tmp_path / "drive" / "checkpoints"


def test_the_cells_scan_repair_and_tell_how_to_resume(died: Path) -> None:
    before = {file.checkpoint.path: file.checkpoint.path.read_bytes() for file in scan(died).files}
    shown = executed(died)
    newest = next(died.glob("*/checkpoint_step_140"))
    last = shown.splitlines()[-1]
    assert last.startswith(f"resume from {newest}")
    assert " with --learning_rate 0.00039" in last
    places = [shown.index(words) for words in ("resume from", "3 planned", "3 migrated", "The trainer")]
    assert places == sorted(places)
    assert "<svg" in shown
    assert {"E601", "R504"}.isdisjoint(finding.code for finding in scan(died).findings)
    undo(died)
    assert before == {path: path.read_bytes() for path in before}


def test_where_nothing_is_safe_the_notebook_says_so(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "damaged", tmp_path / "drive")
    folder = tmp_path / "drive" / "checkpoints"
    assert f"nothing in {next(folder.iterdir())} is safe to resume from" in executed(folder)


def test_the_notebook_is_committed_without_outputs_and_in_the_form_of_jupyter() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["language"]) == (4, "python")
    for cell in notebook["cells"]:
        assert {"cell_type", "metadata", "source"} <= cell.keys()
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_drive_is_mounted_only_where_there_is_one() -> None:
    [mounting] = [source for source in cells("code") if "drive.mount" in source]
    assert mounting.startswith('if "google.colab" in sys.modules:')
