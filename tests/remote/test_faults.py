"""Faults of other libraries in sentences of ours."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from ckpt_doctor.remote import RemoteError, Replaced, as_path, faults
from ckpt_doctor.remote.faults import ATTEMPTS, translated, trying

SIGNED = "https://host/model.pt?sig=hunter2"


def named(name: str, *bases: type[Exception], said: str = f"400, message='x', url='{SIGNED}'") -> Exception:
    """An exception of some library, by its name."""
    kind: Any = type(name, bases or (Exception,), {})
    made: Exception = kind(said)
    return made


@pytest.mark.parametrize(
    ("error", "kind", "again"),
    [
        (named("ClientPayloadError"), RemoteError, True),
        (named("HTTPClientError"), RemoteError, True),
        (named("ClientConnectorError"), RemoteError, True),
        (named("ClientConnectorCertificateError", type(named("ClientSSLError"))), RemoteError, False),
        (named("FSTimeoutError"), RemoteError, False),
        (named("NoCredentialsError"), PermissionError, False),
        (named("RepositoryNotFoundError"), FileNotFoundError, False),
        (named("FileExpired", OSError), Replaced, False),
        (named("Whatever"), RemoteError, False),
        (PermissionError(13, SIGNED), PermissionError, False),
        (FileNotFoundError(SIGNED), FileNotFoundError, False),
    ],
)
def test_an_exception_becomes_an_oserror_without_its_url(error: Exception, kind: type[OSError], again: bool) -> None:
    fault = translated(error, "https://host/model.pt")
    assert (kind, again) == (type(fault), getattr(fault, "again", False))
    assert "hunter2" not in f"{fault} {fault.strerror}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("s3://me:hunter2@bucket/x.pt", 'Invalid bucket name "me:hunter2@bucket"'),
        ("https://host/x.pt?key=hunter2", "'/x.pt?key=hunter2' cannot be sent"),
    ],
)
def test_what_a_library_says_of_a_url_has_no_credentials(given: str, said: str) -> None:
    for error in (ValueError(said), named("ParamValidationError", said=said)):
        fault = translated(error, as_path(given))
        assert ("hunter2" in f"{fault}", "..." in f"{fault}") == (False, True)


def test_only_what_may_pass_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "PAUSE", 0.0)
    calls: list[int] = []

    def failing(name: str) -> Any:
        def request() -> None:
            calls.append(1)
            raise named(name)

        return request

    for name, count in (("ClientPayloadError", ATTEMPTS), ("NoCredentialsError", 1)):
        calls.clear()
        with pytest.raises(OSError) as raised:
            trying("s3://bucket/x", failing(name))
        assert (count, None) == (len(calls), raised.value.__cause__)


@pytest.mark.parametrize("error", [RemoteError("gone", "s3://bucket/x", again=True), Replaced("s3://bucket/x")])
def test_a_fault_comes_back_from_another_process(error: RemoteError) -> None:
    """What a worker raises and its parent cannot make again breaks the whole pool."""
    back = pickle.loads(pickle.dumps(error))
    assert (type(error), str(error), error.again) == (type(back), str(back), back.again)


def test_a_store_that_has_too_much_to_do_is_given_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """s3fs says that in words of the system, and has the answer as its cause."""
    pauses: list[float] = []
    monkeypatch.setattr(faults.time, "sleep", pauses.append)

    def answer(status: int) -> Any:
        def request() -> None:
            cause: Any = ValueError()
            cause.response = {"ResponseMetadata": {"HTTPStatusCode": status}}
            raise OSError(16, "Please reduce your request rate") from cause

        return request

    for status in (500, 503):
        with pytest.raises(RemoteError, match=f"status {status}"):
            trying("s3://bucket/x", answer(status))
    once = [0.0, *(faults.PAUSE * 2**n for n in range(ATTEMPTS - 1))]
    assert [*once, *(faults._BUSY * pause for pause in once)] == pauses


def test_a_request_that_waits_in_vain_is_not_made_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "PATIENCE", -1.0)
    with pytest.raises(RemoteError, match="silent or too slow"):
        trying("s3://bucket/x", lambda: (_ for _ in ()).throw(named("ReadTimeoutError")))
