"""What a call was given, and the commands that give it again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor import audit
from ckpt_doctor.remote import is_url
from ckpt_doctor.reports import argument, given_words
from ckpt_doctor.types import Facts, Words
from ckpt_doctor.types.record import record

if TYPE_CHECKING:  # loaded where something calls for a repair
    from ckpt_doctor.repair import Request


@record(frozen=True)
class Invocation(audit.Ask):
    """A call: what a person gave with it, and what every command that the answer names must carry."""

    paths: tuple[Path, ...] = ()
    alone: bool = False
    """Whether one run is all that lies there."""

    def without(self, names: Collection[str]) -> Invocation:
        """The same but for facts that the run's own files contradict."""
        return replace(self, facts={name: fact for name, fact in self.facts.items() if name not in names})

    def every_repair(self, ignore: Collection[str] = ()) -> Request:
        """What `migrate --all` asks for."""
        from ckpt_doctor import repair

        return repair.every_repair(replace(self, ignore=[*self.ignore, *ignore]))

    def command(
        self, name: str, facts: Facts, *more: str, paths: Sequence[Path], ignore: Collection[str] = ()
    ) -> Words:
        """A command of this program on paths, with all that was given; no path where the default is meant."""
        accepted = ",".join(audit.in_short([*self.ignore, *ignore]))
        return (
            "ckpt-doctor",
            *name.split(),
            *(("--trainer", self.trainer) if self.trainer else ()),
            *(word for word in given_words(facts, self.facts)),
            *(word for log in self.logs for word in ("--log", str(log))),
            *(("--ignore", accepted) if accepted else ()),
            *(word for package in self.trust for word in ("--trust", package)),
            *more,
            *(("--output", "DIR") if name.startswith("migrate") and any(map(is_url, paths)) else ()),
            *map(argument, paths),
        )
