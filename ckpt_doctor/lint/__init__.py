"""Training scripts that endanger their own checkpoints: found by reading the code, never by running it."""

from __future__ import annotations

from ckpt_doctor.lint.rule import ScriptRule
from ckpt_doctor.lint.rules import SCRIPT_RULES
from ckpt_doctor.lint.run import ScriptReport, check_scripts, lint
from ckpt_doctor.lint.starting import starts
