"""What goes wrong between here and a server, as an `OSError` whose sentence has no credentials in it.

The one place that knows other libraries' exceptions: those of aiohttp and botocore are no `OSError`s.
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

ATTEMPTS = 4
"""Times that a request is made whose connection breaks."""
PAUSE = 0.2
"""Seconds before the second attempt; doubled before each further one."""
PATIENCE = 30.0
"""Seconds after which a request is not made again."""
_BUSY = 5
"""Pauses are longer by this factor where the server has too much to do."""
_ANY_URL = r"(?i)\b[a-z][a-z0-9+.-]+://[^\s'\"<>)]+"
_LONGEST = 200
SILENT = "the server is silent or too slow, or there is no way to it"
UNREACHABLE = "the server cannot be reached"
OUT_OF_REACH = frozenset({SILENT, UNREACHABLE})
"""What goes for whatever a server may be asked for."""
_UNREACHABLE = frozenset({"ClientConnectorError", "EndpointConnectionError", "ConnectError", "ConnectionRefusedError"})
_INSECURE = frozenset({"ClientSSLError", "SSLError"})
_BROKEN = frozenset(
    {
        *("ClientPayloadError", "ClientConnectionError", "ServerDisconnectedError", "ClientOSError"),
        *("TimeoutError", "ServerTimeoutError", "ReadTimeoutError", "ConnectionClosedError"),
        *("HTTPClientError", "IncompleteReadError", "IncompleteRead", "ResponseStreamingError", "ConnectionError"),
        *("ConnectionResetError", "ChunkedEncodingError", "TransportError", "BrokenPipeError"),
    }
)
_WITHOUT_CREDENTIALS = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"),
        *("DefaultCredentialsError", "RefreshError", "GatedRepoError", "LocalTokenNotFoundError"),
    }
)
_ABSENT = frozenset({"RepositoryNotFoundError", "EntryNotFoundError", "RevisionNotFoundError", "NoSuchBucket"})
CREDENTIALS = "access is refused: the credentials are those that fsspec finds (environment, configuration files)"
_OF_A_URL = "access is refused: the URL's signature or password is wrong or has expired; get a new URL"
_OF_NO_URL = "access is refused: give a URL with a signature, or with name and password, or download a copy"
_LOGINS = {
    "s3": "set AWS_PROFILE, or run `aws configure`",
    "gs": "run `gcloud auth application-default login`",
    "gcs": "run `gcloud auth application-default login`",
    "hf": "run `hf auth login`, and accept the repository's terms",
}
"""Scheme -> what gives credentials to those who have none."""
_LONGEST_PAUSE = 10.0
"""Seconds that a server is given which asks for a pause."""


class RemoteError(OSError):
    """A server cannot give what was asked for. `again`: another attempt may help."""

    def __init__(self, sentence: str, path: object = None, *, again: bool = False) -> None:
        super().__init__(errno.EIO, sentence, None if path is None else str(path))
        self.again = again

    def __reduce__(self) -> tuple[Any, ...]:  # from a worker process; OSError's own way loses the arguments
        return RemoteError, (self.strerror, self.filename), {"again": self.again}


class Replaced(RemoteError):
    """Another object has come in the place of the one that was read."""

    def __init__(self, path: object = None) -> None:
        super().__init__("was replaced while it was read: run it again", path)

    def __reduce__(self) -> tuple[Any, ...]:
        return Replaced, (self.filename,)


def trying(path: object, request: Callable[[], T]) -> T:
    """The answer to a request, which is made again where the connection breaks. Raises `OSError`."""
    pause, began = 0.0, time.monotonic()
    for attempt in range(ATTEMPTS):
        time.sleep(pause)
        try:
            return request()
        except Exception as error:  # of whichever library: what it means is decided in one place
            fault = translated(error, path)
            is_late, may_help = time.monotonic() - began > PATIENCE, getattr(fault, "again", False)
            if may_help and is_late and "Timeout" in type(error).__name__:
                raise RemoteError(SILENT, path) from None
            if attempt == ATTEMPTS - 1 or is_late or not may_help:
                raise fault from None  # its own text may have a signed URL
            pause = max(PAUSE * 2**attempt * (_BUSY if _status(error) in (429, 503) else 1), _asked_for(error))
    raise AssertionError("unreachable")


def _status(error: Exception) -> object:
    """The status of the answer that made an exception, where its library says it."""
    if isinstance(error, OSError) and str(error).startswith("Forbidden"):  # gcsfs/retry.py, `validate_response`
        return 403
    if type(error).__name__ == "HttpError":
        return getattr(error, "code", None)
    of_botocore = getattr(error.__cause__, "response", None)
    if isinstance(of_botocore, dict):  # s3fs says it in other words
        return of_botocore.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)


def _asked_for(error: Exception) -> float:
    """Seconds after which a server that has too much to do wants to be asked again (`Retry-After`)."""
    said = (getattr(error, "headers", None) or {}).get("Retry-After", "")
    return min(float(said), _LONGEST_PAUSE) if said.isdecimal() else 0.0


def _refused(path: object) -> str:
    """What to do where access is refused: on the web credentials are in the URL, elsewhere fsspec finds them."""
    scheme = getattr(path, "scheme", "")
    if scheme not in ("http", "https"):
        return f"{CREDENTIALS}; {_LOGINS[scheme]}" if scheme in _LOGINS else CREDENTIALS
    return _OF_NO_URL if getattr(path, "given", "") == str(path) else _OF_A_URL


def translated(error: Exception, path: object) -> OSError:
    """The same fault in a sentence of ours."""
    names = {kind.__name__ for kind in type(error).__mro__}
    status = _status(error)
    if isinstance(error, Replaced) or "FileExpired" in names or status == 412:
        return Replaced(path)
    if isinstance(error, RemoteError):
        return RemoteError(error.strerror or "", path, again=error.again)
    if isinstance(error, FileNotFoundError) or names & _ABSENT or status in (404, 410):
        return FileNotFoundError(errno.ENOENT, "nothing is there", str(path))
    if isinstance(error, PermissionError) or names & _WITHOUT_CREDENTIALS or status in (401, 403):
        return PermissionError(errno.EACCES, _refused(path), str(path))
    if "FSTimeoutError" in names:
        return RemoteError(SILENT, path)
    if names & _INSECURE:
        return RemoteError("no secure connection: the server's certificate is not accepted, or it has none", path)
    if names & _UNREACHABLE:
        return RemoteError(UNREACHABLE, path, again=True)
    if names & _BROKEN:
        return RemoteError("the connection broke off, again and again", path, again=True)
    if isinstance(status, int) and (status == 429 or status >= 500):
        later = f"the server answers with status {status}, again and again: run it again later"
        return RemoteError(later, path, again=True)
    if "TooManyRedirects" in names:
        return RemoteError("the server redirects again and again", path)
    if any("UrlRedirect" in name for name in names):
        return RemoteError("the server redirects to an address that is neither http nor https", path)
    told = _brief(error, getattr(path, "given", ""))
    of_yarl = type(error) is ValueError and getattr(path, "scheme", "") in ("http", "https")
    if of_yarl or names & {"InvalidURL", "ParamValidationError"}:  # before a server is asked
        return RemoteError(f"nothing can be asked for with this URL ({told})", path)
    return RemoteError(f"the server gives no answer that can be used ({type(error).__name__}: {told})", path)


def _brief(error: Exception, given: str) -> str:
    """What an exception says, without URLs, and without what nobody may read of the URL that was given."""
    first = str(error).split(r"\n", 1)[0]  # behind it aiohttp shows bytes
    place, _, query = given.partition("://")[2].partition("?")
    for secret in (place.partition("/")[0].rpartition("@")[0], query):
        first = first.replace(secret, "...") if secret else first
    told = " ".join(re.sub(_ANY_URL, "...", first).split())
    return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 3]}..."
