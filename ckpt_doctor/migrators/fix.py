"""What a fix is: a function from a case to edits towards its resume point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ckpt_doctor.types import Case, Edit, Refusal


@dataclass(frozen=True, slots=True)
class Plan:
    """What a fix would do to one checkpoint. Both empty: there is nothing to do."""

    edits: tuple[Edit, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know beside the edits (moments that stay lost, labels that are shifted)."""


@dataclass(frozen=True, slots=True)
class Fix:
    """One repair, named as its option is."""

    name: str
    """`add-best-score`, of the option `--add-best-score`."""
    plan: Callable[[Case], Plan]
    cures: tuple[str, ...]
    """Codes of the findings that must be gone afterwards wherever the fix made edits."""
    reveals: tuple[str, ...] = ()
    """Codes that the result may have and the original could not (a bare state_dict has no optimizer to judge)."""


def refused(name: str, reason: str, settle: str) -> Plan:
    """A plan that only says why there is none."""
    return Plan(refusals=(Refusal(name, reason, settle),))
