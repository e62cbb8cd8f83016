"""What a rule is: a function from a case to problems, with the identity that it stamps on them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal, TypeVar

from ckpt_doctor.types import Case, Finding, NotChecked, Severity, TrainerManual
from ckpt_doctor.types.record import record

Scope = Literal["file", "trainer", "run", "live"]
"""`file`: holds for every file; `trainer`: only for a recognised trainer's files; `run`: for a whole run folder;
`live`: for a file and the objects it is about to be loaded into (`validators.live.LiveCase`)."""
S = TypeVar("S")


@record(frozen=True)
class Problem:
    """A defect, before its rule has put its name on it."""

    message: str
    where: str = ""
    found: object = None
    expected: object = None
    fix: str | None = None
    """Overrides the rule's cure; the empty string: nothing here cures this one."""
    severity: Severity | None = None
    """Overrides the rule's severity."""
    migration: str | None = None
    """Overrides the rule's migration."""
    tensors: tuple[str, ...] = ()
    """Names of the damaged tensors, as in the message."""


def listing(names: Sequence[str], most: int = 12) -> str:
    """`a, b, c and 4 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@record(frozen=True, eq=False)
class Rule:
    """One rule. Its manual is its function's docstring: what it says, why it matters, example, cure, source."""

    code: str
    name: str
    severity: Severity
    scope: Scope
    migration: str | None
    """The migration that cures what the rule finds."""
    check: Callable[..., Iterable[Problem | NotChecked]]
    others: Callable[..., Iterable[Problem | NotChecked]] | None = None
    """What a `trainer` rule asks of a file that no trainer owns; None: nothing."""
    each: bool = False
    """Whether it speaks of one optimizer and its schedule: then it is asked of each in the file."""
    damage: tuple[str, ...] = ()
    """The kinds of damage without which it finds nothing; empty where it looks at more."""
    by_trainers: tuple[TrainerManual, ...] = ()
    """The manuals of trainers' own rules with this code, in `trainers.all_rules`."""

    @property
    def manual(self) -> str:
        """The text that `ckpt-doctor rule CODE` prints first."""
        return inspect.cleandoc(self.check.__doc__ or "")

    @cached_property
    def for_others(self) -> Rule | None:
        """The rule as it is for a file that no trainer owns; None where it does not speak of such a file."""
        if self.scope == "file":
            return self
        return replace(self, check=self.others, migration=None) if self.others else None

    def __call__(self, subject: object) -> list[Finding | NotChecked]:
        """Judge a `Case` (a `Run`, a `LiveCase`, as the scope says): findings, and what could not be decided."""
        return self.told(self.check(subject))

    def told(self, problems: Iterable[Problem | NotChecked]) -> list[Finding | NotChecked]:
        """What is wrong, with the rule's name on it."""
        return list(map(self._told, problems))

    def _told(self, problem: Problem | NotChecked) -> Finding | NotChecked:
        if isinstance(problem, NotChecked):
            return problem
        migration = problem.migration or (self.migration if problem.fix is None else None)
        return Finding(
            code=self.code,
            name=self.name,
            severity=problem.severity or self.severity,
            message=problem.message,
            where=problem.where,
            found=problem.found,
            expected=problem.expected,
            fix=problem.fix or (f"ckpt-doctor migrate --{migration}" if migration else None),
            migration=migration,
            tensors=problem.tensors,
        )


def rule(
    code: str,
    name: str,
    severity: Severity,
    scope: Scope = "trainer",
    migration: str | None = None,
    others: Callable[[Case], Iterable[Problem | NotChecked]] | None = None,
    each: bool = False,
    damage: tuple[str, ...] = (),
) -> Callable[[Callable[[S], Iterable[Problem | NotChecked]]], Rule]:
    """Make a `Rule` of the decorated function."""

    def stamp(check: Callable[[S], Iterable[Problem | NotChecked]]) -> Rule:
        return Rule(code, name, severity, scope, migration, check, others, each, damage)

    return stamp
