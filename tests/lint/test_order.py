"""Calls of one kind in a loop: whether they are there, and whether all of them come before something else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ckpt_doctor.lint.guards import innermost_loop
from ckpt_doctor.lint.order import Calls, leading_to
from tests.lint.sources import program_of


@pytest.mark.parametrize(
    ("body", "before"),
    [
        ("step()\n    save()", True),
        ("save()\n    step()", False),
        ("if a:\n        step()\n    save()", True),
        ("if a:\n        save()\n    step()", False),
        ("step()\n    save()\n    step()", None),
        ("if a:\n        step()\n    else:\n        save()", None),
        ("save()", None),
    ],
)
def test_what_comes_before_a_save(tmp_path: Path, body: str, before: bool | None) -> None:
    """Unknown where steps come on both sides, or on neither."""
    program = program_of(tmp_path, f"for i in r:\n    {body}\n")
    named = {name: [c for c in program.calls if ast.unparse(c.node) == f"{name}()"] for name in ("step", "save")}
    (save,) = named["save"]
    loop = innermost_loop(save.module, save.node)
    assert loop is not None
    calls = Calls(call.node for call in named["step"])
    assert before == calls.come_before(save.module, loop, save.node)
    assert bool(named["step"]) == calls.stand_in(save.module, loop)


def test_calls_that_lead_to_one_stand_for_it(tmp_path: Path) -> None:
    """`train_epoch()` is where its steps are, through any number of functions; a circle ends."""
    text = "def inner():\n    inner()\n    step()\ndef epoch():\n    inner()\n"
    text += "for i in r:\n    epoch()\nfor i in s:\n    other()\n"
    program = program_of(tmp_path, text)
    calls = leading_to(program, [call for call in program.calls if ast.unparse(call.node) == "step()"])
    loops = [node for _, node in program.nodes if isinstance(node, ast.For)]
    assert {"r": True, "s": False} == {ast.unparse(loop.iter): calls.stand_in(program.main, loop) for loop in loops}
