"""The package's parts import each other only in the direction of the data, and none imports torch unasked."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ckpt_doctor"

BASE = {"types", "errors"}
MAY_IMPORT = {
    "types": {"reports"},  # a Report shows itself in a notebook
    "errors": set(),
    "hashing": set(),
    "names": {"errors", "hashing"},
    "schedules": {"types"},
    "tree": {"types"},
    "edits": {"errors", "tree", "types"},
    "numpy_values": {"types"},
    "locking": {"errors", "names"},
    "quantized_weights": {"types"},
    "readers": BASE | {"quantized_weights"},
    "pickle_writer": BASE | {"readers"},
    "salvage": BASE | {"names", "pickle_writer", "readers", "writer"},
    "compare": {"numpy_values", "readers", "types"},
    "discovery": BASE | {"names", "readers"},
    "given": BASE,
    "trainers": {"schedules", "types"},
    "validators": {"numpy_values", "types"},
    "migrators": {"numpy_values", "types"},
    "writer": BASE | {"hashing", "locking", "names"},
    "reports": {"numpy_values", "quantized_weights", "types"},
    "lint": BASE,
    "audit": BASE | {"discovery", "names", "readers", "trainers", "validators", "writer"},
    "torch_check": BASE | {"readers"},
    "repair": BASE
    | {
        "audit",
        "discovery",
        "edits",
        "locking",
        "migrators",
        "names",
        "pickle_writer",
        "readers",
        "torch_check",
        "trainers",
        "tree",
    }
    | {"writer"},
    "remembered": BASE | {"hashing", "names", "writer"},
    "retention": BASE | {"locking", "names", "writer"},
    "pruning": BASE | {"audit", "locking", "remembered", "retention", "trainers"},
    "saving": {"errors", "locking", "names", "readers", "writer"},
    "resume": BASE | {"audit", "given", "reports", "validators"},
}
"""Part -> the parts that it may import. `cli` may import all, and nothing imports `cli`."""


def imports(path: Path) -> Iterator[str]:
    """The parts of the package that a module imports when it is used: not those for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "ckpt_doctor":
                yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("ckpt_doctor."):
                    yield alias.name.split(".")[1]


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if part(p) not in ("cli", "__init__", "__main__"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    assert set(imports(path)) - {part(path), "__version__"} <= MAY_IMPORT[part(path)]


@pytest.mark.parametrize(
    "code",
    [
        "import ckpt_doctor",
        "from ckpt_doctor import scan, migrate, undo, check_resume, open_checkpoint, atomic_save, prune, latest",
        "from ckpt_doctor import scan; scan(['fixtures/sample-runs'])",
        "from ckpt_doctor import check_resume; str(check_resume('fixtures/sample-runs/legacy/checkpoints/' + RUN))",
        "from ckpt_doctor.cli.main import main; main(['inspect', 'fixtures/sample-runs/legacy/checkpoints/' + RUN])",
    ],
)
def test_nothing_imports_torch_or_numpy_for_metadata(code: str) -> None:
    """`import torch` costs more than a second, numpy a tenth: neither is needed to read metadata."""
    root = PACKAGE.parent
    run = next((root / "fixtures/sample-runs/legacy/checkpoints").iterdir()).name
    check = f"import sys\nRUN = {run!r}\n{code}\nassert not {{'torch', 'numpy', 'safetensors'}} & set(sys.modules), 1"
    done = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True)
    assert ("", 0) == (done.stderr, done.returncode)


def test_every_dependency_is_used() -> None:
    """What is installed with the package is imported by it."""
    import re

    declared = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [")[2]
    names = re.findall(r'^    "([A-Za-z0-9]+)', declared.partition("\n]")[0], re.MULTILINE)
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert len(names) >= 4
    assert [] == [name for name in names if not re.search(rf'(import|from) {name}\b|"{name}"', source)]
