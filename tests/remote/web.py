"""A web server on loopback that counts what it is asked for and what it sends, and misbehaves when it is told to."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

PIECE = 1 << 16


class Content:
    """What a URL leads to: bytes, or a file, which may be sparse and of any size."""

    def __init__(self, source: bytes | Path) -> None:
        self.source = source
        self.size = len(source) if isinstance(source, bytes) else source.stat().st_size

    def read(self, start: int, end: int) -> bytes:
        """Some of it."""
        if isinstance(self.source, bytes):
            return self.source[start:end]
        with self.source.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


@dataclass
class Web:
    """The server, its objects by name, and what it saw."""

    url: str = ""
    objects: dict[str, Content] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Callable[[Handler, int, int], bool]] = field(default_factory=dict)
    """Name -> what answers a request for a range (start, end) in its own way; true where it did."""
    fallback: Callable[[Handler, int, int], bool] = lambda *_: False
    """What answers where nothing else is said."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Name and range of each request."""
    sent: int = 0

    def put(self, name: str, source: bytes | Path) -> str:
        """Serve an object; its URL."""
        self.objects[name] = Content(source)
        return f"{self.url}/{name}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The whole, or a range of it."""
        web: Web = self.server.web
        name = self.path.partition("?")[0].strip("/")
        said = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        web.asked.append((name, self.headers.get("Range", "")))
        content = web.objects.get(name)
        size = 0 if content is None else content.size
        start, end = (int(said[1]), min(int(said[2]) + 1, size)) if said else (0, size)
        with suppress(ConnectionError):
            if web.faults.get(name, web.fallback)(self, start, end):
                return
            if content is None:
                self.answer(404, b"nothing here")
            elif said and start >= size:
                self.answer(416, b"", **{"Content-Range": f"bytes */{size}"})
            elif said:
                self.part(content.read(start, end), start, end, size)
            else:
                self.answer(200, content.read(start, end))

    def part(self, body: bytes, start: int, end: int, size: int) -> None:
        """A range as it is asked for."""
        self.answer(206, body, **{"Content-Range": f"bytes {start}-{end - 1}/{size}"})

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        """Send an answer; `length`: what it says of its length."""
        tag = self.server.web.tags.get(self.path.partition("?")[0].strip("/"), '"one"')
        self.send_response(status)
        for key, value in {
            "ETag": tag,
            "Content-Length": str(len(body) if length is None else length),
            **headers,
        }.items():
            self.send_header(key, value)
        self.end_headers()
        for at in range(0, len(body), PIECE):
            self.server.web.sent += len(body[at : at + PIECE])
            self.wfile.write(body[at : at + PIECE])
        if length is not None:
            self.close_connection = True

    def drip(self) -> None:
        """A body that never ends, a byte at a time."""
        self.send_response(206)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b".")
                time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@contextmanager
def serving() -> Iterator[Web]:
    """A server on a free port of loopback."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that hangs up is what some tests want
    server.daemon_threads = True
    server.web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
