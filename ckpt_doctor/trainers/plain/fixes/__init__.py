"""The fixes of a hand-written loop's files."""

from ckpt_doctor.migrators import Fix
from ckpt_doctor.trainers.plain.fixes import fix_epoch, sync_scheduler

FIXES: tuple[Fix, ...] = (fix_epoch.FIX, sync_scheduler.FIX)
"""In the order in which they are planned."""
