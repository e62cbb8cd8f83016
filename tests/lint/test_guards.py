"""Under which circumstances code runs: a flag, a setting or a question decides, a lock is held, a loop goes round."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ckpt_doctor.lint.guards import comes_first, innermost_loop, is_guarded, is_locked, is_option, loop_of, words
from ckpt_doctor.lint.module import Site
from ckpt_doctor.lint.program import Program
from tests.lint.sources import program_of


def act(program: Program) -> Site:
    """The call of `act()`."""
    return Site(*next(call for call in program.calls if ast.unparse(call.node) == "act()"))


@pytest.mark.parametrize("name", ["deleteCheckpoints", "delete_checkpoints", "DELETE_CHECKPOINTS"])
def test_an_identifier_has_words(name: str) -> None:
    assert {"delete", "checkpoints"} == words(name)


def test_a_setting_is_an_attribute_of_what_holds_settings() -> None:
    assert all(map(is_option, ["args.epochs", "self.cfg.path", "opt.train.config.x"]))
    assert not any(map(is_option, ["epochs", "self.epochs", "args"]))


CHOSEN = {
    "a flag": "if args.clean:\n    act()",
    "a question": "if input('sure?') == 'y':\n    act()",
    "no flag": "if not args.keep:\n    act()",
    "dead code": "if False:\n    act()",
    "a flag that ends the function before": "def f():\n    if not args.clean:\n        return\n    act()\nf()",
    "in all calls": "def f():\n    act()\nif args.clean:\n    f()",
    "in an expression": "act() if args.clean else None",
}
NOT_CHOSEN = {
    "nothing": "act()",
    "that it is there": "if os.path.exists('x'):\n    act()",
    "the main process": "if rank == 0:\n    act()",
    "the other branch is dead": "if True:\n    act()",
    "in some calls only": "def f():\n    act()\nif args.clean:\n    f()\nf()",
    "a flag behind it": "act()\nif args.clean:\n    pass",
}


@pytest.mark.parametrize("text", CHOSEN.values(), ids=CHOSEN)
def test_someone_decides(tmp_path: Path, text: str) -> None:
    program = program_of(tmp_path, f"import os\n{text}\n")
    assert is_guarded(program, act(program))


@pytest.mark.parametrize("text", NOT_CHOSEN.values(), ids=NOT_CHOSEN)
def test_nobody_decides(tmp_path: Path, text: str) -> None:
    program = program_of(tmp_path, f"import os\n{text}\n")
    assert not is_guarded(program, act(program))


@pytest.mark.parametrize(
    ("text", "locked"),
    [
        ("with FileLock('x'):\n    act()", True),
        ("lock.acquire()\nact()", True),
        ("def f():\n    act()\nwith lock:\n    f()", True),
        ("def f():\n    act()\nwith lock:\n    f()\nf()", False),
        ("act()\nlock.acquire()", False),
        ("with open('x') as f:\n    act()", False),
    ],
)
def test_a_lock_is_held(tmp_path: Path, text: str, locked: bool) -> None:
    """Here, or by every caller."""
    program = program_of(tmp_path, f"{text}\n")
    assert locked == is_locked(program, act(program))


@pytest.mark.parametrize(
    ("text", "own", "around"),
    [
        ("for i in a:\n    act()", "for i in a", "for i in a"),
        ("for i in a:\n    while b:\n        act()", "while b", "while b"),
        ("def f():\n    act()\nfor i in a:\n    f()", None, "for i in a"),
        ("for i in a:\n    pass\nact()", None, None),
        ("def f():\n    f()\n    act()\nf()", None, None),
    ],
)
def test_the_loop_that_a_call_runs_in(tmp_path: Path, text: str, own: str | None, around: str | None) -> None:
    program = program_of(tmp_path, f"{text}\n")
    site = act(program)
    inner, outer = innermost_loop(*site), loop_of(program, site)
    assert own == (inner and ast.unparse(inner).partition(":")[0])
    assert around == (outer and ast.unparse(outer.node).partition(":")[0])


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("act()\nother()", True),
        ("other()\nact()", False),
        ("if a:\n    act()\nother()", True),
        ("if a:\n    act()\nelse:\n    other()", False),
    ],
)
def test_which_of_two_comes_first(tmp_path: Path, text: str, first: bool) -> None:
    """In a block that has both; of two branches neither does."""
    program = program_of(tmp_path, f"{text}\n")
    one = act(program)
    other = next(call.node for call in program.calls if ast.unparse(call.node) == "other()")
    assert first == comes_first(one.module, one.node, other)
