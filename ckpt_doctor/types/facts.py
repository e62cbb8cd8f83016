"""The facts of a training command: how a person gives each, and what is known of them in a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from ckpt_doctor.types.record import record

T_co = TypeVar("T_co", covariant=True)


@record(frozen=True)
class Evidence(Generic[T_co]):
    """A value and where it came from: `Evidence(45, "checkpoint: 90 steps at epoch 2")`."""

    value: T_co
    source: str
    given: bool = False
    """True when a person gave it (an option, an argument), which outranks inference."""


Given = Mapping[str, Evidence[Any]]
"""Facts that a person gives, by name, before it is known which trainer they are for."""


# --- one fact: a row of a trainer's table ----------------------------------------------------------------------------


@record(frozen=True)
class Count:
    """A whole number above 0."""

    what = "a whole number above 0"
    """What a value must be, in words."""

    def fits(self, value: object) -> bool:
        """Whether a value is one."""
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@record(frozen=True)
class Number:
    """A finite number within bounds."""

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    """Whether `least` itself is too small."""

    def fits(self, value: object) -> bool:
        """Whether a value is one."""
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return self.least <= value <= self.most and not (self.above and value == self.least)

    @property
    def what(self) -> str:
        """What a value must be, in words."""
        if math.isinf(self.least):
            return "a finite number"
        if self.above:
            return f"a number above {self.least:g}"
        return f"a number from {self.least:g} " + ("on" if math.isinf(self.most) else f"to {self.most:g}")


@record(frozen=True)
class Choice:
    """One of several words."""

    words: tuple[str, ...]

    def fits(self, value: object) -> bool:
        """Whether a value is one."""
        return value in self.words

    @property
    def what(self) -> str:
        """What a value must be, in words."""
        return f"one of {', '.join(self.words)}"


@record(frozen=True)
class Flag:
    """Yes or no."""

    what = "true or false"
    """What a value must be, in words."""

    def fits(self, value: object) -> bool:
        """Whether a value is one."""
        return isinstance(value, bool)


def option_of(name: str) -> str:
    """The option that gives the fact of a name: `--steps-per-epoch`."""
    return f"--{name.replace('_', '-')}"


@record(frozen=True)
class Fact:
    """One fact of a training command, from which its option, settings key, keyword argument and words follow."""

    name: str
    """`steps_per_epoch`: the attribute of `Facts`, the keyword argument, the key in JSON."""
    kind: Count | Number | Choice | Flag
    """What its value must be."""
    help: str
    """What it is, in a sentence: the option's help."""
    say: Callable[[Any], str]
    """Its value in a report: `45 steps per epoch`."""
    is_said: Callable[[Evidence[Any]], bool] = lambda _: True
    """Whether a report names it; not where the value is what everyone expects."""

    @property
    def key(self) -> str:
        """`steps-per-epoch`: in the settings, and in the option's name."""
        return option_of(self.name).removeprefix("--")

    def words(self, value: object) -> tuple[str, ...]:
        """The words of a command line that give a value: `--no-shuffle`, or `--patience` and its value."""
        if isinstance(self.kind, Flag):
            return (f"--{self.key}" if value else f"--no-{self.key}",)
        return (f"--{self.key}", str(value))


# --- the facts of a run ----------------------------------------------------------------------------------------------


@record(frozen=True)
class Facts:
    """What must be known of a training command and is not in a checkpoint. None: not settled.

    A trainer adds its own facts in a subclass, which names its table.
    """

    table: ClassVar[tuple[Fact, ...]] = ()
    """The facts that can be given, in the order in which they are told."""

    steps_per_epoch: Evidence[int] | None = None
    """`len(train_loader)` as the trainer takes it (before the processes share it)."""
    train_epochs: Evidence[int] | None = None
    learning_rate: Evidence[float] | None = None
    """Of the next resume command; OneCycleLR's `max_lr` in the first run."""
    patience: Evidence[int] | None = None
    shuffle: Evidence[bool] | None = None
    """Whether the train loader shuffles; in no file and no log."""
    world_size: Evidence[int] | None = None
    """Processes that train together. None: nothing tells, and one is as good a guess as any."""
    log: Evidence[Path] | None = None
    candidates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of a fact -> the values that remain possible while it is not settled."""
    contradictions: tuple[str, ...] = ()
    """Facts that cannot be true together, one sentence each."""
    disproved: Mapping[str, str] = field(default_factory=dict)
    """Given facts that the run's own files or its log rule out: name -> the contradiction."""

    def get(self, name: str) -> Evidence[Any] | None:
        """The fact of that name; None where it is not settled, and where this trainer has no such fact."""
        found: Evidence[Any] | None = getattr(self, name, None)
        return found

    @property
    def processes(self) -> int:
        """How many processes train together; 1 where nothing tells."""
        return self.world_size.value if self.world_size else 1

    @property
    def may_be_several(self) -> bool:
        """Whether the evidence allows several processes where it does not tell how many there are."""
        return False

    @property
    def shuffles(self) -> bool:
        """Whether the train loader shuffles; true where nothing tells."""
        return self.shuffle is None or self.shuffle.value
