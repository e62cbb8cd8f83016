"""The rules that are Lightning's alone, and its own cases of shared codes."""

from ckpt_doctor.trainers.lightning.rules import memory, progress, values
from ckpt_doctor.validators.rule import Rule

RULES: tuple[Rule, ...] = (*progress.RULES, *memory.RULES, *values.RULES)
