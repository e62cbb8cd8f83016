"""The rules that are this trainer's alone."""

from ckpt_doctor.trainers.hf_trainer.rules import best, command, parts, schedule, values
from ckpt_doctor.validators.rule import Rule

RULES: tuple[Rule, ...] = (*parts.RULES, *schedule.RULES, *best.RULES, *command.RULES, *values.RULES)
