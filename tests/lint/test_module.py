"""A parsed file: what its names stand for, which values may reach a place, and what encloses it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ckpt_doctor.lint.module import Definition, External, Module, method
from tests.lint.sources import program_of


def module_of(folder: Path, text: str) -> Module:
    return program_of(folder, text).main


def read(module: Module, name: str) -> ast.Name:
    """The last place that reads a name."""
    uses = [n for n in module.nodes(module.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    return max((use for use in uses if use.id == name), key=lambda use: (use.lineno, use.col_offset))


@pytest.mark.parametrize(
    ("imports", "used", "name"),
    [
        ("import shutil", "shutil.rmtree", "shutil.rmtree"),
        ("import os.path as osp", "osp.join", "os.path.join"),
        ("from shutil import rmtree as rm", "rm", "shutil.rmtree"),
        ("import torch\nsave = torch.save", "save", "torch.save"),
        ("", "print", "print"),
    ],
)
def test_aliases_stand_for_what_they_name(tmp_path: Path, imports: str, used: str, name: str) -> None:
    module = module_of(tmp_path, f"{imports}\n{used}(1)\n")
    (call,) = [call for call in module.calls(module.tree) if ast.unparse(call.func) == used]
    symbol = module.resolve(call.func)
    assert isinstance(symbol, External) and name == symbol.name


def test_a_name_of_another_file_is_its_definition_there(tmp_path: Path) -> None:
    """Also through `import *` and a package that imports it in turn."""
    text = "from tools import *\nimport pkg\nclean(pkg.deep(1))\n### tools.py\ndef clean(x): pass\n"
    text += "### pkg/__init__.py\nfrom .inner import deep\n### pkg/inner.py\ndef deep(x): pass\n"
    module = module_of(tmp_path, text)
    found = [module.resolve(call.func) for call in module.calls(module.tree)]
    assert all(isinstance(symbol, Definition) for symbol in found)
    assert {"tools.py clean", "inner.py deep"} == {f"{d.module.path.name} {d.node.name}" for d in found}  # type: ignore


def test_names_in_a_circle_stand_for_nothing(tmp_path: Path) -> None:
    module = module_of(tmp_path, "a = b\nb = a\na()\n")
    (call,) = module.calls(module.tree)
    assert module.resolve(call.func) is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("x = 1\nx = 2\nuse(x)", ["2"]),
        ("x = 1\nif c:\n    x = 2\nuse(x)", ["1", "2"]),
        ("use(x)\nx = 1", ["1"]),
        ("x = 1\ndef f():\n    use(x)\nx = 2", ["1", "2"]),
        ("x = 1\ndef f(x=3):\n    use(x)", ["3"]),
        ("x = 1\nclass C:\n    x = 2\n    def f(self):\n        use(x)", ["1"]),
        ("x = 0\nfor x in range(3):\n    use(x)", ["range(3)"]),
    ],
)
def test_the_values_that_can_reach_a_place(tmp_path: Path, text: str, values: list[str]) -> None:
    """Of the nearest scope that binds the name; a later one counts where none came before, or in a function."""
    module = module_of(tmp_path, text)
    found = module.lookup("x", read(module, "x"))
    assert values == sorted(ast.unparse(binding.value) for binding in found if binding.value)


def test_a_method_is_the_classs_own_or_inherited(tmp_path: Path) -> None:
    text = "from base import B\nclass C(B):\n    def own(self): pass\nclass D(D): pass\n### base.py\n"
    module = module_of(tmp_path, text + "class B:\n    def own(self): pass\n    def other(self): pass\n")
    inherits, circle = (Definition(module, node) for node in module.classes(module.tree))
    found = {name: method(inherits, name) for name in ("own", "other", "none")}
    assert {"own": "run.py", "other": "base.py"} == {k: d.module.path.name for k, d in found.items() if d}
    assert method(circle, "own") is None
