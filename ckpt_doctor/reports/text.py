"""Text for a terminal: what a name from a file may do to it (nothing), how wide it is, how numbers are written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from ckpt_doctor.remote import is_url, spelled

Detail = Literal["quiet", "normal", "all"]
"""How much a report tells. `quiet`: the answer and what is wrong. `all`: healthy files, notes and the sources of facts
as well."""
ELLIPSIS = "..."

_SGR = {
    1: ("bold",),
    2: ("dim", "unchanged", "not judged"),
    31: ("broken", "impossible", "error", "failed", "-"),
    32: ("ok", "migrated", "undone", "+"),
    33: ("repairable", "needs facts", "differs", "open", "warning", "refused", "~"),
    36: ("info", "planned"),
}
STYLES = {style: f"\x1b[{number}m" for number, styles in _SGR.items() for style in styles}
"""Terminal sequences (ECMA-48, SGR) by what has the style: an outlook, a severity, an outcome, a difference's sign."""
MAX_TEXT = 110
"""Sentences get hard to read beyond this many columns, however wide the terminal is."""


def clean(text: object) -> str:
    r"""Make text from a file or a file system harmless to print: one line, no control characters.

    Everything that does not show as itself becomes an escape (`\x1b`, `\n`, `\u202e`): terminal sequences, line
    breaks, bidirectional overrides, the lone surrogates that stand for undecodable bytes of a file name.
    """
    string = text if isinstance(text, str) else str(text)
    if string.isprintable():
        return string
    from unicodedata import category

    return "".join(c if c.isprintable() or category(c) == "Zs" else c.encode("unicode_escape").decode() for c in string)


def display_width(text: str) -> int:
    """Columns that a terminal gives to text: 2 for wide (Chinese) characters, 0 for combining marks."""
    if text.isascii():
        return len(text)
    from wcwidth import width  # here as in the functions below, for few names need it

    columns: int = width(text)
    return columns


def _columns(text: str, start: int, end: int) -> str:
    """The part of text in these columns; a wide character of which only half lies there is left out."""
    if text.isascii():
        return text[start:end]
    from wcwidth import clip

    part: str = clip(text, start, end)
    return part.strip()


def shorten(text: str, width: int) -> str:
    """Text with its middle left out where it is wider than `width`: the end of a run name is what tells runs apart."""
    whole = display_width(text)
    if whole <= width:
        return text
    room = max(0, width - len(ELLIPSIS))
    start, end = _columns(text, 0, room // 2), _columns(text, whole - (room - room // 2), whole)
    return (start + ELLIPSIS + end) if room else ELLIPSIS[: max(0, width)]


def shorten_all(texts: Sequence[str], width: int) -> list[str]:
    """Texts shortened so that different ones stay different; whole, however wide, where no shorter form does that."""
    short = {text: shorten(text, width) for text in texts}
    alike: dict[str, list[str]] = {}
    for text, shown in short.items():
        alike.setdefault(shown, []).append(text)
    for group in alike.values():
        if len(group) > 1:
            first, last = min(group), max(group)
            same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
            told = [shorten(ELLIPSIS + text[max(0, same - 6) :], width) for text in group]
            short.update(zip(group, told if len(set(told)) == len(group) else group, strict=True))
    return [short[text] for text in texts]


def wrap(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Lines of text no wider than `width`; `first` and `rest` stand before the first and the following lines.

    A word that is wider than a line stays whole on a line of its own: a path that is cut can't be copied.
    """
    lines: list[str] = []
    at = 0
    for word in text.split():
        wide = display_width(word)
        if lines and at + 1 + wide <= width:
            lines[-1] += f" {word}"
            at += 1 + wide
        else:
            indent = rest if lines else first
            lines.append(indent + word)
            at = display_width(indent) + wide
    return lines or [first]


def styled(text: str, style: str, color: bool) -> str:
    """Text in an ANSI style, unchanged when `color` is off."""
    return f"{STYLES[style]}{text}\x1b[0m" if color and text else text


def grid(rows: Sequence[Sequence[str]], align: str, indent: str = "  ") -> list[str]:
    """Rows of cells, styled or not, as aligned lines; `align` has `<` or `>` for each column.

    A cell may have several lines. Numbers stay as they are written.
    """
    if not rows:
        return []
    from tabulate import tabulate  # here, for it takes longer to import than most commands run

    sides = ["right" if side == ">" else "left" for side in align]
    laid_out = tabulate(rows, tablefmt="plain", colalign=sides, disable_numparse=True)
    return [indent + line.rstrip() for line in laid_out.split("\n")]


def repaired(*paths: Path) -> str:
    """The paths of a `migrate` command, with where the results go, where one is a URL: nothing is written there."""
    words = ["--output DIR"] if any(map(is_url, paths)) else []
    return " ".join([*words, *map(quoted, paths)])


def argument(path: Path) -> str:
    """A path as a command takes it: one that begins with `-` is no option."""
    text = spelled(path)
    return f"./{text}" if text.startswith("-") else text


def quoted(value: object) -> str:
    """A word for a shell; with bytes that don't print as bash's `$'...'`, which brings them back."""
    text = argument(value) if isinstance(value, Path) else str(value)
    if text.isprintable():
        import shlex

        return shlex.quote(text)
    escaped = (chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in os.fsencode(text))
    return f"$'{''.join(escaped)}'"


def command_line(words: Iterable[str]) -> str:
    """Words as a command line to paste into a shell."""
    return " ".join(map(quoted, words))


def integer(n: int | None, absent: str = "-") -> str:
    """`17280` as `17,280`."""
    if n is None:
        return absent
    if abs(n) >= 10**18:  # no step count; a planted integer may have more digits than Python agrees to print
        return f"{'-' if n < 0 else ''}2^{n.bit_length()}"
    return f"{n:,}"


def real(x: float | None, absent: str = "-", digits: int = 7) -> str:
    """A score or a rate in at most `digits` significant digits."""
    if x is None:
        return absent
    if isinstance(x, int) and abs(x) >= 10**18:
        return integer(x)
    return f"{x:.{digits}g}"


def rate(x: float | None, absent: str = "-") -> str:
    """A learning rate as people write it in configurations: `3.2e-04`, `0.01`."""
    if x is None:
        return absent
    short = f"{x:.4g}"
    return f"{x:.3e}" if "e" in short and len(short) > 9 else short


def size(n: int) -> str:
    """Bytes as `512 B`, `210 KB` (thousands), then binary: `1.5 MiB`, `9.3 GiB`."""
    if n < 1000:
        return f"{n} B"
    if n < 999_500:
        return f"{round(n / 1000)} KB"
    value, unit = n / (1 << 20), "MiB"
    for larger in ("GiB", "TiB"):
        if value >= 1000:
            value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"


def seconds(s: float) -> str:
    """`0.09 s`, `12 s`, `3 min 20 s`."""
    if s < 10:
        return f"{s:.2f} s"
    if s < 60:
        return f"{s:.0f} s"
    minutes, rest = divmod(round(s), 60)
    return f"{minutes} min {rest} s"


def plural(n: int, noun: str) -> str:
    """`1 file`, `3 files`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listing(items: Iterable[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    items = list(items)
    if len(items) <= most + 1:
        return ", ".join(items)
    return f"{', '.join(items[:most])} and {len(items) - most} more"


def brief(value: object, width: int = 60, depth: int = 3) -> str:
    """Any found or expected value on one short line; lists down to `depth`, since a file may nest them endlessly."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else integer(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        left, right = "{}" if isinstance(value, (set, frozenset)) else "[]"
        if depth == 0 and value:
            return f"{left}...{right}"
        inside = ", ".join(brief(v, width, depth - 1) for v in islice(value, 8)) + (", ..." if len(value) > 8 else "")
        return shorten(f"{left}{inside}{right}", width)
    if isinstance(value, dict):
        return f"a dict of {plural(len(value), 'key')}"
    return shorten(clean(value[: width + 1] if isinstance(value, (bytes, bytearray)) else value), width)
