"""The rules as they are promised and as they explain themselves."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from ckpt_doctor.cli.main import app
from ckpt_doctor.trainers import all_rules, fix_names, known

PROMISED = """
F101 truncated-archive        F102 corrupt-record           F103 missing-record
F104 empty-file               F105 not-a-checkpoint         F107 interrupted-migration
F108 unfinished-write         F109 byte-order-suspect       F110 text-mode-damage
S201 dangerous-global         S202 unknown-global           S203 not-weights-only
L301 legacy-state-dict        L302 missing-key              L303 wrong-type
L304 wrapped-keys             L305 device-bound
P401 step-name-mismatch       P402 epoch-step-mismatch      P403 optimizer-step-mismatch
P404 training-complete
R501 scheduler-behind         R502 scheduler-ahead          R503 step-count-mismatch
R504 rate-mismatch            R505 total-steps-mismatch     R506 rate-jump
E601 missing-best-score       E602 implausible-best-score   E603 val-loss-min-mismatch
E604 patience-exhausted       E605 log-disagrees
O701 optimizer-model-mismatch O702 missing-optimizer-state
T801 non-finite
"""
"""Codes and names that scripts may rely on: they stay, whatever is added."""
FAMILIES = "FSLPREOT"
MIGRATIONS = set(fix_names())
RULES = all_rules()

FURTHER = [(rule.code, own) for rule in RULES for own in rule.by_trainers]

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)


def test_promised_codes_keep_their_names():
    """No promised rule is renamed, renumbered or dropped."""
    words = PROMISED.split()
    promised = dict(zip(words[::2], words[1::2], strict=True))
    assert promised == {rule.code: rule.name for rule in RULES if rule.code in promised}


def test_codes_and_names_are_unique():
    """One code, one name, one rule; a family's digit goes with its letter."""
    assert len(RULES) == len({rule.code for rule in RULES}) == len({rule.name for rule in RULES})
    digits = {rule.code[0]: rule.code[1] for rule in RULES}
    assert {letter: str(number) for number, letter in enumerate(FAMILIES, 1)} == digits
    assert all(re.fullmatch(r"[A-Z]\d{3}", rule.code) and rule.code[1] == digits[rule.code[0]] for rule in RULES)


@every_rule
def test_a_manual_has_all_its_parts(rule):
    """What the rule finds in one sentence; why that matters; an example; the cure; the source. In this order."""
    what, *why, example, cure, source = rule.manual.split("\n\n")
    assert what.endswith(".")
    assert why
    assert example.startswith("Example: ")
    assert cure.startswith("Cure: ")
    assert source.startswith("Source: ")


def test_the_manual_of_a_trainers_own_rule_has_all_parts() -> None:
    """As the first, but for why: of that the shared one may say all."""
    for code, own in FURTHER:
        what, *why, example, cure, source = own.manual.split("\n\n")
        begun = [text.split(":")[0] for text in (example, cure, source)]
        assert ["Example", "Cure", "Source"] == begun, (code, own)
        assert what.endswith(".") and not any(text.startswith(tuple(begun)) for text in (what, *why)), (code, own)


def test_the_manual_of_a_trainers_own_rule_repeats_nothing_of_the_first() -> None:
    """But for the cure, which may be the same."""
    first = {rule.code: set(rule.manual.split("\n\n")) for rule in RULES}
    for code, own in FURTHER:
        assert all(text.startswith("Cure: ") for text in first[code].intersection(own.manual.split("\n\n"))), code


def test_all_rules_of_the_trainers_have_their_manual_somewhere() -> None:
    """Each cure, too: the migration that a trainer's own rule offers is in its text."""
    shown = {rule.code: [rule.manual, *(own.manual for own in rule.by_trainers)] for rule in RULES}
    for trainer in known():
        for rule in (*trainer.judging().rules, *trainer.judging().run_rules):
            assert 1 == shown[rule.code].count(rule.manual), (trainer.name, rule.code)
            assert not rule.migration or f"migrate --{rule.migration}" in rule.manual, (trainer.name, rule.code)
            assert set(re.findall(r"ckpt-doctor migrate --([a-z-]+)", rule.manual)) <= MIGRATIONS


@every_rule
def test_a_manual_names_the_cure_that_the_finding_names(rule):
    """The migration that is offered stands in the manual, and no migration that does not exist."""
    cure = next(part for part in rule.manual.split("\n\n") if part.startswith("Cure: "))
    if rule.migration:
        assert f"--{rule.migration}" in cure
    named = set(re.findall(r"ckpt-doctor migrate --([a-z-]+)", cure))
    assert named <= MIGRATIONS


@every_rule
def test_the_command_prints_the_manual(rule):
    """By code and by name, whatever the case."""
    printed = {CliRunner().invoke(app, ["rule", word]).output for word in (rule.code.lower(), rule.name)}
    (text,) = printed
    assert text.startswith(f"{rule.code} {rule.name} ({rule.severity})")
    assert all(manual in text for manual in (rule.manual, *(own.manual for own in rule.by_trainers)))
