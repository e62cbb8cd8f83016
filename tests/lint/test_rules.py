"""The rules as a set: each explains itself, and each has scripts that break it and scripts that do it right."""

from __future__ import annotations

import pytest

from ckpt_doctor.lint import SCRIPT_RULES, ScriptRule
from tests.lint.test_contents import STATES, WHOLE, WITH_SCHEDULE, WITHOUT_SCHEDULE
from tests.lint.test_deleting import DELETED, KEPT, PRUNED_SAFELY, PRUNED_WITHOUT_LOCK
from tests.lint.test_early_stopping import FORGOTTEN, REMEMBERED
from tests.lint.test_ranks import BY_EVERY_RANK, BY_ONE_RANK
from tests.lint.test_rates import IN_EVERY_RUN, ONLY_IN_EPOCH_0
from tests.lint.test_saving import IN_STEP, KEEPING, LAGGING, OVERWRITING

PAIRS = {
    "X901": (DELETED, KEPT),
    "X902": (PRUNED_WITHOUT_LOCK, PRUNED_SAFELY),
    "X903": (FORGOTTEN, REMEMBERED),
    "X904": (LAGGING, IN_STEP),
    "X905": (OVERWRITING, KEEPING),
    "X906": (ONLY_IN_EPOCH_0, IN_EVERY_RUN),
    "X907": (BY_EVERY_RANK, BY_ONE_RANK),
    "X908": (WITHOUT_SCHEDULE, WITH_SCHEDULE),
    "X909": (WHOLE, STATES),
}


@pytest.mark.parametrize("rule", SCRIPT_RULES, ids=lambda rule: rule.code)
def test_a_rule_has_scripts_that_break_it_and_more_that_do_not(rule: ScriptRule) -> None:
    breaking, healthy = PAIRS[rule.code]
    assert all(f"# <- {rule.code}" in text for text in breaking.values())
    assert not any("# <-" in text for text in healthy.values())
    assert len(healthy) >= 3
