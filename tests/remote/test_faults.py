"""Faults of other libraries in sentences of ours."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from ckpt_doctor.remote import RemoteError, Replaced, faults
from ckpt_doctor.remote.faults import ATTEMPTS, translated, trying

SIGNED = "https://host/model.pt?sig=hunter2"


def named(name: str, *bases: type[Exception]) -> Exception:
    """An exception of some library, by its name."""
    kind: Any = type(name, bases or (Exception,), {})
    made: Exception = kind(f"400, message='x', url='{SIGNED}'")
    return made


@pytest.mark.parametrize(
    ("error", "kind", "again"),
    [
        (named("ClientPayloadError"), RemoteError, True),
        (named("HTTPClientError"), RemoteError, True),
        (named("ClientConnectorError"), RemoteError, True),
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
