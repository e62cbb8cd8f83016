"""The fixes that are this trainer's alone."""

from ckpt_doctor.migrators import OF_TRAINING_STATE, Fix
from ckpt_doctor.trainers.time_llm.fixes import add_best_score, upgrade

FIXES: tuple[Fix, ...] = (
    upgrade.FIX,
    *OF_TRAINING_STATE[:2],
    add_best_score.FIX,
    *OF_TRAINING_STATE[2:],
)
"""In the order in which they are planned; each plans from the original, towards the same resume point."""
