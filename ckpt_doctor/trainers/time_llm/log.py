"""The lines of a Time-LLM log, as events.

The log is the trainer's stdout and stderr through `2>&1 | tee -a`: tqdm's bars stand in front of the text of lines
(`\\r14it [00:01, 11.32it/s]Saved step checkpoint: ...`) and, where a full buffer was flushed, in the middle of it; the
last line before a kill is cut, and the next run continues behind it on the same line. An event is taken only from text
that cannot be half of something longer; what is cut is dropped.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from ckpt_doctor.trainers.time_llm.events import ARGUMENTS, FORMS, Arguments, Bar, Event
from ckpt_doctor.types.record import record

CHUNK = 1 << 20
"""Bytes read at once."""
LONGEST_LINE = 1 << 20
"""Bytes of a line, bars not counted, beyond which its beginning is forgotten."""


# --- bytes -> lines --------------------------------------------------------------------------------------------------


@record(frozen=True, slots=True)
class _Line:
    number: int
    raw: bytes
    """Without its line end; of a row of bars only the last."""
    ended: bool
    """False for what stands behind the last line end."""


_BAR = rb"\r[^\r\n\[\]]*\[\d+:\d\d[^\r\n\]]*\]"
_NOISE = re.compile(_BAR)
_CUT_BAR = re.compile(rb"\r *\d[^\r\n\[]*(?:\[[^\]\r\n]*)?\Z")
"""A bar in which the log ends: its count must not continue a number that stands before it."""
_BARS_BEFORE_A_BAR = re.compile(_BAR + rb"(?:" + _BAR + rb")*(?=" + _BAR + rb")")  # begins with \r: found quickly
_ANSI = re.compile(rb"\x1b\[[0-9;?]*[ABDGHJKhlm]")  # not the letters that lines begin with: one may be cut here
_BAR_COUNT = re.compile(rb"\r(?:.*?\| *)?(\d{1,18})(?:it|/\d+)? \[")


def read_events(path: Path) -> Iterator[Event]:
    """The events of a log file, in order. Memory stays bounded whatever the file's size. Raises OSError."""
    with path.open("rb") as file:
        yield from events(iter(lambda: file.read(CHUNK), b""))


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The events of a log that comes in pieces of bytes, cut anywhere."""
    for line in _lines(_as_utf8(chunks)):
        yield from _parse_line(line)


def _as_utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """UTF-16 (what PowerShell's `Tee-Object` writes) as UTF-8; everything else as it is."""
    decoder: codecs.IncrementalDecoder | None = None
    head = b""
    for chunk in chunks:
        if decoder is None and len(head) < 2:
            head += chunk
            if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                decoder = codecs.getincrementaldecoder("utf-16")("replace")
            if len(head) < 2:
                continue
            chunk = head
        yield decoder.decode(chunk).encode("utf-8", "replace") if decoder else chunk
    if len(head) < 2:
        yield head


def _lines(chunks: Iterable[bytes]) -> Iterator[_Line]:
    """The lines worth a look, with rows of bars shortened to their last."""
    number, rest = 1, b""
    for chunk in chunks:
        block = _BARS_BEFORE_A_BAR.sub(b"", rest + chunk)
        end = block.rfind(b"\n") + 1
        complete, rest = block[:end].replace(b"\r\n", b"\n"), block[end:]
        if len(rest) > LONGEST_LINE:
            rest = rest[-(LONGEST_LINE >> 4) :]
        yield from _marked_lines(complete, number)
        number += complete.count(b"\n")
    if rest:
        yield _Line(number, _CUT_BAR.sub(b"", rest), ended=False)


def _marked_lines(block: bytes, number: int) -> Iterator[_Line]:
    """The lines of a block of whole lines that hold one of `_MARKS`; `number` is that of its first."""
    done = 0
    following = [block.find(mark) for mark in _MARKS]
    while True:
        for i, mark in enumerate(_MARKS):
            if 0 <= following[i] < done:
                following[i] = block.find(mark, done)
        hit = min((at for at in following if at >= 0), default=-1)
        if hit < 0:
            return
        start = block.rfind(b"\n", done, hit) + 1 or done
        number += block.count(b"\n", done, start)
        end = block.index(b"\n", hit)
        yield _Line(number, block[start:end], ended=True)
        number += 1
        done = end + 1


# --- lines -> events -------------------------------------------------------------------------------------------------

_PATTERNS = tuple((re.compile(re.escape(mark) + rest), make, is_open) for mark, rest, make, is_open in FORMS)
_BEGINNINGS = tuple(dict.fromkeys([*(mark for mark, *_ in FORMS), "Namespace("]))
_MARKS = (*(mark.encode() for mark in _BEGINNINGS), b".py ", b"\r")
"""A line without any of these is not looked at."""
_COMMON = {
    "Epoch: ": r"Epoch: (?=\d)",
    "iters: ": r"(?<![A-Za-z0-9_.])iters: (?=\d)",
    "lr = ": r"(?<![A-Za-z0-9_.])lr = (?=\d)",
    "Early stopping": r"Early stopping(?=\s*$)",
}
"""Beginnings that other texts have, too."""
# Looked for anywhere in a line: a cut line has the next run's text right behind it.
_START = re.compile("|".join(_COMMON.get(mark, re.escape(mark)) for mark in _BEGINNINGS))


def _parse_line(line: _Line) -> Iterator[Event]:
    raw = _ANSI.sub(b"", line.raw).rstrip(b"\r") if b"\x1b" in line.raw else line.raw.rstrip(b"\r")
    bars = list(_NOISE.finditer(raw))
    # Text that a bar interrupts is joined again; text that ends at a bar may have been cut there by a kill.
    ended = line.ended and not (bars and bars[-1].end() == len(raw))
    # A bar that a kill cut is not taken out: the digits behind its \r must not continue a number that stands before it.
    *cut, last = _without_clearing(_NOISE.sub(b"", raw)).decode("utf-8", "replace").split("\r")
    for text in cut:
        yield from _parse_texts(line.number, text, ended=False)
    yield from _parse_texts(line.number, last, ended)
    if ended and (values := _arguments(last)):
        yield Arguments(line.number, values)
    if bars and bars[-1].end() == len(raw) and line.ended and (count := _BAR_COUNT.match(bars[-1][0])):
        yield Bar(line.number, int(count[1]))


def _without_clearing(raw: bytes) -> bytes:
    """A line without the blanks at its end with which tqdm clears a bar: `\\r    \\r`."""
    text = raw.rstrip(b"\r ")
    return text + raw[len(text) :].partition(b"\r")[0]


def _parse_texts(number: int, text: str, ended: bool) -> Iterator[Event]:
    """The events of a line's text. `ended`: its end is the end of a printed line."""
    starts = [match.start() for match in _START.finditer(text)]
    for start, end in pairwise([*starts, len(text)]):
        event = _parse_text(number, text[start:end], ended and end == len(text))
        if event is not None:
            yield event


def _parse_text(number: int, text: str, whole: bool) -> Event | None:
    """The event that begins at the text's first character. `whole`: the text's end is the end of a printed line."""
    for pattern, make, open_ended in _PATTERNS:
        match = pattern.match(text)
        if match and (whole or not open_ended or text[match.end() :].strip()):
            return make(number, match)
    return None


# --- arguments -------------------------------------------------------------------------------------------------------

# No `=` in a value: where `a=b=c=...` did not end as it must, each name would be followed to the end of the line
_NAMESPACE_ITEM = re.compile(rf"(?<!\w)({'|'.join(ARGUMENTS)})='?([^',)\s=]+)'?(?=[,)]|$)")
_OPTION = re.compile(rf"--({'|'.join(ARGUMENTS)})[ =]'?\"?([^\s'\"]+)")
LONGEST_VALUE = 1000
"""Characters of an argument; what is longer was given to no trainer."""


def _arguments(text: str) -> dict[str, str]:
    """Arguments of a `Namespace(...)` or of a command that runs a script; unexpanded shell variables are no values."""
    begin, end = text.find("Namespace("), text.rfind(")")
    if 0 <= begin < end:
        found = _NAMESPACE_ITEM.findall(text[begin + len("Namespace(") : end])
    elif ".py " in text and "usage:" not in text:
        found = _OPTION.findall(text[text.index(".py ") :])
    else:
        return {}
    return {
        name: value
        for name, value in found
        if len(value) <= LONGEST_VALUE and "$" not in value and value.strip("[]").upper() != name.upper()
    }
