"""The rules that are this trainer's alone."""

from ckpt_doctor.trainers.time_llm.rules import early_stopping, files, rates
from ckpt_doctor.validators.rule import Rule

RULES: tuple[Rule, ...] = (*files.RULES, *rates.RULES, *early_stopping.RULES)
RUN_RULES: tuple[Rule, ...] = (*files.RUN_RULES, *early_stopping.RUN_RULES)
