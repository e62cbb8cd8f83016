"""What runs when a script is started: its own code, and what it uses of other files of its repository."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ckpt_doctor.lint import program as module_under_test
from ckpt_doctor.lint.module import Call
from ckpt_doctor.lint.program import Program, argument, remembered
from tests.lint.sources import program_of


def call_of(program: Program, text: str) -> Call:
    """The first call that is written so."""
    return next(call for call in program.calls if ast.unparse(call.node).startswith(text))


def target_of(folder: Path, text: str, called: str) -> str | None:
    """`file.py:name` of the function that a call runs."""
    program = program_of(folder, text)
    target = program.target(call_of(program, called))
    return target and f"{target.module.path.name}:{target.function.name}"


def test_only_what_is_used_of_other_files_runs(tmp_path: Path) -> None:
    text = "from tools import used\nused()\n### tools.py\n"
    text += "def used(): helper()\ndef helper(): reach()\ndef unused(): hide()\n"
    program = program_of(tmp_path, text)
    assert {"used", "helper", "reach"} == {program.name_of(call).rsplit(".", 1)[-1] for call in program.calls}
    assert ["run.py", "tools.py"] == [module.path.name for module in program.modules]


@pytest.mark.parametrize(
    ("text", "called", "target"),
    [
        ("def f(): pass\nf()", "f()", "run.py:f"),
        ("class C:\n    def __init__(self): pass\nC()", "C()", "run.py:__init__"),
        ("class C:\n    def go(self): pass\nc = C()\nc.go()", "c.go()", "run.py:go"),
        ("class C:\n    def __call__(self): pass\nc = C()\nc()", "c()", "run.py:__call__"),
        ("class C:\n    def go(self): self.on()\n    def on(self): pass\nC().go()", "self.on()", "run.py:on"),
        ("class Stopper:\n    def go(self): pass\ndef f(stopper): stopper.go()", "stopper.go()", "run.py:go"),
        ("from t import f\nf()\n### t.py\ndef f(): pass\n", "f()", "t.py:f"),
        ("import torch\ntorch.save(1, 2)", "torch.save", None),
        ("x.unknown()", "x.unknown()", None),
    ],
)
def test_the_function_that_a_call_runs(tmp_path: Path, text: str, called: str, target: str | None) -> None:
    assert target == target_of(tmp_path, text, called)


@pytest.mark.parametrize(
    ("call", "bound", "expected"),
    [
        ("f(1, 2)", False, "2"),
        ("f(1, b=3)", False, "3"),
        ("f(2)", True, "2"),
        ("f(1)", False, None),
        ("f(*more)", False, None),
        ("f(1, 2, *more)", False, "2"),
        ("f(**more)", False, None),
    ],
)
def test_the_expression_that_a_call_passes(call: str, bound: bool, expected: str | None) -> None:
    (function,) = ast.parse("def f(a, b, c=0): pass").body
    node = ast.parse(call, mode="eval").body
    assert isinstance(function, ast.FunctionDef) and isinstance(node, ast.Call)
    found = argument(node, function, "b", bound=bound)
    assert expected == (found and ast.unparse(found))


def test_callers_and_what_they_pass(tmp_path: Path) -> None:
    """A method's instance is not among its arguments; a default is not passed."""
    text = "class C:\n    def save(self, path='d'): pass\nc = C()\nc.save('a')\nc.save(path='b')\nc.save()\n"
    program = program_of(tmp_path, text)
    target = program.target(call_of(program, "c.save('a')"))
    assert target is not None and target.bound
    assert 3 == len(program.callers(target.function))
    assert ["'a'", "'b'"] == [ast.unparse(value) for _, value in program.arguments(target.function, "path")]


def test_what_a_function_leads_to_ends_in_a_circle(tmp_path: Path) -> None:
    program = program_of(tmp_path, "def f(): g()\ndef g():\n    f()\n    h()\nf()\n")
    (function,) = [n for _, n in program.nodes if isinstance(n, ast.FunctionDef) and n.name == "f"]
    assert ["f()", "g()", "h()"] == sorted(ast.unparse(c.node) for c in program.run_by(program.main, function))


def test_defaults_of_options_are_those_of_argparse_and_click(tmp_path: Path) -> None:
    text = (
        "p.add_argument('-r', '--resume-from', default='a')\np.add_argument('--n', dest='m', default=3)\n"
        "@click.option('--out-dir', default='b')\ndef main(out_dir): pass\np.add_argument('--none')\n"
    )
    found = program_of(tmp_path, text).option_defaults
    assert {"resume_from": "'a'", "m": "3", "out_dir": "'b'"} == {k: ast.unparse(v) for k, v in found.items()}


def test_a_large_repository_is_followed_so_far_and_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import t\nt.a(t.b(t.c(1)))\n### t.py\ndef a(x): pass\ndef b(x): pass\ndef c(x): pass\n"
    whole = program_of(tmp_path, text)
    assert 4 == len(whole.units) and not whole.is_cut_off
    monkeypatch.setattr(module_under_test, "_MAX_UNITS", 3)
    part = program_of(tmp_path, text)
    assert 3 == len(part.units) and part.is_cut_off


def test_an_answer_is_found_once_for_each_program(tmp_path: Path) -> None:
    asked: list[str] = []

    @remembered
    def count(program: Program, name: str) -> int:
        asked.append(name)
        return len(program.calls)

    program = program_of(tmp_path, "f()\n")
    assert [1, 1, 1] == [count(program, "a"), count(program, "a"), count(program, "b")]
    assert 2 == count(program_of(tmp_path, "f(g())\n"), "a")
    assert ["a", "b", "a"] == asked
