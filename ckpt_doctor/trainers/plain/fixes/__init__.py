"""The fixes of a hand-written loop's files."""

from ckpt_doctor.migrators import Migration
from ckpt_doctor.trainers.plain.fixes import fix_epoch, sync_scheduler

FIXES: tuple[Migration, ...] = (fix_epoch.MIGRATION, sync_scheduler.MIGRATION)
"""In the order in which they are planned."""
