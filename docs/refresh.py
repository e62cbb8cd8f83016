"""Keep the documents true: run every command that they show, and put in what it prints.

    python docs/refresh.py            # rewrite README.md and docs/*.md
    python docs/refresh.py --check    # exit code 1 when a document is not what it would be rewritten to

In a `console` block each line that begins with `$ ` is a command; what follows it is its output, both streams as a
terminal shows them. The commands of one document run in order, in a folder of their own that holds a copy of the
sample runs as `demo/`, and of the rest of `fixtures/`. `docs/rules.md` is made from the rules' docstrings,
`docs/speed.md` from what `python -m benchmarks --json benchmarks/results.json` measured last.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CATALOGUE = ROOT / "docs" / "rules.md"
SPEED = ROOT / "docs" / "speed.md"
COLUMNS = "100"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES = re.compile(r"\d+(\.\d+)? m?s\b|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|\+00:00)?|\S+ \w+ free\b")
"""What differs from run to run: durations, dates, the room on the disk."""
FAMILIES = {
    "F": "the file as a file",
    "S": "safety of loading",
    "L": "layout",
    "P": "progress",
    "R": "rate schedule",
    "E": "early stopping",
    "O": "optimizer",
    "T": "tensors",
    "X": "training scripts",
}


class Shell:
    """Runs commands one after the other as a person at one prompt does: `cd` and variables stay."""

    def __init__(self, folder: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CKPT_DOCTOR")}
        environment |= {"COLUMNS": COLUMNS, "NO_COLOR": "1", "LC_ALL": "C.UTF-8", "HOME": str(folder)}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        self.process = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, command: str) -> str:
        """What the command prints; lines end without spaces."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{{ {command}\n}} < /dev/null\necho; echo '--- done'\n")
        self.process.stdin.flush()
        lines: list[str] = []
        for line in self.process.stdout:
            if line == "--- done\n":
                break
            lines.append(line.rstrip())
        return "\n".join(lines).rstrip("\n") + "\n" if any(lines) else ""

    def close(self) -> None:
        """End the shell."""
        self.process.communicate()


def commands(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output that stands below it."""
    for part in re.split(r"^(?=\$ )", block, flags=re.MULTILINE):
        lines = part.splitlines(keepends=True)
        count = next((i for i, line in enumerate(lines, 1) if not line.endswith("\\\n")), len(lines))
        if lines:
            yield "".join(lines[:count])[2:], "".join(lines[count:])


def rerun(text: str, shell: Shell) -> str:
    """The document's text with what its commands print now. An output that differs only in what varies is kept."""

    def block(match: re.Match[str]) -> str:
        parts = []
        for command, shown in commands(match[1]):
            now = shell(command.rstrip("\n"))
            parts.append(f"$ {command}{shown if fixed(shown) == fixed(now) else now}")
        return f"```console\n{''.join(parts)}```"

    return BLOCK.sub(block, text)


def fixed(text: str) -> str:
    """The text without what varies, and without the line breaks that shift with it."""
    return " ".join(VARIES.sub("#", text).split())


def sandbox(folder: Path) -> Path:
    """Fill a folder with what the documents' commands work on."""
    shutil.copytree(ROOT / "fixtures", folder / "fixtures", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "fixtures" / "sample-runs", folder / "demo")
    yesterday = 24 * 3600
    for path in (folder / "demo").rglob("*"):  # as old as a run that died some time ago
        os.utime(path, (path.stat().st_mtime - yesterday,) * 2)
    return folder


def catalogue() -> str:
    """`docs/rules.md`: every rule, from its docstring."""
    from ckpt_doctor.cli.rules import all_rules
    from ckpt_doctor.reports.manual import whole

    lines = [
        "# Rules",
        "",
        "Made from the docstrings by `python docs/refresh.py`; `ckpt-doctor rule CODE` prints the same text.",
        "",
        "*error*: the trainer cannot resume from the file, would load garbage, or would run foreign code. *warning*:",
        "the resumed run will differ from the uninterrupted one. *info*: worth knowing, no effect on this trainer's",
        'resume. "Trainer contract" is what was read and measured of the Time-LLM trainer; `fixtures/` holds a small',
        "trainer that behaves so. Where a trainer has rules of its own with the same code, they follow under its name.",
    ]
    family = ""
    for rule in all_rules():
        if rule.code[0] != family:
            family = rule.code[0]
            lines += ["", f"## {family}: {FAMILIES[family]}"]
        manual = re.sub("^## ", "#### ", whole(rule), flags=re.MULTILINE)
        lines += ["", f"### {rule.code} {rule.name} ({rule.severity})", "", manual]
    return "\n".join(lines) + "\n"


def speed() -> str:
    """`docs/speed.md`, from the benchmark's results."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.page import page

    return page(json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8")))


def refreshed(document: Path, folder: Path) -> str:
    """The text that the document should have; its commands run in `folder`, which must be empty."""
    if document == CATALOGUE:
        return catalogue()
    if document == SPEED:
        return speed()
    shell = Shell(sandbox(folder))
    try:
        return rerun(document.read_text(encoding="utf-8"), shell)
    finally:
        shell.close()


def main() -> int:
    """Rewrite the documents, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when something is out of date")
    check = parser.parse_args().check
    stale = []
    for document in {*DOCUMENTS, CATALOGUE}:
        with tempfile.TemporaryDirectory() as scratch:
            text = refreshed(document, Path(scratch))
        if not document.exists() or text != document.read_text(encoding="utf-8"):
            stale.append(document.name)
            if not check:
                document.write_text(text, encoding="utf-8")
    print(f"{'out of date' if check else 'rewritten'}: {', '.join(sorted(stale)) or 'none'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
