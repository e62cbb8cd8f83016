"""The fixes of this trainer's checkpoints, in the order in which they are planned."""

from ckpt_doctor.migrators import Migration
from ckpt_doctor.trainers.hf_trainer.fixes import (
    add_best_score,
    add_trainer_state,
    fix_best_path,
    fix_epoch,
    sync_scheduler,
)

FIXES: tuple[Migration, ...] = (
    add_trainer_state.MIGRATION,
    add_best_score.MIGRATION,
    fix_best_path.MIGRATION,
    fix_epoch.MIGRATION,
    sync_scheduler.MIGRATION,
)
