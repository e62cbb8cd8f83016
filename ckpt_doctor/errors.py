"""Every exception that ckpt-doctor raises on purpose. Damage in a file is not among them: it is data (`Damage`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class CkptDoctorError(Exception):
    """Base of all; its message is one line that a user can act on."""


class UsageError(CkptDoctorError):
    """The call asks for something that cannot be (a PATH that does not exist, options that exclude each other)."""


class Unsupported(CkptDoctorError):
    """This system lacks what reading a checkpoint needs."""


class WriteRefused(CkptDoctorError):
    """A write was not begun, or was taken back, and the path holds what it held before. The message says why."""


class VerificationFailed(WriteRefused):
    """The written copy is not what was planned; it was discarded."""


class EditRefused(WriteRefused):
    """A planned edit cannot be made to this file. The message says why."""


class ForeignFile(WriteRefused):
    """What has the name of a journal or of undo data is something else, or cannot be read."""


class LockTimeout(WriteRefused):
    """Another process is migrating, pruning or saving in the same run folder."""


class ResumeError(CkptDoctorError):
    """`check_resume(...).raise_for_errors()`: the message is the plan and the findings.

    `plan` is what the trainer would do (a `types.ResumePlan`), None when the file is too damaged to tell.
    """

    def __init__(self, message: str, plan: Any = None) -> None:
        super().__init__(message)
        self.plan = plan


def not_written(path: Path, what: str, instead: str) -> UsageError:
    """What to raise where something would write where the checkpoint is, which is behind a URL."""
    return UsageError(f"{path} is a URL, where nothing is ever written, and {what} writes there: {instead}")


def absent(path: object) -> UsageError:
    """What to raise where nothing is at a path."""
    return UsageError(f"{path} does not exist")


def ensure_supported() -> None:
    """Raise `Unsupported` where the system has no positioned reads (Windows)."""
    if not hasattr(os, "pread"):
        raise Unsupported("checkpoints are read on Linux and macOS; on Windows, run ckpt-doctor in WSL")
