"""What is known of a path that a script computes: literal text, with holes that only a run fills."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from ckpt_doctor.lint.module import Call, Site


@dataclass(frozen=True, eq=False)
class Items:
    """What is known of the elements that a loop goes over."""

    folders: tuple[Reading, ...] = ()
    """Listed folders and glob patterns."""
    strings: frozenset[str] = frozenset()
    """Patterns, prefixes and expressions that select elements."""
    limited: bool = False
    """Whether only some are taken: a slice, `pop`, an index, a condition."""


@dataclass(frozen=True, eq=False)
class Hole:
    """A part of a text that only a run fills in."""

    name: str
    """As written: `args.checkpoints`, `epoch`."""
    site: Site
    default: str | None = None
    """The default of a command-line option."""
    items: Items | None = None
    """What a loop variable goes over."""
    temporary: bool = False
    """Whether `tempfile` makes it."""
    parameter: bool = False
    """A parameter that no call in sight gives a value."""


Part: TypeAlias = "str | Hole"


@dataclass(frozen=True, eq=False)
class Reading:
    """One possible value of an expression, and the calls through whose arguments it came."""

    parts: tuple[Part, ...]
    via: tuple[Call, ...] = ()
    """Innermost first: the last is the call in which the text was written."""

    @property
    def holes(self) -> list[Hole]:
        """The unknown parts."""
        return [p for p in self.parts if isinstance(p, Hole)]

    @property
    def literal(self) -> str:
        """The known parts; each hole is `{}`."""
        return "".join(p if isinstance(p, str) else "{}" for p in self.parts)

    def __str__(self) -> str:
        return "".join(p if isinstance(p, str) else "{" + p.name + "}" for p in self.parts)


def parent(reading: Reading) -> Reading:
    """The folder of a path."""
    parts = list(reading.parts)
    if parts and isinstance(parts[-1], str):
        parts[-1] = parts[-1].rstrip("/")
    while parts:
        last = parts.pop()
        if isinstance(last, str) and "/" in last:
            return replace(reading, parts=(*parts, last.rsplit("/", 1)[0]))
    return Reading(tuple(p for p in reading.parts if isinstance(p, Hole)) or (".",), reading.via)
