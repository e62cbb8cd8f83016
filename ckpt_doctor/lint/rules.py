"""The rules for training scripts, in the order in which they run."""

from __future__ import annotations

from ckpt_doctor.lint.contents import scheduler_not_saved, whole_model_saved
from ckpt_doctor.lint.deleting import deletes_checkpoints, unlocked_prune
from ckpt_doctor.lint.early_stopping import best_score_not_saved
from ckpt_doctor.lint.ranks import every_rank_saves
from ckpt_doctor.lint.rates import base_rate_from_epoch_0
from ckpt_doctor.lint.rule import ScriptRule
from ckpt_doctor.lint.saving import overwrites_only_copy, saved_before_scheduler_step

SCRIPT_RULES = (
    ScriptRule("X901", "deletes-checkpoints", "error", deletes_checkpoints),
    ScriptRule("X902", "unlocked-prune", "warning", unlocked_prune),
    ScriptRule("X903", "best-score-not-saved", "warning", best_score_not_saved),
    ScriptRule("X904", "saved-before-scheduler-step", "warning", saved_before_scheduler_step),
    ScriptRule("X905", "overwrites-only-copy", "warning", overwrites_only_copy),
    ScriptRule("X906", "base-rate-from-epoch-0", "warning", base_rate_from_epoch_0),
    ScriptRule("X907", "every-rank-saves", "warning", every_rank_saves),
    ScriptRule("X908", "scheduler-not-saved", "warning", scheduler_not_saved),
    ScriptRule("X909", "whole-model-saved", "info", whole_model_saved),
)
