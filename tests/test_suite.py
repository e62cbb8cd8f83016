"""What holds for the tests themselves: where a module's tests are, and that Hypothesis is set up in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "ckpt_doctor"

BY_CASES = ("cli", "types", "validators", "rules", "fixes")
"""Folders whose modules are tested in rows: a command, a rule or a fix each, and the values that all others pass on."""


def modules() -> set[str]:
    """`audit/judging`, for each module of the package but those that only collect others."""
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return {path.as_posix() for path in paths if path.stem not in ("__init__", "__main__")}


def has_test_file(module: str) -> bool:
    """Whether `tests/audit/test_judging.py` is there, or one whose name goes on behind that."""
    folder, name = (TESTS / module).parent, f"test_{Path(module).name}"
    return any(path.stem == name or path.stem.startswith(f"{name}_") for path in folder.glob("test_*.py"))


def test_a_module_s_tests_are_found_by_its_name() -> None:
    found = {module for module in modules() if Path(module).parent.name not in BY_CASES}
    assert [] == sorted(module for module in found if not has_test_file(module))


def test_test_files_lie_in_the_folders_of_the_package() -> None:
    """But for those that look at the package as a whole, and for the resumes that are compared step by step."""
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    assert {"equivalence"} == {folder.as_posix() for folder in folders if not (PACKAGE / folder).is_dir()}


def test_no_two_files_have_one_module_name() -> None:
    """A folder without `__init__.py` gives its files' bare names, helpers' too: only one of two can be imported."""
    folders = {path.parent for path in TESTS.rglob("test_*.py")}
    bare = [path.stem for folder in folders if not (folder / "__init__.py").exists() for path in folder.glob("*.py")]
    assert sorted(set(bare)) == sorted(bare)


@pytest.mark.parametrize("word", ["deadline", "suppress_health_check", "register_profile"])
def test_hypothesis_is_set_up_in_one_place(word: str) -> None:
    files = {path for path in TESTS.rglob("*.py") if f"{word}=" in (text := path.read_text()) or f"{word}(" in text}
    assert {TESTS / "conftest.py"} == files
