"""A fix is a function from a case to a plan; its docstring is its manual, and it cures what it says."""

from __future__ import annotations

import pytest

from ckpt_doctor.migrators.migration import Migration, Plan, refused
from ckpt_doctor.trainers import Trainer, all_rules, every, fixes
from ckpt_doctor.types import Case, Refusal


def shift(case: Case) -> Plan:
    """Shift the labels.

    From the step.
    """
    return Plan()


def test_the_manual_is_the_docstring_without_its_indent() -> None:
    assert "Shift the labels.\n\nFrom the step." == Migration("shift", shift, ()).manual
    assert "" == Migration("shift", lambda case: Plan(), ()).manual


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
    assert [] == [fix.name for fix in found if not fix.manual]
