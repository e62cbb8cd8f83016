"""The files of a repository: each read once, found by the name under which another imports it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ckpt_doctor.lint.module import Module
from ckpt_doctor.lint.source import SKIPPED_FOLDERS, NotPython, read_source

# Characters of source whose syntax trees are kept; a tree takes about a hundred times its text.
_KEPT_TEXT = 2_000_000
# Characters of other modules that are followed for one script; nothing in a training script needs more.
_FOLLOWED_TEXT = 1_000_000
# Folders above a script in which `from utils.tools import f` is looked for when nothing marks the repository's root.
_UNMARKED_LEVELS = 2
_ROOT_MARKERS = (".git", "pyproject.toml", "setup.py", "setup.cfg")


@dataclass(eq=False)
class Library:
    """The files read so far; each is read once however many scripts import it."""

    names: dict[Path, Path] = field(default_factory=dict)
    """Absolute path -> the path as the user wrote it, for the files to lint."""
    relative: bool = False
    """Whether other files are named relative to the current folder, as the user did."""
    modules: dict[Path, Module | NotPython] = field(default_factory=dict)
    is_cut_off: bool = False
    """Whether the script at hand uses more of its repository than was followed."""
    _used: dict[Path, int] = field(default_factory=dict)
    _found: dict[tuple[Path, str], Path | None] = field(default_factory=dict)

    def open(self, path: Path) -> Module | NotPython:
        """The module at a path, or why it has none."""
        key = path.absolute()
        if key not in self.modules:
            named = self.names.get(key) or (Path(os.path.relpath(key)) if self.relative else key)
            try:
                self.modules[key] = Module(read_source(named), self.find)
            except NotPython as reason:
                self.modules[key] = reason
        return self.modules[key]

    def forget(self) -> None:
        """Drop the modules read first, as many as it takes to keep the rest within bounds. Call between scripts."""
        self._used.clear()
        self.is_cut_off = False
        size = 0
        for key, module in reversed(list(self.modules.items())):
            size += len(module.source.text) if isinstance(module, Module) else 0
            if size > _KEPT_TEXT:
                del self.modules[key]

    def find(self, importer: Path, dotted: str, level: int) -> Module | None:
        """The module that `importer` gets by this name, when it is a file of the same repository."""
        folder = importer.absolute().parent
        if level:
            for _ in range(level - 1):
                folder = folder.parent
            path = _module_file(folder, dotted)
        else:
            key = (folder, dotted)
            if key not in self._found:
                files = (_module_file(root, dotted) for root in _import_roots(folder))
                self._found[key] = next((file for file in files if file), None)
            path = self._found[key]
        if path is None or not self._is_within_bounds(path.absolute()):
            return None
        found = self.open(path)
        self._used[path.absolute()] = len(found.source.text) if isinstance(found, Module) else 0
        return found if isinstance(found, Module) else None

    def _is_within_bounds(self, path: Path) -> bool:
        if path in self._used or sum(self._used.values()) <= _FOLLOWED_TEXT:
            return True
        self.is_cut_off = True
        return False


def _module_file(folder: Path, dotted: str) -> Path | None:
    base = folder.joinpath(*dotted.split(".")) if dotted else folder
    candidates = [base / "__init__.py"]
    if dotted:
        candidates.insert(0, base.with_name(base.name + ".py"))
    try:
        return next((path for path in candidates if path.is_file()), None)
    except (OSError, ValueError):
        return None


def _import_roots(folder: Path) -> Iterator[Path]:
    """Where absolute imports may start: the script's folder, then those above it up to the repository's root."""
    chain = [folder, *folder.parents][:8]
    marked = next((i for i, here in enumerate(chain) if any((here / name).exists() for name in _ROOT_MARKERS)), None)
    for here in chain[: (_UNMARKED_LEVELS if marked is None else marked) + 1]:
        if here.name in SKIPPED_FOLDERS:
            return  # what is installed there is not part of the repository
        yield here
