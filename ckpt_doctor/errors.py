"""Every exception that ckpt-doctor raises on purpose. Damage in a file is not among them: it is data (`Damage`)."""

from __future__ import annotations

from typing import Any


class CkptDoctorError(Exception):
    """Base of all; its message is one line that a user can act on."""


class UsageError(CkptDoctorError):
    """The call asks for something that cannot be (a PATH that does not exist, options that exclude each other)."""


class WriteRefused(CkptDoctorError):
    """A write was not begun, or was taken back, and the path holds what it held before. The message says why."""


class VerificationFailed(WriteRefused):
    """The written copy is not what was planned; it was discarded."""


class EditRefused(WriteRefused):
    """A planned edit cannot be made to this file. The message says why."""


class LockTimeout(WriteRefused):
    """Another process is migrating, pruning or saving in the same run folder."""


class ResumeError(CkptDoctorError):
    """`check_resume(...).raise_for_errors()`: the message is the plan and the findings.

    `plan` is what the trainer would do (a `types.ResumePlan`), None when the file is too damaged to tell.
    """

    def __init__(self, message: str, plan: Any = None) -> None:
        super().__init__(message)
        self.plan = plan
