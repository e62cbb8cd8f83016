"""Reads the JSON files of a checkpoint: a trainer's counters, the index of a sharded model."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers.detect import sniff_view, without_content
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.source import Source
from ckpt_doctor.readers.views import open_view, unreadable
from ckpt_doctor.types import Checkpoint, Container, Damage, NotChecked
from ckpt_doctor.types.record import record

_BEGUN = re.compile(
    r"\s*|-?|t(r(ue?)?)?|f(a(l(se?)?)?)?|n(u(ll?)?)?|N(aN?)?|-?I(n(f(i(n(i(ty?)?)?)?)?)?)?|\\?u?[0-9a-fA-F]{0,4}|\.|[eE][+-]?"
)
"""What is left at the end of a text that was cut within a value: a literal's beginning, or an escape's."""
_MOST_NAMED = 3
"""Repeated keys that the note about them names."""


def open_json(path: Path) -> Checkpoint:
    """Read a JSON file: as Python's `json` does, within bounds; never raises for what is in it.

    A number whose digits Python would not convert stays text.
    """
    return _read(path, "json", _parsed)


def open_marker(path: Path) -> Checkpoint:
    """Read a text file that names a checkpoint: its one line is the root, None where it has none or several."""
    found = _read(path, "text", _line)
    return replace(found, damage=tuple(damage for damage in found.damage if damage.kind != "empty-file"))


@record
class _Content:
    """What a file was found to hold."""

    root: object = None
    damage: list[Damage] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)


def _read(path: Path, container: Container, parse: Callable[[FileView, _Content], None]) -> Checkpoint:
    try:
        with open_view(path) as view:
            content = _Content()
            wrong = without_content(view)
            if wrong is None:
                parse(view, content)
            else:
                content.damage.append(wrong)
            return Checkpoint(
                path,
                view.size if stat.S_ISREG(view.mode) else 0,
                container,
                "other",
                content.root,
                damage=tuple(content.damage),
                not_checked=tuple(content.not_checked),
                stamp=view.stamp,
                bytes_read=view.bytes_read,
            )
    except OSError as error:
        return Checkpoint(path, 0, container, "other", None, damage=(unreadable(error),))


def _line(view: FileView, content: _Content) -> None:
    try:
        text = view.read_at(0, limits.MAX_MARKER_BYTES).decode().strip()
    except UnicodeDecodeError:
        return
    if view.size <= limits.MAX_MARKER_BYTES and text and text.isprintable():
        content.root = text


def json_in(source: Source) -> tuple[object, list[Damage]]:
    """What JSON inside a file holds, within the same bounds, and what is wrong with it."""
    content = _Content()
    _parsed(source, content)
    return content.root, content.damage


def _parsed(view: Source, content: _Content) -> None:
    if view.size > limits.MAX_JSON_BYTES:
        message = f"JSON of {view.size:,} bytes is not read"
        content.damage.append(Damage("limit-exceeded", message, found=view.size, expected=limits.MAX_JSON_BYTES))
        return
    raw = view.read_at(0, view.size)
    if raw.count(b"[") + raw.count(b"{") > limits.MIN_CONTAINERS:
        message = f"JSON of more than {limits.MIN_CONTAINERS:,} lists and objects is not read"
        content.damage.append(Damage("limit-exceeded", message))
        return
    repeated: dict[str, None] = {}
    numbers: dict[str, Any] = {"parse_int": _integer, "parse_float": _float} if _may_have_long_numbers(raw) else {}
    try:
        root = json.loads(raw.decode(), object_pairs_hook=partial(_object, repeated), **numbers)
    except ValueError as error:
        content.damage.append(_broken(view, raw, error))
    except RecursionError:
        content.damage.append(_too_deep())
    else:
        if _is_deep(root):
            content.damage.append(_too_deep())
        else:
            content.root = root
    if repeated:
        told = ", ".join(shown(key) for key in islice(repeated, _MOST_NAMED))
        why = f"one JSON object has keys twice ({told}), and the last value of each is read"
        content.not_checked.append(NotChecked("the other values of repeated keys", why, "write the file anew"))


def _object(repeated: dict[str, None], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One object; keys that stand twice in it are added to `repeated`."""
    made = dict(pairs)
    if len(made) < len(pairs):
        repeated.update((key, None) for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return made


def _may_have_long_numbers(raw: bytes) -> bool:
    """Whether a number may have more digits than are converted: a third of them, at the least, stand in a row."""
    step = limits.MAX_DECIMAL_DIGITS // 7
    return any(raw[at : at + step].isdigit() for at in range(0, len(raw), step))


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= limits.MAX_DECIMAL_DIGITS else text


def _float(text: str) -> float | str:
    return float(text) if len(text) <= limits.MAX_DECIMAL_DIGITS else text


def _broken(view: Source, raw: bytes, error: ValueError) -> Damage:
    """What a file is that does not parse: cut off, something else, or JSON with an error in it."""
    if isinstance(error, json.JSONDecodeError):
        where, what = f"line {error.lineno}, column {error.colno}", error.msg
        is_cut = what.startswith("Unterminated string") or _BEGUN.fullmatch(error.doc, error.pos) is not None
    else:
        where = f"byte {error.start}" if isinstance(error, UnicodeDecodeError) else ""
        what = "it is not UTF-8"
        is_cut = isinstance(error, UnicodeDecodeError) and error.end == len(raw) and error.reason.startswith("unexpec")
    begins = raw.lstrip()[:1] in (b"{", b"[")
    if begins and is_cut:
        message = f"the JSON ends before it is complete ({shown(what)}): the file is cut off and cannot be loaded"
        return Damage("truncated-archive", message, where, found=view.size)
    other = None if begins or not isinstance(view, FileView) else sniff_view(view)
    if isinstance(other, Damage):
        return other
    return Damage("not-a-checkpoint", f"this is not valid JSON ({shown(what)}); loading raises", where)


def _too_deep() -> Damage:
    return Damage("limit-exceeded", f"JSON nested deeper than {limits.MAX_JSON_DEPTH:,} levels is not read")


def _is_deep(root: object) -> bool:
    """Whether containers lie in each other beyond what is read. A level at a time: a walk down could overflow."""
    level = [root] if isinstance(root, (dict, list)) else []
    for _ in range(limits.MAX_JSON_DEPTH):
        inside = (value.values() if isinstance(value, dict) else value for value in level)
        level = [value for values in inside for value in values if isinstance(value, (dict, list))]
        if not level:
            return False
    return bool(level)
