"""What is known of a training command, in words and as options, by the table of its facts."""

from __future__ import annotations

import os
from pathlib import Path

from ckpt_doctor.remote import is_url
from ckpt_doctor.reports import text
from ckpt_doctor.types import Facts, Given

SETTINGS = "pyproject.toml"
"""The source of facts that hold without an option."""


def known_facts(facts: Facts) -> tuple[tuple[str, str], ...]:
    """What is known of the training command, each fact with the place that it was taken from."""
    known: list[tuple[str, str]] = []
    for fact in facts.table:
        evidence, open_values = facts.get(fact.name), facts.candidates.get(fact.name)
        if evidence is None and open_values:
            known.append((f"{fact.name} not settled", " or ".join(open_values)))
        elif evidence is not None and fact.is_said(evidence):
            known.append((fact.say(evidence.value), evidence.source))
    if facts.log is not None:
        known.append(("log", nearest(facts.log.value)))
    return tuple((text.clean(name), text.clean(source)) for name, source in known)


def nearest(path: Path) -> str:
    """A path as seen from the working folder, where that is shorter."""
    return str(path) if is_url(path) else min(os.fspath(path), os.path.relpath(path), key=len)


def given_words(facts: Facts, given: Given) -> list[str]:
    """The words of a command line, such as `--patience 10`, that give again what was given with the call."""
    told = [(fact, given.get(fact.name)) for fact in facts.table]
    return [
        word
        for fact, evidence in told
        if evidence is not None and evidence.source != SETTINGS
        for word in fact.words(evidence.value)
    ]


def given_options(facts: Facts) -> list[str]:
    """The same of what a run's facts were given, quoted for a shell."""
    given = {f.name: evidence for f in facts.table if (evidence := facts.get(f.name)) is not None and evidence.given}
    return [text.quoted(word) for word in given_words(facts, given)]
