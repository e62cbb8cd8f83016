"""Paths -> a plan -> repaired files. A file counts as repaired only after it was read back and judged again."""

from ckpt_doctor.repair.execution import apply, migrate, undo
from ckpt_doctor.repair.newest import find_latest
from ckpt_doctor.repair.planning import NAMES, plan
from ckpt_doctor.repair.plans import FilePlan, RepairPlan
from ckpt_doctor.types import MigrationResult

__all__ = ["NAMES", "FilePlan", "MigrationResult", "RepairPlan", "apply", "find_latest", "migrate", "plan", "undo"]
