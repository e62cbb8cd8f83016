"""The fixes that are Lightning's alone."""

from ckpt_doctor.migrators import Fix, fix_epoch, sync_rng
from ckpt_doctor.trainers.lightning.fixes import add_best_score, fix_best_path, sync_scheduler

FIXES: tuple[Fix, ...] = (
    fix_epoch.FIX,
    sync_scheduler.FIX,
    sync_rng.FIX,
    add_best_score.FIX,
    fix_best_path.FIX,
)
"""In the order in which they are planned; each plans from the original, towards the same resume point."""
