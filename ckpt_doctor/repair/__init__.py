"""Paths -> a plan -> repaired files. A file counts as repaired only after it was read back and judged again."""

from ckpt_doctor.repair.execution import apply, migrate, undo
from ckpt_doctor.repair.foresight import every_repair, foresee, foresee_one, is_complete, repaired
from ckpt_doctor.repair.planning import ASKED_BY, plan
from ckpt_doctor.repair.plans import NAMES, FilePlan, Request
