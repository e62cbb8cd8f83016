"""The command lines that are compared."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from .bench import Command

PYTHON = (sys.executable, "-c")
MAIN = "import sys; from ckpt_doctor.cli.main import main; sys.exit(main())"
LOAD = "import sys, torch\nfor p in sys.argv[1:]: torch.load(p, weights_only=False)"
MMAP = "import sys, torch\nfor p in sys.argv[1:]: torch.load(p, weights_only=False, mmap=True)"
LOAD_SAFETENSORS = "import sys\nfrom safetensors.torch import load_file\nfor p in sys.argv[1:]: load_file(p)"
HEADERS = """
import sys
from pathlib import Path
from safetensors import safe_open
for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
    with safe_open(path, framework="numpy") as file:
        list(file.keys())
"""
LOAD_AND_SAVE = """
import sys, torch
path = sys.argv[1]
checkpoint = torch.load(path, map_location="cpu", weights_only=True)
checkpoint["best_score"] = -0.4
torch.save(checkpoint, path + ".new")
"""


def doctor(*words: object) -> Command:
    """A command of ckpt-doctor, as its console script starts it."""
    return Command([*PYTHON, MAIN, *map(str, words)])


def scan(path: object, *options: str) -> Command:
    """`ckpt-doctor scan` that exits with 0 whatever it finds."""
    return doctor("scan", "--fail-on", "never", *options, path)


def python(code: str, *words: object) -> Command:
    """A program of Python."""
    return Command([*PYTHON, code, *map(str, words)])


def program(*words: object) -> Command:
    """A program of the system."""
    return Command([*map(str, words)])


def picklescan(path: Path) -> dict[str, Command]:
    """Its command for a file or folder, as its console script starts it; nothing where it is not installed.

    It exits with 0 whatever it finds, as ours does."""
    if importlib.util.find_spec("picklescan") is None:
        return {}
    return {"picklescan": python("from picklescan.cli import main; main()", "-p", path)}


def find(folder: Path) -> Command:
    """List a tree with the sizes."""
    return program("find", folder, "-type", "f", "-size", "+1c")
