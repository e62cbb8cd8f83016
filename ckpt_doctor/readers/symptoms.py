"""Signs of what happened to a file: translated line endings, a wrong byte order, a write that is not finished."""

from __future__ import annotations

import os
import re
import struct
import time
from codecs import getincrementaldecoder
from collections.abc import Sequence

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.types import Damage, Global, NotChecked, TensorInfo

_TEMPORARY = re.compile(
    r"""(\.(tmp|temp|part|partial|incomplete|crdownload|download|opdownload|aria2|filepart|gstmp|swp)(\.?\d+)?|~)$"""
    r"""|^\.~|^~\$""",
    re.I,
)
_SAMPLE = 1 << 18
_CODES = {"float32": ("f", 4), "float64": ("d", 8)}
"""Of `struct`, with the bytes of a number."""
_RECENT = 60.0
"""Seconds."""


def unfinished_write(view: FileView) -> list[Damage]:
    """A temporary name, or a file that grew while it was read."""
    if _TEMPORARY.search(view.path.name):
        message = "by its name this is a temporary file: its writer is still at work, or died before it could rename it"
        return [Damage("unfinished-write", message, found=view.path.name)]
    path = str(view.path)
    beside = {f"{path}.aria2": "shows that aria2 has not downloaded all of it"}
    if path.endswith(".ckpt"):
        beside[f"{path[:-5]}-unfinished"] = "marks its save as unfinished, so that NeMo passes it over"
    for marker, meaning in beside.items():
        if not view.far and os.path.exists(marker):  # noqa: PTH110 - too long a name is not there
            name = marker.rpartition("/")[2]
            return [Damage("unfinished-write", f"{shown(name)} beside it {meaning}", found=name)]
    now = view.size_now()
    if now > view.size:
        message = "the file grew while it was read: it is being written"
        return [Damage("unfinished-write", message, found=now, expected=view.size)]
    return []


def maybe_unfinished(view: FileView) -> list[NotChecked]:
    """For a file whose end is missing: whether it may simply not be finished, which its time alone cannot prove."""
    age = time.time() - view.stamp.mtime_ns / 1e9
    if not 0 <= age < _RECENT:
        return []
    why = f"its end is missing and it was changed {age:.0f} s ago: it may still be growing"
    return [NotChecked("whether the file is still being written", why, "another scan in a minute")]


def text_mode(view: FileView, names: Sequence[Global]) -> Damage | None:
    """Whether the beginning of an unreadable binary file was treated as text. `names`: what its pickles mention.

    A checkpoint may contain any text. Only what text cannot explain counts: lines of the pickle itself that end in a
    carriage return, no carriage return among many random bytes, and numbers that are valid UTF-8 throughout.
    """
    data = view.read_at(0, _SAMPLE)
    feeds, pairs = data.count(b"\n"), data.count(b"\r\n")
    if not any(byte in data for byte in (b"\x00", b"\x80", b"\x02")):
        return None
    found = ""
    if feeds >= 4 and pairs == feeds and (not names or any("\r" in str(name) for name in names)):
        found = "every line feed has a carriage return before it: LF was translated to CRLF"
    elif b"\r" not in data and min(map(data.count, (b"\n", b"\x0b", b"\x0c", b"\x0e"))) >= 25:
        found = "there is not one carriage return among many line feeds: CRLF was translated to LF"
    elif data.count(b"\xef\xbf\xbd") >= max(8, len(data) // 200) and _is_utf8(data):
        found = "it is full of U+FFFD: it was decoded as text and saved as UTF-8"
    if not found:
        return None
    message = f"{found} (git without a binary attribute, FTP in text mode, an editor); only a fresh copy can fix it"
    return Damage("text-mode-damage", message)


def _is_utf8(data: bytes) -> bool:
    try:
        getincrementaldecoder("utf-8")().decode(data)  # which leaves a character that the sample cuts
    except UnicodeDecodeError:
        return False
    return True


def wrong_byte_order(view: FileView, tensors: Sequence[TensorInfo], declared: str | None) -> Damage | None:
    """Whether a few weights make sense only in the other byte order than the one `torch.load` will take.

    Looks at the first numbers of some float32 or float64 tensors: trained weights lie between 1e-12 and 1e6 in size,
    and with swapped bytes three of four don't.
    """
    order, other_order = (">", "<") if declared == "big" else ("<", ">")
    sensible = total = looked = 0
    samples: list[tuple[str, bytes]] = []
    for tensor in tensors:
        code, size = _CODES.get(tensor.dtype, ("", 1))
        offset, count = tensor.storage.offset, min(tensor.nbytes // size, 64)
        if not code or offset is None or count == 0 or tensor.storage_offset:
            continue
        raw = view.read_at(offset, min(count * size, tensor.storage.nbytes))
        count = len(raw) // size
        samples.append((f"{count}{code}", raw[: count * size]))
        numbers = struct.unpack(f"{order}{count}{code}", raw[: count * size])
        total += count - numbers.count(0)
        sensible += sum(1e-12 < abs(number) < 1e6 for number in numbers)
        looked += 1
        if looked == 8 or total >= 256 or sensible == total >= 16:  # with swapped bytes once in 4 billion files
            break
    if total < 8 or sensible > total * 0.5:  # as in nearly every file
        return None
    both = ((struct.unpack(order + form, raw), struct.unpack(other_order + form, raw)) for form, raw in samples)
    pairs = (pair for values in both for pair in zip(*values, strict=True))
    if sum(1e-12 < abs(other) < 1e6 for value, other in pairs if value != 0) < total * 0.95:
        return None
    other_name = "little" if order == ">" else "big"
    said = (
        f"the byteorder record says {declared}"
        if declared
        else "there is no byteorder record, so torch.load takes little"
    )
    message = f"{said}, but the weights make sense only as {other_name}-endian: torch.load silently loads garbage"
    return Damage("byte-order-suspect", message, "byteorder", declared, other_name)
