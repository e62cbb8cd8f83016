"""Files -> Python text: decoding, notebook cells, `# ckpt-doctor: ignore[...]` comments. Nothing is executed."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import stat
import sys
import tokenize
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ckpt_doctor.errors import absent
from ckpt_doctor.types import NotChecked

# A syntax tree takes some hundred bytes per character of dense code; training scripts are far below this.
MAX_SCRIPT_BYTES = 1 << 20
# Notebooks carry their outputs (images) with them.
MAX_NOTEBOOK_BYTES = 64 << 20
SUFFIXES = (".py", ".ipynb")
SKIPPED_FOLDERS = frozenset(
    {"venv", "env", "site-packages", "dist-packages", "node_modules", "__pycache__", "__pypackages__"}
)

_IGNORE = re.compile(r"#\s*ckpt-doctor:\s*ignore(?:\[([^\]]*)\])?", re.IGNORECASE)
_MAGIC = re.compile(r"^(\s*)(?:[\w.]+\s*=\s*)?([%!?])")
# Cell magics whose body is Python all the same; any other (`%%bash`, `%%html`) is a different language.
_PYTHON_CELL_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun", "%%python3", "%%python")


class NotPython(Exception):
    """A file or cell has no syntax tree: the message says why in one sentence, `settle` what would give it one."""

    def __init__(self, reason: str, settle: str = "fix the file") -> None:
        super().__init__(reason)
        self.settle = settle


@dataclass(frozen=True)
class Cell:
    """A code cell of a notebook and where it begins in the joined text."""

    number: int
    first_line: int
    """1-based line of `Source.text`."""


@dataclass(frozen=True)
class Source:
    """Python text with its syntax tree."""

    path: Path
    text: str
    """Newlines are `\\n`. A notebook's code cells follow each other."""
    tree: ast.Module
    cells: tuple[Cell, ...] = ()
    ignored: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """Line -> codes and rule names (lower case) that a comment silences there; an empty set silences all."""
    not_checked: tuple[NotChecked, ...] = ()

    @cached_property
    def lines(self) -> list[str]:
        """The lines of `text`."""
        return self.text.split("\n")

    def locate(self, line: int) -> tuple[int | None, int]:
        """A line of `text` -> (cell number or None, line in that cell or file)."""
        for cell in reversed(self.cells):
            if line >= cell.first_line:
                return cell.number, line - cell.first_line + 1
        return None, line


def find_scripts(paths: Sequence[Path]) -> Iterator[Path]:
    """The files to lint: each PATH that is a file, and all `*.py` and `*.ipynb` below each that is a folder.

    Virtual environments, hidden folders and installed packages are passed over. Raises `UsageError` for a PATH that
    does not exist.
    """
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise absent(path)
        for script in _below(path) if path.is_dir() else (path,):
            if script.absolute() not in seen:
                seen.add(script.absolute())
                yield script


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in SKIPPED_FOLDERS and not (here / name / "pyvenv.cfg").exists()
        )
        yield from (here / name for name in sorted(files) if name.endswith(SUFFIXES))


def read_source(path: Path) -> Source:
    """Decode and parse one script or notebook. Raises `NotPython` with a sentence when it is neither."""
    notebook = path.suffix == ".ipynb"
    limit = MAX_NOTEBOOK_BYTES if notebook else MAX_SCRIPT_BYTES
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise NotPython("it is not a regular file", "give a file or a folder")
        if status.st_size > limit:
            raise NotPython(f"its {status.st_size:,} bytes exceed the limit of {limit:,} for one file", "split it")
        data = path.read_bytes()
    except OSError as error:
        raise NotPython(f"it cannot be read ({error.strerror or error})") from error
    if notebook:
        return _notebook(path, data)
    text = _decode(data)
    return Source(path, text, parse(text), ignored=_ignore_comments(text))


def parse(text: str) -> ast.Module:
    """`ast.parse` with every way in which it fails turned into `NotPython`."""
    try:
        return _parse_quietly(text)
    except SyntaxError as error:
        place = f"line {error.lineno} " if error.lineno else "it "
        reader = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise NotPython(f"{place}is not Python {reader}, which reads it here ({error.msg})") from error
    except (RecursionError, MemoryError) as error:
        raise NotPython("its code is nested too deeply to be parsed") from error
    except ValueError as error:  # null bytes before Python 3.12, lone surrogates
        raise NotPython(f"it is not text that Python can parse ({error})") from error


def _parse_quietly(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes such as "\\d" are the script's business
        return ast.parse(text)


def _decode(data: bytes) -> str:
    """Decode as Python would: byte order mark, coding cookie (PEP 263), UTF-8 otherwise."""
    if b"\0" in data:
        raise NotPython("it contains null bytes and is not a text file", "name the training script")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, LookupError, UnicodeDecodeError) as error:
        raise NotPython(f"its bytes are not text in the encoding it declares ({error})") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _ignore_comments(text: str) -> dict[int, frozenset[str]]:
    """Silencing comments by line. A comment that has a line of its own speaks for the next line as well."""
    found: dict[int, frozenset[str]] = {}
    if not _IGNORE.search(text):
        return found
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):  # ast.parse is more lenient at the end of the file
        return found
    for token in tokens:
        match = _IGNORE.search(token.string) if token.type == tokenize.COMMENT else None
        if match:
            codes = frozenset(code.strip().lower() for code in (match[1] or "").split(",") if code.strip())
            line = token.start[0]
            found[line] = codes
            if not token.line[: token.start[1]].strip():
                found[line + 1] = codes
    return found


def _notebook(path: Path, data: bytes) -> Source:
    try:
        document = json.loads(data)
        cells = document.get("cells")
        if cells is None:  # nbformat 3
            cells = [cell for sheet in document.get("worksheets", []) for cell in sheet.get("cells", [])]
        language = document.get("metadata", {}).get("kernelspec", {}).get("language", "python")
        codes = [(n, _cell_text(cell)) for n, cell in enumerate(cells, 1) if cell.get("cell_type") == "code"]
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        raise NotPython(f"it is not a Jupyter notebook ({error})") from error
    if str(language).lower() != "python":
        raise NotPython(f"its cells are {language}, not Python")
    lines: list[str] = []
    places: list[Cell] = []
    skipped: list[NotChecked] = []
    for number, text in codes:
        try:
            text = _python_of_cell(text)
        except NotPython as reason:
            skipped.append(NotChecked(f"{path}:cell {number}", f"in this cell, {reason}", "make the cell plain Python"))
            continue
        places.append(Cell(number, len(lines) + 1))
        lines += text.split("\n")
    text = "\n".join(lines)
    return Source(path, text, parse(text), tuple(places), _ignore_comments(text), tuple(skipped))


def _cell_text(cell: Mapping[str, object]) -> str:
    source = cell.get("source", cell.get("input", ""))
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _python_of_cell(text: str) -> str:
    """A cell as plain Python with the same lines: `!command` becomes a call of `system`, other magics `pass`."""
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        magic, *arguments = lines[first].split()
        writes_python = magic in ("%%writefile", "%%file") and arguments[-1:] and arguments[-1].endswith(".py")
        if magic not in _PYTHON_CELL_MAGICS and not writes_python:
            raise NotPython(f"{magic} marks a language other than Python")
        lines[first] = "pass"
    # Line by line where the parser stumbles: a line that begins with `%` may also continue an expression.
    for _ in range(len(lines) + 1):
        try:
            _parse_quietly("\n".join(lines))
            return "\n".join(lines)
        except SyntaxError as error:
            at = (error.lineno or 0) - 1
            if not 0 <= at < len(lines) or not _replace_magic(lines, at):
                break
        except (ValueError, RecursionError, MemoryError):
            break
    for at in range(len(lines)):
        _replace_magic(lines, at)
    joined = "\n".join(lines)
    parse(joined)
    return joined


def _replace_magic(lines: list[str], at: int) -> bool:
    match = _MAGIC.match(lines[at])
    is_help = lines[at].rstrip().endswith("?")
    if not match and not is_help:
        return False
    indent = match[1] if match else lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    command = lines[at].strip()
    last = at
    while lines[last].endswith("\\") and last + 1 < len(lines):
        last += 1
        command = command[:-1] + " " + lines[last].strip()
        lines[last] = ""
    shell = command.startswith("!")
    lines[at] = indent + (f"get_ipython().system({command.lstrip('!')!r})" if shell else "pass")
    return True
