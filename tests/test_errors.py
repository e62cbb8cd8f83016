"""What ckpt-doctor raises on purpose: one family, each message a line that a user can act on."""

from __future__ import annotations

import inspect
import os
import pickle
from pathlib import Path

import pytest

from ckpt_doctor import errors
from ckpt_doctor.errors import CkptDoctorError, ResumeError, Unsupported, UsageError, WriteRefused


def test_one_handler_catches_all_of_them_and_each_says_when_it_is_raised() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert all(issubclass(kind, CkptDoctorError) and kind.__doc__ for kind in kinds)
    assert not issubclass(CkptDoctorError, (OSError, ValueError))  # else a caller's own handlers would swallow them
    for kind in kinds:  # what a worker raises and its parent cannot make again breaks the whole pool
        back = pickle.loads(pickle.dumps(kind("why")))
        assert (kind, "why") == (type(back), str(back))


def test_a_write_that_failed_is_told_from_a_call_that_cannot_be() -> None:
    """Whoever writes catches `WriteRefused`: the path holds what it held."""
    refused = {"VerificationFailed", "EditRefused", "ForeignFile", "LockTimeout"}
    assert refused == {kind.__name__ for kind in WriteRefused.__subclasses__()}
    assert not issubclass(UsageError, WriteRefused)


def test_a_refused_resume_carries_its_plan() -> None:
    error = ResumeError("R506 rate-jump", plan := object())
    assert ("R506 rate-jump", plan) == (str(error), error.plan)
    assert ResumeError("damaged").plan is None


def test_an_absent_path_is_named() -> None:
    error = errors.absent(Path("runs/last.pt"))
    assert isinstance(error, UsageError) and "runs/last.pt does not exist" == str(error)


def test_a_system_without_positioned_reads_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    errors.ensure_supported()
    monkeypatch.delattr(os, "pread")
    with pytest.raises(Unsupported, match="WSL"):
        errors.ensure_supported()
