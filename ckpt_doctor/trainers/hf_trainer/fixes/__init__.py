"""The fixes of this trainer's checkpoints, in the order in which they are planned."""

from ckpt_doctor.migrators import Fix
from ckpt_doctor.trainers.hf_trainer.fixes import (
    add_best_score,
    add_trainer_state,
    fix_best_path,
    fix_epoch,
    sync_scheduler,
)

FIXES: tuple[Fix, ...] = (
    add_trainer_state.FIX,
    add_best_score.FIX,
    fix_best_path.FIX,
    fix_epoch.FIX,
    sync_scheduler.FIX,
)
