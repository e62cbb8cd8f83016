"""The fixes that are Lightning's alone."""

from ckpt_doctor.migrators import OF_TRAINING_STATE, Migration
from ckpt_doctor.trainers.lightning.fixes import add_best_score, fix_best_path

FIXES: tuple[Migration, ...] = (*OF_TRAINING_STATE, add_best_score.MIGRATION, fix_best_path.MIGRATION)
"""In the order in which they are planned; each plans from the original, towards the same resume point."""
