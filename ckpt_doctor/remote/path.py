"""A URL as a `Path`: joined, compared and asked for its files as any other, from listings that are made once."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from io import BufferedReader, TextIOWrapper
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any

from ckpt_doctor.errors import UsageError
from ckpt_doctor.remote.traffic import METER

if TYPE_CHECKING:
    from ckpt_doctor.remote.entries import Entry
    from ckpt_doctor.remote.store import Store

_URL = r"(?is)(?P<scheme>[a-z][a-z0-9+.-]+)://(?P<rest>.*)"
_ONE_SLASH = r"(?i)\A([a-z][a-z0-9+.-]+:)/(?!/)"
_TWO = r"\1//"
_WITH_QUERY = frozenset({"http", "https"})
_LOCAL = frozenset({"file", "local"})
_FORMS = {
    **dict.fromkeys(("s3", "s3a", "gs", "gcs"), ("bucket", "BUCKET/KEY")),
    **dict.fromkeys(_WITH_QUERY, ("host", "HOST/FILE")),
    "hf": ("repository", "ORGANISATION/REPOSITORY/FILE"),
}
"""Scheme -> what a URL of it must name, and its form."""
_GIVEN: dict[str, str] = {}
"""URL as it is shown -> as it was given: with a name and password, or a signature, which nobody may read."""


def is_url(text: object) -> bool:
    """Whether a text, or a path, is a URL."""
    return isinstance(text, RemotePath) or (isinstance(text, str) and _match(text) is not None)


def as_path(given: Path | str) -> Path:
    """A path, or a text, as a path: a URL as a `RemotePath`, of which nothing is remembered from earlier calls."""
    path = _path(given)
    if path is not given and isinstance(path, RemotePath):
        if path.scheme not in _WITH_QUERY and "//" in path.given.partition("://")[2].strip("/"):
            raise UsageError(
                f"{path} was given with two slashes in a row: write one, or copy the object to a name without them"
            )
        METER.take()
        if stores := sys.modules.get(f"{__package__}.store"):
            stores.forget(path.scheme)
    return path


def _match(text: str) -> re.Match[str] | None:
    return re.match(_URL, text) if "://" in text else None  # most commands then compile no pattern


def _path(given: Path | str) -> Path:
    found = _match(given) if isinstance(given, str) else None
    if found is None:
        return given if isinstance(given, Path) else Path(given)
    scheme, rest = found["scheme"].lower(), found["rest"]
    if scheme in _LOCAL:
        return Path("/" + rest.lstrip("/"))
    shown = re.split("[?#]", rest, maxsplit=1)[0] if scheme in _WITH_QUERY else rest  # a key may have any letters
    host, slash, inside = shown.partition("/")
    if scheme in _FORMS and not (host.rpartition("@")[2] and (inside or scheme != "hf")):
        missing, form = _FORMS[scheme]
        raise UsageError(f"a URL without a {missing}: give {scheme}://{form}")
    named = scheme == "hf" and ":" not in host  # whose @ is that of a revision
    path = RemotePath(f"{scheme}://{host if named else host.rpartition('@')[2]}{slash}{inside}")
    if str(path) != f"{scheme}://{rest}":
        _GIVEN[str(path)] = f"{scheme}://{rest}"
    else:
        _GIVEN.pop(str(path), None)  # an earlier call gave more
    return path


def told_apart(path: Path, earlier: dict[str, str]) -> Path:
    """The path; UsageError where an earlier one of the same call is shown alike and leads elsewhere."""
    if isinstance(path, RemotePath) and earlier.setdefault(str(path), path.given) != path.given:
        raise UsageError(
            f"two URLs differ only in what is not shown of {path} (query, name, last slash): give one at a time"
        )
    return path


def local(output: Path | str) -> Path:
    """A path to write to; UsageError for a URL, also one that was made a `Path` and lost a slash."""
    text = str(output)
    if is_url(text) or (isinstance(output, Path) and re.match(_ONE_SLASH, text)):
        raise UsageError(
            f"{as_path(re.sub(_ONE_SLASH, _TWO, text))} is a URL, where nothing is ever written: give a path"
        )
    return Path(output)


def spelled(path: object) -> str:
    """A path as a command takes it: a URL with the slash at its end by which a folder was given, for an object may have
    the name without it."""
    is_folder = isinstance(path, RemotePath) and path.scheme not in _WITH_QUERY and path.given.endswith("/")
    return f"{path}/" if is_folder else str(path)


def fetching(path: RemotePath) -> str:
    """What fetches a copy of what is at a URL: a command where its scheme has a usual one."""
    url = shlex.quote(str(path))
    if path.scheme in ("s3", "s3a"):
        return f"aws s3 cp {url} ." if path.suffix else f"aws s3 cp --recursive {url} {shlex.quote(path.name)}"
    if path.scheme in ("gs", "gcs"):
        return f"gcloud storage cp {'' if path.suffix else '-r '}{url} ."
    if path.scheme in _WITH_QUERY:
        return f"curl -fLO {url}" if path.given == str(path) else "fetch it with curl -fLO and the whole URL"
    if path.scheme == "hf" and path.parts[1:2] != ("datasets",) and "@" not in str(path) and len(path.parts) > 3:
        return f"hf download {'/'.join(path.parts[1:3])} {shlex.quote('/'.join(path.parts[3:]))}"
    return "fetch a copy first"


class RemotePath(PosixPath):
    """A URL. Text and parts never have the credentials that were given with it.

    Asks the store, which answers from its listings; `OSError` where that cannot be reached.
    """

    def __str__(self) -> str:
        return re.sub(_ONE_SLASH, _TWO, super().__str__())

    def __reduce__(self) -> tuple[Callable[..., Path], tuple[str]]:
        return _path, (self.given,)

    @property
    def given(self) -> str:
        """The URL with whatever a server asks for; not to be shown."""
        return _GIVEN.get(text := str(self), text)

    @property
    def scheme(self) -> str:
        """`s3`; empty for a relative path and for what lies above the root of a store."""
        first = self.parts[:1]
        return first[0][:-1] if len(self.parts) > 1 and first[0].endswith(":") else ""

    @property
    def store(self) -> Store:
        """The store that the URL leads to."""
        from ckpt_doctor.remote.store import store_of  # fsspec is needed from here on

        return store_of(self)

    def entry(self) -> Entry | None:
        """What is known to be here: from what was named or listed; None where nothing is."""
        return self.store.known(self) if self.scheme else None

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Size, kind and time. Asks the server where no listing shows them."""
        if not self.scheme:
            raise FileNotFoundError(2, "not in a store", str(self))
        return self.store.look(self).status

    def lstat(self) -> os.stat_result:
        """As `stat`: a store has no links."""
        return self.stat()

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether something is here."""
        return self.entry() is not None

    def is_file(self, **_: bool) -> bool:
        """Whether an object is here."""
        entry = self.entry()
        return entry is not None and stat.S_ISREG(entry.status.st_mode)

    def is_dir(self, **_: bool) -> bool:
        """Whether objects have names below this one."""
        entry = self.entry()
        return entry is not None and stat.S_ISDIR(entry.status.st_mode)

    def is_symlink(self) -> bool:
        """Never."""
        return False

    def is_absolute(self) -> bool:
        """Whether it is a whole URL, not what is left of one below another."""
        return bool(self.scheme)

    def absolute(self) -> RemotePath:
        """Itself."""
        return self

    def resolve(self, strict: bool = False) -> RemotePath:
        """Itself."""
        return self

    def entries(self) -> list[Entry]:
        """What lies in a folder, in order."""
        return self.store.listed(self) if self.scheme else []

    def iterdir(self) -> Generator[RemotePath, None, None]:
        """The paths in a folder."""
        return (self / entry.name for entry in self.entries())

    def glob(self, pattern: str, **_: Any) -> Iterator[RemotePath]:  # type: ignore[override]
        """The paths in a folder whose names fit; none where there is no folder."""
        if not self.is_dir():
            return iter(())
        return (self / entry.name for entry in self.entries() if fnmatchcase(entry.name, pattern))

    def open(self, mode: str = "r", buffering: int = -1, encoding: str | None = None, *_: Any, **__: Any) -> Any:
        """The object as a stream, read in pieces."""
        from ckpt_doctor.remote.store import ObjectStream

        stream = BufferedReader(ObjectStream(self), 1 << 20)
        return stream if "b" in mode else TextIOWrapper(stream, encoding or "utf-8")


def entries_of(folder: Path) -> AbstractContextManager[Iterable[Any]]:
    """As `os.scandir`: what lies in a folder, each with `name`, `is_dir`, `is_file`, `is_symlink` and `stat`."""
    return nullcontext(folder.entries()) if isinstance(folder, RemotePath) else os.scandir(folder)


def walk(top: Path, onerror: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, top down."""
    return _walk(top, onerror) if isinstance(top, RemotePath) else os.walk(top, onerror=onerror)


def _walk(top: RemotePath, onerror: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
    rest = [top]
    while rest:
        folder = rest.pop()
        try:
            found = folder.entries()
        except OSError as error:
            onerror(error)
            continue
        known = folder.store.folders
        folders = [entry.name for entry in found if entry.is_dir() or f"{folder}/{entry.name}" in known]
        yield str(folder), folders, [entry.name for entry in found if not entry.is_dir()]
        rest += [folder / name for name in reversed(folders)]
