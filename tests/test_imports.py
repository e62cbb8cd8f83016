"""The package's parts import each other only in the direction of the data, and none imports torch unasked."""

from __future__ import annotations

import ast
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ckpt_doctor"

LAYERS = (
    ("version", "errors", "threads", "types"),
    ("inert", "remote"),
    ("readers", "writer"),
    ("validators", "migrators", "reports"),
    ("trainers",),
    ("audit",),
    ("repair",),
    ("advice",),
    ("training", "rehearsal"),
    ("cli",),
)
"""From the lowest to the highest: a part imports lower layers only, and none of its own layer but itself."""
APART = {"lint": {"types", "errors"}}
"""Parts that stand beside the layers: what they may import. Of the layers only `cli` imports them."""
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@cache
def statements(module: str) -> list[ast.Import | ast.ImportFrom]:
    """All imports of a module: for types only and inside functions as well."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def imported(module: str) -> Iterator[str]:
    """The modules of the package that a module imports."""
    for node in statements(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "ckpt_doctor")
        elif (node.module or "").partition(".")[0] == "ckpt_doctor":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


def part(module: str) -> str:
    """`readers` of `ckpt_doctor.readers.torch_zip`; empty for the package's own face."""
    return module.partition(".")[2].partition(".")[0]


def may_import(importer: str, other: str) -> bool:
    """Whether a part may import another one."""
    if importer == other or importer in ("", "__main__"):
        return True  # the package's face offers what every layer makes
    if importer in APART:
        return other in APART[importer]
    if other in APART:
        return importer == "cli"
    return other in RANK and RANK[other] < RANK[importer]


OPEN = {
    "audit": "compare remembered",
    "cli": "main",
    "readers": "deep detect file_view folders part_names safetensors sets statistics storage_bytes "
    "tensor_bytes torch_zip views",
    "rehearsal": "recording",
    "remote": "store",
    "repair": "export salvage",
    "reports": "cures documents json_v1 text",
    "trainers": "facts",
    "training": "pruning resume saving",
    "types": "record",
    "validators": "contents files live rule series",
    "writer": "files handles in_place locking recover safetensors_file sidecar signals splice torch_archive",
}
"""Modules that other parts import past a face, which would have to load them for everyone. The list only shrinks;
`inert` is a library whose modules are its face."""


def past_faces(module: str) -> Iterator[tuple[str, str]]:
    """Part and the rest of the name of each module of another part that a module names in `from ... import`."""
    for node in statements(module):
        named = (node.module or "").split(".", 2) if isinstance(node, ast.ImportFrom) else []
        if len(named) == 3 and named[0] == "ckpt_doctor" and named[1] != part(module):
            yield named[1], named[2]


def test_nobody_reaches_past_a_face() -> None:
    """A trainer's modules in particular are its own."""
    opened = {(folder, name) for folder, names in OPEN.items() for name in names.split()}
    reached = {past for module in MODULES for past in past_faces(module) if past[0] != "inert"}
    assert (set(), set()) == (reached - opened, opened - reached)


def test_a_face_offers_what_others_use() -> None:
    """What a part's `__init__` only imports is for another part or for its tests."""
    files = (*PACKAGE.rglob("*.py"), *Path(__file__).parent.rglob("*.py"))
    text = {path: path.read_text(encoding="utf-8") for path in files}
    used = {pair for source in text.values() for pair in re.findall(r"\b(\w+)\.(\w+)", source)}
    for names in (found for source in text.values() for found in re.findall(r"\.(\w+) import (\([^)]*|.*)", source)):
        used.update((names[0], name) for name in re.findall(r"\w+", names[1]))
    idle: list[str] = []
    for module in (name for name, path in MODULES.items() if path.name == "__init__.py" and "." in name):
        own, source = module.rpartition(".")[2], text[MODULES[module]]
        offered = {name for name in re.findall(r"\w+", source) if source.count(name) == 1}
        imported_here = {alias.asname or alias.name for node in statements(module) for alias in node.names}
        idle += [f"{module}: {name}" for name in offered & imported_here - {"annotations"} if (own, name) not in used]
    assert [] == idle


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_lower_layers_only(module: str) -> None:
    assert [] == [other for other in sorted(set(imported(module))) if not may_import(part(module), part(other))]


def test_every_part_has_a_layer() -> None:
    assert {part(module) for module in MODULES} - {"", "__main__"} == {*RANK, *APART}


def test_no_two_modules_import_each_other() -> None:
    """Not by way of others either: a module is never among those that it imports, however far one follows them."""
    reached = {module: set(imported(module)) for module in MODULES}
    for middle in reached:
        for others in reached.values():
            if middle in others:
                others |= reached[middle]
    assert [] == sorted(module for module, others in reached.items() if module in others)


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


OTHERS = (
    *("csv", "email", "hashlib", "html", "jinja2", "json", "lzma", "pickle", "pickletools", "tabulate", "textwrap"),
    "tomllib",
)
OURS = (
    *("inert.lines", "inert.schedule_ends", "lint", "migrators", "readers.baselines", "readers.json_file"),
    *("readers.sets", "readers.zip_truncated", "repair", "trainers.random_twins", "trainers.schedules", "training"),
    *("validators.live", "writer"),
)
UNUSED = (*OTHERS, *(f"ckpt_doctor.{part}" for part in OURS))
"""What a scan of one archive that no trainer owns has no use for. Only a table needs tabulate, which brings more."""


def scanned(path: Path, form: str = "github", *more: str) -> set[str]:
    """The modules that a scan has loaded at its end."""
    call = f"main({['scan', path.name, '--format', form, *more]!r})"
    check = f"import sys; from ckpt_doctor.cli.main import main; {call}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "COLUMNS": ""}
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=path.parent, env=environment, capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def archive(path: Path) -> Path:
    """An archive as torch.save writes it, of nobody's."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", pickle.dumps({"weights": [1.0], "note": "mine"}, 2))
        file.writestr("x/version", "3\n")
    return path


def test_a_scan_of_an_archive_imports_nothing_that_it_has_no_use_for(tmp_path: Path) -> None:
    """Each takes as long to import as the file takes to read; picklescan is to be no faster."""
    loaded = scanned(archive(tmp_path / "model.pt"))
    assert [] == sorted(name for name in loaded if any(f"{name}.".startswith(f"{part}.") for part in UNUSED))
    of_trainers = {name for name in loaded if name.startswith("ckpt_doctor.trainers.")}
    assert [] == sorted(name for name in of_trainers if ".rules" in name or name.endswith((".judging", ".terms")))


@pytest.mark.parametrize("how", [["table", "-v"], ["table"], ["github"]], ids=" ".join)
def test_tabulate_is_imported_for_a_table_alone(tmp_path: Path, how: list[str]) -> None:
    """A healthy run has one with `-v` only."""
    assert ("-v" in how) == ("tabulate" in scanned(archive(tmp_path / "model.pt"), *how))


def test_every_dependency_is_used() -> None:
    """What is installed with the package is imported by it."""
    declared = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8").partition("dependencies = [")[2]
    names = re.findall(r'^    "([A-Za-z0-9]+)', declared.partition("\n]")[0], re.MULTILINE)
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    assert len(names) >= 4
    assert [] == [name for name in names if not re.search(rf'(import|from) {name}\b|"{name}"', source)]
