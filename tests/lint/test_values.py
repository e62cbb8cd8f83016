"""What a path expression says, however it is put together; what only a run fills in is a hole."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ckpt_doctor.lint.values import items, readings
from tests.lint.sources import program_of


def said(folder: Path, text: str) -> list[str]:
    """The values that the argument of `use(...)` may have."""
    program = program_of(folder, f"import os, sys, glob, tempfile\nfrom pathlib import Path\n{text}\n")
    call = next(call for call in program.calls if ast.unparse(call.node.func) == "use")
    return sorted(map(str, readings(program, call.module, call.node.args[0])))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("use('out/a.pt')", ["out/a.pt"]),
        ("use('out/' + 'a.pt')", ["out/a.pt"]),
        ("use(f'out/{epoch}.pt')", ["out/{epoch}.pt"]),
        ("use('%s/a.pt' % d)", ["{d}/a.pt"]),
        ("use('out/{}.pt'.format(step))", ["out/{step}.pt"]),
        ("use(os.path.join('out', name, 'a.pt'))", ["out/{name}/a.pt"]),
        ("use(Path('out') / 'run' / 'a.pt')", ["out/run/a.pt"]),
        ("use(str(Path('out').resolve()))", ["out"]),
        ("d = 'out'\nuse(d + '/a.pt')", ["out/a.pt"]),
        ("use('a' if x else 'b')", ["a", "b"]),
        ("d = 'a'\nif x:\n    d = 'b'\nuse(d)", ["a", "b"]),
        ("def f(d):\n    use(d)\nf('a')\nf('b')", ["a", "b"]),
        ("def f():\n    return 'out'\nuse(f())", ["out"]),
        ("use(os.path.dirname('out/a.pt'))", ["out"]),
        ("use(unknown())", ["{...}"]),
        ("x = x\nuse(x)", ["{x}"]),
    ],
)
def test_the_values_of_an_expression(tmp_path: Path, text: str, values: list[str]) -> None:
    assert values == said(tmp_path, text)


def test_a_setting_is_a_hole_with_its_default(tmp_path: Path) -> None:
    text = "p.add_argument('--out', default='checkpoints')\nuse(args.out)\n"
    program = program_of(tmp_path, text)
    call = next(call for call in program.calls if ast.unparse(call.node.func) == "use")
    (hole,) = readings(program, call.module, call.node.args[0])[0].holes
    assert ("args.out", "checkpoints") == (hole.name, hole.default)


def test_the_ways_to_combine_values_are_bounded(tmp_path: Path) -> None:
    """Six choices of two have 64 combinations, and a chain of doubled names a million."""
    choices = " + ".join(f"('a{i}' if x{i} else 'b{i}')" for i in range(6))
    assert 1 <= len(said(tmp_path, f"use({choices})")) <= 8
    doubled = "x0 = 'a' if c else 'b'\n" + "".join(f"x{i + 1} = x{i} + x{i}\n" for i in range(20))
    assert 1 <= len(said(tmp_path, f"{doubled}use(x20)")) <= 8


@pytest.mark.parametrize(
    ("text", "folders", "strings", "limited"),
    [
        ("os.listdir('out')", ["out"], set(), False),
        ("sorted(glob.glob('out/step_*'))[:-3]", ["out/step_*"], {"out/step_*"}, True),
        ("Path('out').glob('*.pt')", ["out"], {"*.pt"}, False),
        ("[f for f in os.listdir('out') if f.startswith('step')]", ["out"], {"step"}, False),
        ("unknown()", [], set(), False),
    ],
)
def test_what_a_loop_goes_over(tmp_path: Path, text: str, folders: list[str], strings: set[str], limited: bool) -> None:
    """The folders it lists, the texts that select their files, and whether it takes some only."""
    program = program_of(tmp_path, f"import os, glob\nfrom pathlib import Path\nuse({text})\n")
    call = next(call for call in program.calls if ast.unparse(call.node.func) == "use")
    known = items(program, call.module, call.node.args[0])
    assert (folders, limited) == ([str(folder) for folder in known.folders], known.limited)
    assert strings <= known.strings
