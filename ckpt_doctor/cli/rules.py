"""All rules, those for checkpoints and those for scripts."""

from __future__ import annotations

from difflib import get_close_matches

from ckpt_doctor.errors import UsageError
from ckpt_doctor.reports import Rule


def all_rules() -> tuple[Rule, ...]:
    """In the order of their families."""
    from ckpt_doctor import lint, trainers

    return (*trainers.all_rules(), *lint.SCRIPT_RULES)


def find_rule(code: str) -> Rule:
    """The rule of a code or a name, whatever its case. Raises `UsageError` where there is none."""
    for rule in all_rules():
        if code.lower() in (rule.code.lower(), rule.name):
            return rule
    near = get_close_matches(code.lower(), [rule.name for rule in all_rules()], 1)
    hint = f"did you mean {near[0]}?" if near else "`ckpt-doctor rule` lists all"
    raise UsageError(f"there is no rule {code!r}; {hint}")
