"""What a counter is counted from, through variables, calls and loops; what is not clear is unknown."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ckpt_doctor.lint.counting import Origin, origins
from tests.lint.sources import program_of


def counted(folder: Path, text: str) -> list[str]:
    """`label+1 epoch` and the like, for the argument of `use(...)`."""
    program = program_of(folder, f"import torch\n{text}\n")
    call = next(call for call in program.calls if ast.unparse(call.node.func) == "use")

    def shown(origin: Origin) -> str:
        return f"{origin.kind}{origin.offset:+d} {origin.key}".replace("+0", "").rstrip()

    return sorted(map(shown, origins(program, call.module, call.node.args[0])))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("use(3)", ["constant"]),
        ("use(-1)", ["constant"]),
        ("use(args.start)", ["constant"]),
        ("use(c['epoch'])", ["label epoch"]),
        ("use(c['epoch'] + 1)", ["label+1 epoch"]),
        ("use(1 + c['epoch'])", ["label+1 epoch"]),
        ("use(c['epoch'] - 1)", ["label-1 epoch"]),
        ("use(int(c['epoch']))", ["label epoch"]),
        ("start = c['epoch'] + 1\nuse(start)", ["label+1 epoch"]),
        ("start = 0\nif c:\n    start = c['epoch']\nuse(start)", ["constant", "label epoch"]),
        ("use(c['epoch'] if c else 0)", ["constant", "label epoch"]),
        ("for e in range(9):\n    use(e)", ["round"]),
        ("for e in range(9):\n    use(e + 1)", ["round+1"]),
        ("n = 0\nwhile True:\n    use(n)\n    n += 1", ["round"]),
        ("n = 0\nwhile True:\n    n += 1\n    use(n)", ["round+1"]),
        ("n = 0\nwhile True:\n    if x:\n        n += 1\n    use(n)", ["unknown"]),
        ("n = 0\nwhile True:\n    n += 1\n    n += 1\n    use(n)", ["unknown"]),
        ("def f(n):\n    use(n)\nf(c['step'])", ["label step"]),
        ("def f():\n    return c['epoch'] + 1\nuse(f())", ["label+1 epoch"]),
        ("use(other())", ["unknown"]),
        ("use(a * b)", ["unknown"]),
    ],
)
def test_what_an_expression_is_counted_from(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert expected == counted(tmp_path, text)


def test_counters_in_terms_of_themselves_end(tmp_path: Path) -> None:
    """A definition in a circle adds nothing of its own."""
    assert [] == counted(tmp_path, "a = b\nb = a\nuse(a)")
    assert ["constant"] == counted(tmp_path, "a = 0\nif x:\n    a = a\nuse(a)")
