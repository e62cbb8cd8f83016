"""A fix is a function from a case to a plan that explains itself, and it cures what it says."""

from __future__ import annotations

import pytest

from ckpt_doctor.migrators.fix import Plan, refused
from ckpt_doctor.trainers import Trainer, all_rules, every, fixes
from ckpt_doctor.types import Refusal


def test_a_refusal_says_why_and_what_settles_it_and_edits_nothing() -> None:
    plan = refused("sync-scheduler", "the mode is not known", "give --lradj")
    assert Plan(refusals=(Refusal("sync-scheduler", "the mode is not known", "give --lradj"),)) == plan
    assert plan.edits == plan.notes == ()


@pytest.mark.parametrize("trainer", every(), ids=lambda trainer: trainer.name)
def test_every_fix_explains_itself_and_cures_what_a_rule_finds(trainer: Trainer) -> None:
    """A code that no rule has would never be looked at again after the repair."""
    codes = {rule.code for rule in all_rules()}
    found = fixes(trainer.name)
    assert len(found) == len({fix.name for fix in found})
    assert {} == {fix.name: wrong for fix in found if (wrong := {*fix.cures, *fix.reveals} - codes)}
    assert [] == [fix.name for fix in found if not fix.plan.__doc__]
