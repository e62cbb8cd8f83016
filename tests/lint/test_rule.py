"""A rule explains itself: its docstring is its manual, with code that is Python."""

from __future__ import annotations

import ast
import re

import pytest

from ckpt_doctor.lint import SCRIPT_RULES, ScriptRule


@pytest.mark.parametrize("rule", SCRIPT_RULES, ids=lambda rule: rule.code)
def test_a_rule_explains_itself_with_code_that_is_python(rule: ScriptRule) -> None:
    headings = ["What it does", "Why it matters", "Example", "How to cure", "Source"]
    assert headings == re.findall(r"^## (.*)$", rule.manual, re.MULTILINE)
    assert f"Severity {rule.severity}" in rule.manual
    blocks = re.findall(r"```python\n(.*?)```", rule.manual, re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)
