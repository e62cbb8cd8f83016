"""Facts of training commands: those of all trainers, and those that a person gives, checked, each with its source."""

from __future__ import annotations

from ckpt_doctor import trainers
from ckpt_doctor.errors import UsageError
from ckpt_doctor.types import Evidence, Fact, Given


def every_fact() -> dict[str, Fact]:
    """Name -> fact, of all known trainers; one that several have is there once."""
    found: dict[str, Fact] = {}
    for trainer in trainers.known():
        for fact in trainer.facts:
            found.setdefault(fact.name, fact)
    return found


def knowing(name: str) -> tuple[str, ...]:
    """The names of the trainers whose commands have a fact."""
    return tuple(trainer.name for trainer in trainers.known() if any(fact.name == name for fact in trainer.facts))


def facts(*, source: str = "given", **values: object) -> Given:
    """State facts of the training command, for `scan`, `check_resume`, `migrate`, `latest` and `prune`.

    Args:
        source: what a report names as their origin.
        **values: name -> value; the trainers' tables have the names. None counts as not given.

    Returns:
        Name -> evidence.

    Raises:
        UsageError: a name or a value that no training command has.

    Example:
        >>> facts(steps_per_epoch=45, shuffle=False)["steps_per_epoch"].value
        45
    """
    known = every_fact()
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UsageError(f"unknown fact {unknown[0]!r}; there are {', '.join(known)}")
    given = {}
    for name, value in values.items():
        if value is None:
            continue
        kind = known[name].kind
        if not kind.fits(value):
            raise UsageError(f"{name} must be {kind.what}, not {value!r}")
        given[name] = Evidence(value, source, given=True)
    return given
