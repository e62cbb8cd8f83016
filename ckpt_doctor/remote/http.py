"""Ranges over HTTP, through fsspec's session. fsspec itself downloads the whole body from a server without ranges, and
takes the length that a server gives for true."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ckpt_doctor.remote.faults import RemoteError

SILENCE = 30.0
"""Seconds without a byte after which a server counts as gone."""
LONGEST = 180.0
"""Seconds that one range may take in all."""
A_COPY = "download a copy, and give its path"
WITHOUT_RANGES = f"the server gives whole files only, and no parts of them: {A_COPY}"
A_PAGE = "the server sends a web page, as of a login, in the place of the file: give the file's own URL"
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)")
_AS_THEY_ARE = frozenset({"", "identity", "aws-chunked"})
"""Encodings of bytes that are sent as they are; the last is left by a way of uploading to S3."""


class Answer(NamedTuple):
    """A part of an object, and what the server says of the whole."""

    body: bytes
    size: int
    tag: str
    """ETag, else time of the last change; empty where the server gives neither."""
    changed: str
    """Time of the last change, as HTTP writes it."""


def get_range(fs: Any, url: str, start: int, count: int) -> Answer:
    """Up to `count` bytes from `start`. Raises exceptions of aiohttp, and `RemoteError` for an answer that is wrong."""
    from fsspec.asyn import sync

    answer: Answer = sync(fs.loop, _get_range, fs, url, start, count)
    return answer


async def _get_range(fs: Any, url: str, start: int, count: int) -> Answer:
    import aiohttp
    import yarl

    options = dict(fs.kwargs)
    asked = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
    headers = {**options.pop("headers", {}), **asked}
    times = aiohttp.ClientTimeout(total=LONGEST, sock_connect=SILENCE, sock_read=SILENCE)
    session = await fs.set_session()
    target = yarl.URL(url, encoded=True) if "%" in url else fs.encode_url(url)  # a signature holds for its spelling
    async with session.get(target, headers=headers, timeout=times, **options) as response:
        if response.status not in (200, 206, 416):
            response.raise_for_status()
            raise RemoteError(f"the server answers with status {response.status}")
        size, length = _told(response, start, count)
        body = await _read(response, length)
        changed = response.headers.get("Last-Modified", "")
        tag = response.headers.get("ETag", "").removeprefix("W/") or changed  # a proxy may make a tag a weak one
        return Answer(body, size, tag, changed)


def _told(response: Any, start: int, count: int) -> tuple[int, int]:
    """Size of the whole object, and how many bytes are to come; `RemoteError` for an answer to another question."""
    said = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status == 416:
        if said is None or said[3] == "*":
            raise RemoteError("the server has no such part of the file, and does not say how long it is")
        size = int(said[3])
        if start < size:
            raise RemoteError("the server says that the file ends before its own end")
        return size, 0
    if response.headers.get("Content-Encoding", "").lower() not in _AS_THEY_ARE:
        raise RemoteError(f"the server compresses the file, so that parts of it tell nothing: {A_COPY}")
    declared = response.headers.get("Content-Length", "")
    if response.status == 200:  # it takes no notice of ranges, or gives a small file as it is
        if start or not declared.isdigit() or int(declared) > count:
            is_page = response.content_type == "text/html"
            raise RemoteError(A_PAGE if is_page else WITHOUT_RANGES)
        return int(declared), int(declared)
    if said is None or said[1] is None or said[3] == "*":
        raise RemoteError("the server does not say which part of the file it gives")
    first, last, size = int(said[1]), int(said[2]), int(said[3])
    if (
        first != start
        or last != min(start + count, size) - 1
        or (declared.isdigit() and int(declared) != last - first + 1)
    ):
        raise RemoteError("the server gives another part of the file than it was asked for")
    return size, last - first + 1


async def _read(response: Any, length: int) -> bytes:
    """The body; never more of it than was announced and one byte."""
    parts, left = [], length + 1
    while left > 0 and (part := await response.content.read(left)):
        parts.append(part)
        left -= len(part)
    body = b"".join(parts)
    if len(body) > length:
        raise RemoteError("the server gives more bytes than it announces")
    if len(body) < length:
        raise RemoteError("the server gives fewer bytes than it announces", again=True)
    return body
