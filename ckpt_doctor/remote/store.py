"""A store that fsspec reaches: what is known to lie in it, each folder listed once, and ranges of its objects."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from io import RawIOBase
from threading import Lock
from typing import Any, Protocol, TypeVar, cast

from ckpt_doctor.errors import UsageError, absent
from ckpt_doctor.remote import s3
from ckpt_doctor.remote.entries import Blocks, Entry, described, seconds
from ckpt_doctor.remote.faults import OUT_OF_REACH, PATIENCE, RemoteError, Replaced, trying
from ckpt_doctor.remote.http import LONGEST, Answer, get_range
from ckpt_doctor.remote.systems import GOOGLE, S3, WEB, asking, bounded, file_system
from ckpt_doctor.remote.traffic import METER
from ckpt_doctor.threads import in_threads

T = TypeVar("T")
FIRST = 1 << 16
"""Bytes of an object that the first look at a web server brings."""
_MOST_AT_ONCE = 8
_LEFT, _MOST_LEFT = 1 << 18, 64
"""Bytes of an object that are kept for the next look at it, and of how many objects."""
_LARGE = 1 << 20
"""Bytes of a range that a slow line may take long to bring."""
_PAGE = 1_000
"""Objects that a listing gives for one request (ListObjectsV2 of S3, objects.list of Google)."""
_VERSION = "?versionId="
_NO_PARTS = frozenset({"", ".", ".."})
"""What may lie between two slashes of an object's name, and not of a path."""
Range = tuple[int, int]
"""First byte, and the one behind the last."""


class Place(Protocol):
    """A URL, as `path.RemotePath` is one."""

    @property
    def name(self) -> str:
        """Its last part."""

    @property
    def parent(self) -> Place:
        """The folder around it."""

    @property
    def scheme(self) -> str:
        """Empty above the root of a store."""

    @property
    def given(self) -> str:
        """The text that a server is asked with."""


class Store:
    """Everything that URLs of one scheme lead to."""

    def __init__(self, scheme: str, fs: Any) -> None:
        self.scheme = scheme
        self.fs = fs
        self.is_web = scheme in WEB
        """Whether there are no listings: a web server shows what it is asked for by name."""
        self.entries: dict[str, Entry] = {}
        self.folders: dict[str, dict[str, Entry]] = {}
        self.blocks: OrderedDict[str, Blocks] = OrderedDict()
        """Of the objects that were read last."""
        self.unnamed: list[str] = []
        """Objects that no path leads to."""
        self._is_async = getattr(fs, "async_impl", False)
        self._has_ranges = _has_ranges(fs)
        self._lock = Lock()
        self._gone: dict[str, str] = {}

    # --- what is there -----------------------------------------------------------------------------------------------

    def name(self, path: Place) -> str:
        """The path as fsspec names it."""
        return str(self.fs._strip_protocol(path.given)).rstrip("/")

    def look(self, path: Place) -> Entry:
        """What is at a path. Raises `OSError`: nothing is there, it may not be read, the server is gone."""
        known = self.known(path)
        if known is not None:
            return known
        if not self.is_web and str(path.parent) in self.folders:
            raise FileNotFoundError(2, "nothing is there", str(path))
        return self.ask(path)

    def ask(self, path: Place) -> Entry:
        """What is at a path now, by a request of its own."""
        if self.is_web:
            found = self._of_web(path)
        else:
            found = Entry(path.name, is_folder=True) if self._is_said_folder(path) else self._of_info(path)
        self.entries[str(path)] = found
        return found

    def _is_said_folder(self, path: Place) -> bool:
        """Whether a URL ends with a slash, and objects lie below it: one may have the name without the slash."""
        if path.given.endswith("/"):
            with suppress(FileNotFoundError):
                self.take_in(path)
        return path.given.endswith("/") and bool(self.folders.get(str(path)))

    def known(self, path: Place) -> Entry | None:
        """What is at a path, by what was asked for or listed, or by a listing of its folder; None for nothing."""
        found = self.entries.get(str(path))
        if found is not None or self.is_web:
            return found
        parent = path.parent
        here = self.folders.get(str(parent), {}).get(path.name)
        if here is not None and not here.is_folder:  # below which there may be others: a key may end where one goes on
            return here
        if self.folders.get(str(path)) or not parent.scheme:
            return Entry(path.name, is_folder=True) if str(path) in self.folders else None
        try:
            return self._listing(parent).get(path.name)
        except OSError:  # which may be read without being listed
            return None

    def listed(self, path: Place) -> list[Entry]:
        """What lies in a folder, by name. Raises `OSError`."""
        return [found for _, found in sorted(self._listing(path).items())]

    def _listing(self, path: Place) -> dict[str, Entry]:
        key = str(path)
        if key not in self.folders:
            if self.is_web:
                return {other.name: other for at, other in self.entries.items() if at.rpartition("/")[0] == key}
            above = self.folders.get(str(path.parent))
            if above is not None and not (path.name in above and above[path.name].is_folder):
                raise FileNotFoundError(2, "nothing is there", key)
            self.folders[key] = {}  # asked once, whatever comes of it
            self.folders[key] = self._ls(path)
        return self.folders[key]

    def _ls(self, path: Place) -> dict[str, Entry]:
        found = self._listing_by(path, self.fs.ls)
        METER.add(1 + len(found) // _PAGE)
        entries = (described(info) for info in found if str(info["name"]).strip("/") != self.name(path).strip("/"))
        return {entry.name: entry for entry in entries if entry.name}

    def take_in(self, path: Place) -> None:
        """List all that lies below a folder at once."""
        if self.is_web or str(path) in self.folders:
            return
        name = self.name(path)
        found: dict[str, Any] = self._listing_by(path, self.fs.find)
        METER.add(1 + len(found) // _PAGE)
        self.folders[str(path)] = {}
        for at, info in found.items():
            inside = at.lstrip("/")[len(name.strip("/")) :]
            if not inside or (inside.endswith("/") and not info.get("size")):  # which marks a folder
                continue
            inside = inside.removeprefix("/")
            if _NO_PARTS.isdisjoint(inside.split("/")):
                self._place(path, inside, info)
            else:
                self.unnamed.append(f"{path}/{inside}")

    def _listing_by(self, path: Place, call: Callable[..., Any]) -> Any:
        """What a function of the file system lists, which has its own limits of time where it is asynchronous."""
        ask = partial(call, self.name(path), detail=True)
        return self._trying(path, ask if self._is_async else partial(bounded, LONGEST, ask))

    def _place(self, top: Place, inside: str, info: Mapping[str, Any]) -> None:
        folder, *more = (str(top), *inside.split("/"))
        for name in more[:-1]:
            if name not in self.folders[folder] or not self.folders[folder][name].size:  # an empty one marks a folder
                self.folders[folder][name] = Entry(name, is_folder=True)
            folder = f"{folder}/{name}"
            self.folders.setdefault(folder, {})
        self.folders[folder][more[-1]] = described(info)

    def _of_info(self, path: Place, by: str = "") -> Entry:
        """What is at a path. `by`: what asks for an object, where the general function asks for a folder, too."""
        both = self.scheme in GOOGLE and not by
        METER.add(1 + both)

        def info() -> Mapping[str, Any]:
            name = self.name(path)
            if _VERSION in name and not getattr(self.fs, "version_aware", True):
                raise RemoteError("fsspec gives an object's current version in the place of this one: copy it first")
            self.fs.invalidate_cache(name)
            return self._info(name, by)

        entry = described(self._trying(path, info), path.name)
        METER.add(entry.is_folder and not both)  # a store has no folders: a listing shows that there is something below
        return entry

    def _info(self, name: str, by: str = "") -> Mapping[str, Any]:
        """What the file system says of a name, within a time: without a network some wait for minutes."""
        call = getattr(self.fs, by, None) or (self.fs._info if self._is_async else self.fs.info)
        return cast("Mapping[str, Any]", self._within(PATIENCE, call, name))

    def _within(self, seconds: float, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
        if not self._is_async:
            return bounded(seconds, partial(call, *given, **named))
        from fsspec.asyn import sync

        return sync(self.fs.loop, call, *given, timeout=seconds, **named)

    def _of_web(self, path: Place) -> Entry:
        answer = self._web_range(path, 0, FIRST)
        entry = Entry(path.name, size=answer.size, tag=answer.tag, mtime=seconds(answer.changed))
        self.leave(path, Blocks(entry.identity, False, 1, 0, [0], [answer.body]))
        return entry

    # --- ranges ------------------------------------------------------------------------------------------------------

    def read(self, path: Place, entry: Entry, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of ranges of one object, several at a time. Raises `OSError` where any is not whole."""

        def one(wanted: Range) -> bytes:
            return self._range(path, entry, *wanted)

        return in_threads(one, ranges, _MOST_AT_ONCE)

    def take(self, path: Place, entry: Entry) -> Blocks:
        """What an earlier look at the same object left."""
        left = self.blocks.get(str(path))
        return left if left is not None and left.identity == entry.identity else Blocks(entry.identity)

    def leave(self, path: Place, blocks: Blocks) -> None:
        """Keep what was read of an object for the next look at it, where that is little."""
        if sum(map(len, blocks.raw)) <= _LEFT:
            with self._lock:
                self.blocks[str(path)] = blocks
                while len(self.blocks) > _MOST_LEFT:
                    self.blocks.popitem(last=False)

    def confirm(self, path: Place, entry: Entry) -> None:
        """Raise `RemoteError` where another object has come in the place of one whose ranges were read.

        Web servers and S3 say so with each range.
        """
        if self.is_web or "ETag" in entry.info:
            return
        now = self._of_info(path, "_get_object" if self.scheme in GOOGLE else "")
        if (now.size, now.tag, now.mtime) != (entry.size, entry.tag, entry.mtime):
            raise Replaced(path)

    def _range(self, path: Place, entry: Entry, start: int, end: int) -> bytes:
        if self.is_web:
            answer = self._web_range(path, start, end - start)
            if (answer.size, answer.tag) != (entry.size, entry.tag):
                raise Replaced(path)
            return answer.body

        def fetch() -> bytes:
            METER.add(1)
            raw = self._fetch(path, entry, start, end)
            METER.add(0, len(raw))
            if len(raw) != end - start:
                raise RemoteError(f"the store gives {len(raw):,} bytes instead of {end - start:,}", again=True)
            return raw

        return self._trying(path, fetch)

    def _trying(self, path: Place, request: Callable[[], T]) -> T:
        """The answer to a request; at once none where the object, or any of its server, could not be had before."""
        server = path.given.split("/")[2] if self.is_web else ""
        for key in (server, str(path)):
            if key in self._gone:
                raise RemoteError(self._gone[key], path)
        try:
            with asking():
                return trying(path, request)
        except Replaced:
            raise
        except RemoteError as error:
            self._gone[server if error.strerror in OUT_OF_REACH else str(path)] = str(error.strerror)
            raise

    def _fetch(self, path: Place, entry: Entry, start: int, end: int) -> bytes:
        name = self.name(path)
        seconds = LONGEST if end - start > _LARGE else PATIENCE
        if self.scheme in S3 and "ETag" in entry.info:
            return bytes(self._within(seconds, s3.get_range, self.fs, name, entry, start, end))
        if self._is_async or self._has_ranges:
            call = self.fs._cat_file if self._is_async else self.fs.cat_file
            return bytes(self._within(seconds, call, name, start=start, end=end))
        return bytes(self._within(seconds, self._of_opened, name, entry.size, start, end))

    def _of_opened(self, name: str, size: int, start: int, end: int) -> bytes:
        with self.fs.open(name, "rb", cache_type="none", size=size) as file:  # `cat_file` would read whole blocks
            file.seek(start)
            return bytes(file.read(end - start))

    def _web_range(self, path: Place, start: int, count: int) -> Answer:
        def fetch() -> Answer:
            METER.add(1)
            answer = get_range(self.fs, path.given, start, count)
            METER.add(0, len(answer.body))
            return answer

        return self._trying(path, fetch)


class ObjectStream(RawIOBase):
    """An object from its beginning to its end."""

    def __init__(self, path: Place) -> None:
        self.path, self.store, self.at = path, store_of(path), 0
        self.found = self.store.look(path)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes; 0 at the end."""
        count = min(len(buffer), self.found.size - self.at)
        if count <= 0:
            return 0
        here = self.store.take(self.path, self.found).around(self.at)
        if here is not None:
            raw = here[1][self.at - here[0] :][:count]
        else:
            [raw] = self.store.read(self.path, self.found, [(self.at, self.at + count)])
        buffer[: len(raw)] = raw
        self.at += len(raw)
        return len(raw)


_STORES: dict[str, Store] = {}


def store_of(path: Place) -> Store:
    """The store of a URL, made when it is first asked for. Raises `UsageError` where its library is not installed."""
    scheme = path.scheme
    if scheme not in _STORES:
        _STORES[scheme] = Store(scheme, file_system(scheme, path))
    return _STORES[scheme]


def _has_ranges(fs: Any) -> bool:
    """Whether a file system has its own way to read a range; fsspec's opens the file and reads whole blocks of it."""
    from fsspec import AbstractFileSystem

    return type(fs).cat_file is not AbstractFileSystem.cat_file


def forget(scheme: str | None = None) -> None:
    """Drop what is known of a store, or of all: the next look asks the server, with the credentials of then."""
    for known in [scheme] if scheme is not None else [*_STORES]:
        _STORES.pop(known, None)


def left_out() -> str:
    """What listings have shown and nobody has looked at, in a sentence; empty where nothing."""
    unnamed = [name for store in _STORES.values() for name in store.unnamed]
    if not unnamed:
        return ""
    some, more = ("1 object was", "") if len(unnamed) == 1 else (f"{len(unnamed):,} objects were", ", ...")
    return (
        f"{some} not looked at, because of a slash at the end of the name, two in a row, or a dot between two: "
        f"{unnamed[0]}{more}"
    )


def named(paths: Iterable[Place]) -> None:
    """Ask for URLs that a person named, and for all below those that are folders.

    Raises:
        UsageError: nothing is there, it may not be read, or the server cannot give parts of it.
    """
    for path in paths:
        store = store_of(path)
        try:
            if (store.entries.get(str(path)) or store.ask(path)).is_folder:
                store.take_in(path)
        except FileNotFoundError:
            raise absent(path) from None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
