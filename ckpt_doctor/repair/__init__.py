"""Paths -> repaired files: judge, plan edits, write, judge again. Nothing counts before it has been read back."""

from ckpt_doctor.repair.execution import NAMES, MigrationResult, Status, migrate, undo

__all__ = ["NAMES", "MigrationResult", "Status", "migrate", "undo"]
