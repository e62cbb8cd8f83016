"""The fixes that are Lightning's alone."""

from ckpt_doctor.migrators import Migration, fix_epoch, sync_rng
from ckpt_doctor.trainers.lightning.fixes import add_best_score, fix_best_path, sync_scheduler

FIXES: tuple[Migration, ...] = (
    fix_epoch.MIGRATION,
    sync_scheduler.MIGRATION,
    sync_rng.MIGRATION,
    add_best_score.MIGRATION,
    fix_best_path.MIGRATION,
)
"""In the order in which they are planned; each plans from the original, towards the same resume point."""
