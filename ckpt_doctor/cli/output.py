"""Where output goes: text to stdout or, whole, to a file; notes and progress to stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import click

from ckpt_doctor.errors import UsageError
from ckpt_doctor.remote import local
from ckpt_doctor.reports import clean, shorten, size
from ckpt_doctor.types import RANKS, MigrationResult, Severity

EVERY = 0.1
"""Seconds between two states of the progress line."""
FAIL_ON: dict[str, Severity | None] = {"error": "error", "warning": "warning", "never": None}
"""Choices of `--fail-on`: the least severity that fails."""


def width() -> int:
    """Columns to write for: `COLUMNS`, else the terminal's, 80 where there is none; 40 at least."""
    if not os.environ.get("COLUMNS") and not sys.stdout.isatty():
        return 80
    import shutil  # takes a while: it loads every compression

    return max(40, shutil.get_terminal_size().columns)


def color(output: Path | None = None) -> bool:
    """Whether to use colour: on a terminal that is not dumb, or where `FORCE_COLOR` is set; never with `NO_COLOR`.

    no-color.org, force-color.org: a variable counts when it is not empty, and `NO_COLOR` wins.
    """
    if output is not None or os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stdout.isatty() and os.environ.get("TERM") != "dumb")


def emit(text: str | Iterable[str], output: Path | None = None) -> None:
    """Print text, which may come in pieces, or write it to a file that appears whole or not at all."""
    pieces = [text] if isinstance(text, str) else text
    if output is None:
        for piece in pieces:
            click.echo(piece, nl=False, color=True)
        return
    target = Path(os.path.realpath(local(output)))  # a link stays a link
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if target.exists() and not target.is_file():  # /dev/null, a pipe: nothing that could be replaced
            with target.open("w", encoding="utf-8") as stream:
                stream.writelines(pieces)
            return
        with temporary.open("x", encoding="utf-8", newline="\n") as stream:
            stream.writelines(pieces)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()  # where it has not become the file


def note(sentence: str) -> None:
    """A sentence on stderr."""
    click.echo(clean(sentence), err=True)


def exit_code(severities: Iterable[Severity], fail_on: str) -> int:
    """1 when any finding is as severe as `--fail-on` asks for."""
    level = FAIL_ON[fail_on]
    return int(level is not None and any(RANKS[severity] <= RANKS[level] for severity in severities))


def unfinished(results: Iterable[MigrationResult]) -> int:
    """1 when anything that was asked for was refused or failed."""
    return int(not all(result.complete for result in results))


class Progress:
    """A line on a terminal's stderr that shows the file at hand, bytes and rate; silent anywhere else.

    Call it with the path and the number of bytes just done; leave the `with` block to wipe the line.
    """

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()
        self.visible = False
        self.begun = self.drawn = time.monotonic()
        self.path: Path | None = None
        self.done = self.of = self.all = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self.visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __call__(self, path: Path, n: int) -> None:
        """`n` more bytes of `path` are done."""
        if path != self.path:
            self.path, self.done = path, 0
            with suppress(OSError):
                self.of = path.stat().st_size
        self.done += n
        self.all += n
        now = time.monotonic()
        if self.shown and now - self.drawn >= EVERY:
            self.drawn, self.visible = now, True
            sys.stderr.write(f"\r{self.line(now, width() - 1)}\x1b[K")
            sys.stderr.flush()

    def line(self, now: float, columns: int) -> str:
        """`my_run/epoch_18.pt  [#####.....]  1.6 GiB of 3.1 GiB, 2.4 GiB/s`."""
        path = self.path or Path()
        part = min(1.0, self.done / self.of) if self.of else 0.0
        bar = f"{'#' * round(10 * part):.<10}"
        rate = size(int(self.all / max(1e-9, now - self.begun)))
        numbers = f"[{bar}]  {size(self.done)} of {size(self.of)}, {rate}/s"
        name = shorten(clean(f"{path.parent.name}/{path.name}"), max(0, columns - len(numbers) - 2))
        return f"{name}  {numbers}"
