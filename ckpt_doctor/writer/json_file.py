"""A JSON file written again: other values, in the style of the file that it replaces."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from ckpt_doctor.errors import EditRefused
from ckpt_doctor.types import python_value

_FLAT = frozenset({str, int, float, bool, type(None)})
_TEXTS = frozenset({str})
_FIRST_BREAK = re.compile(r"\s*[\[{]\r?\n([ \t]*)")
_FIRST_KEY = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"(\s*:\s*)')


@dataclass(frozen=True, slots=True)
class Style:
    """How a file is laid out; by default as `json.dumps(..., indent=2, sort_keys=True) + "\\n"`."""

    indent: str | None = "  "
    sorted: bool = True
    colon: str = ": "
    ascii: bool = True
    crlf: bool = False
    mark: bool = False
    """It begins with a byte order mark."""
    end: str = "\n"


def dumps(value: object, style: Style = Style()) -> bytes:
    """The bytes of a JSON file that says `value`, in the given style.

    Doubles are written in full; NaN and infinities as Python's `json` writes and reads them. Raises `EditRefused` for a
    value that JSON does not have.
    """
    try:
        if style.indent is None:
            text = _on_one_line(_plain(value), style, ", " if style.colon.endswith(" ") else ",")
        else:
            text = _indented(_plain(value), style, "\n")
        text += style.end
        return (text.replace("\n", "\r\n") if style.crlf else text).encode("utf-8-sig" if style.mark else "utf-8")
    except RecursionError:
        raise EditRefused("the values are nested too deep for JSON") from None
    except UnicodeEncodeError:
        raise EditRefused("a text has no form in UTF-8") from None


def loads(data: bytes) -> tuple[object, Style]:
    """What a JSON file says, and its style. Raises `EditRefused` where it is not JSON in UTF-8."""
    in_order = True

    def look(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal in_order
        keys = [key for key, _ in pairs]
        in_order = in_order and keys == sorted(keys)
        return dict(pairs)

    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=look)
    except (ValueError, RecursionError):
        raise EditRefused("the file is not JSON in UTF-8") from None
    line, key = _FIRST_BREAK.match(text), _FIRST_KEY.match(text)
    crlf = "\r\n" in text
    end = text[len(text.rstrip()) :]
    return value, Style(
        indent=line.group(1) if line else None,
        sorted=in_order,
        colon=key.group(1) if key and "\n" not in key.group(1) else ": ",
        ascii=text.isascii(),
        crlf=crlf,
        mark=data.startswith(b"\xef\xbb\xbf"),
        end=end.replace("\r\n", "\n") if crlf else end,
    )


def _on_one_line(value: object, style: Style, separator: str) -> str:
    """The text that `json` writes in C."""
    return json.dumps(
        value,
        sort_keys=style.sorted,
        ensure_ascii=style.ascii,
        separators=(separator, style.colon),
        check_circular=False,
    )


def _indented(value: object, style: Style, line: str) -> str:
    """As `json` lays a value out with an indent, for which it runs Python code; `line` begins each line.

    A list of objects with plain values, as a history of 200,000 entries, is written on one line first. In a text there
    are no line breaks, so that those between two objects can be told.
    """
    inner = f"{line}{style.indent}"
    if isinstance(value, dict) and value:
        pairs = sorted(value.items()) if style.sorted else value.items()
        items = [f"{_on_one_line(key, style, '')}{style.colon}{_indented(item, style, inner)}" for key, item in pairs]
        return f"{{{inner}{f',{inner}'.join(items)}{line}}}"
    if isinstance(value, list) and value and all(isinstance(item, dict) and item and _is_flat(item) for item in value):
        deeper = f"{inner}{style.indent}"
        text = _on_one_line(value, style, f",{deeper}")[2:-2]
        objects = text.replace(f"}},{deeper}{{", f"{inner}}},{inner}{{{deeper}")
        return f"[{inner}{{{deeper}{objects}{inner}}}{line}]"
    if isinstance(value, list) and value:
        return f"[{inner}{f',{inner}'.join(_indented(item, style, inner) for item in value)}{line}]"
    return _on_one_line(value, style, "")


def _is_flat(value: dict[Any, object]) -> bool:
    """Whether an object has texts as keys, and values that `json` writes as they are."""
    return _FLAT.issuperset(map(type, value.values())) and _TEXTS.issuperset(map(type, value))


def _plain(value: object) -> object:
    """The value as `json` takes it; what JSON has no form for is refused, where `json` would turn it into a text."""
    value = python_value(value)
    if isinstance(value, dict):
        if _is_flat(value):
            return value
        if not all(isinstance(key, str) for key in value):
            raise EditRefused("a JSON file has only texts as keys")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise EditRefused(f"a JSON file cannot hold a {type(value).__name__}")
