"""Paths -> repaired files: judge, plan edits, write, judge again. Nothing counts before it has been read back."""

from ckpt_doctor.repair.execution import NAMES, migrate, undo
from ckpt_doctor.types import MigrationResult

__all__ = ["NAMES", "MigrationResult", "migrate", "undo"]
