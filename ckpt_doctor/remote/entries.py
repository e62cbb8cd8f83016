"""What lies in a store, and what of it is here already."""

from __future__ import annotations

import stat
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from os import stat_result
from typing import Any

_TAGS = ("ETag", "etag", "md5Hash", "blob_id", "oid", "content_hash")
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
_SMALL = 1 << 17


@dataclass(frozen=True)
class Entry:
    """What lies at a URL."""

    name: str
    is_folder: bool = False
    size: int = 0
    tag: str = ""
    """ETag or another sign of the content; empty where the store gives none."""
    mtime: float = 0.0
    info: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """As the file system describes it."""

    @property
    def identity(self) -> int:
        """A number that another content of the same size does not have."""
        return int.from_bytes(sha256(f"{self.tag} {self.mtime}".encode("utf-8", "surrogateescape")).digest()[:7], "big")

    @property
    def status(self) -> stat_result:
        """As a file system would give it."""
        mode = stat.S_IFDIR | 0o755 if self.is_folder else stat.S_IFREG | 0o644
        whole = int(self.mtime)
        return stat_result((mode, self.identity, 0, 1, 0, 0, self.size, whole, whole, whole))

    def is_dir(self, **_: bool) -> bool:
        """As of `os.DirEntry`."""
        return self.is_folder

    def is_file(self, **_: bool) -> bool:
        """As of `os.DirEntry`."""
        return not self.is_folder

    def is_symlink(self) -> bool:
        """Never."""
        return False

    def stat(self, **_: bool) -> stat_result:
        """As of `os.DirEntry`."""
        return self.status


def described(info: Mapping[str, Any], name: str = "") -> Entry:
    """The entry of what a file system of fsspec describes, each in its own words."""
    name = name or str(info["name"]).rstrip("/").rpartition("/")[2]
    if info.get("type") == "directory":
        return Entry(name, is_folder=True)
    tag = next((str(info[key]) for key in _TAGS if info.get(key)), "")
    changed = next((info[key] for key in _TIMES if info.get(key)), None)
    if changed is None and info.get("last_commit") is not None:
        changed = getattr(info["last_commit"], "date", None)
    kept = {key: info[key] for key in ("name", "size", "ETag", "type") if key in info}  # of very many objects
    return Entry(name, False, max(0, int(info.get("size") or 0)), tag, seconds(changed), kept)


def seconds(time: object) -> float:
    """A time as seconds since 1970; 0 where there is none that can be read."""
    try:
        if isinstance(time, str):
            time = parsedate_to_datetime(time) if "," in time else datetime.fromisoformat(time.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    if isinstance(time, datetime):
        return time.timestamp()
    return float(time) if isinstance(time, (int, float)) else 0.0


@dataclass
class Blocks:
    """Bytes of an object that came: each block with its first byte, in order. Blocks do not overlap on purpose."""

    identity: int
    looked: bool = False
    """Whether its beginning and end are here."""
    requests: int = 0
    """That were made for its bytes."""
    compared: int = 0
    """Of them those after which it was still the same object."""
    starts: list[int] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def add(self, start: int, raw: bytes) -> None:
        """Take up bytes; next to a small block they become one with it, so that what lies across is found."""
        at = bisect_right(self.starts, start)
        if at and self.starts[at - 1] + len(self.raw[at - 1]) == start and len(self.raw[at - 1]) <= _SMALL:
            self.raw[at - 1] += raw
            return
        self.starts.insert(at, start)
        self.raw.insert(at, raw)

    def around(self, offset: int) -> tuple[int, bytes] | None:
        """The block that has a byte, with its first byte."""
        at = bisect_right(self.starts, offset) - 1
        if at < 0 or offset >= self.starts[at] + len(self.raw[at]):
            return None
        return self.starts[at], self.raw[at]
