"""What is known of the trainers whose checkpoints are judged: a package each, a value of `Trainer` each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ckpt_doctor import validators
from ckpt_doctor.errors import UsageError
from ckpt_doctor.trainers.accelerate import ACCELERATE
from ckpt_doctor.trainers.hf_trainer import HF
from ckpt_doctor.trainers.lightning import LIGHTNING
from ckpt_doctor.trainers.plain import PLAIN
from ckpt_doctor.trainers.time_llm import TIME_LLM
from ckpt_doctor.trainers.trainer import ByHand, Judging, Trainer
from ckpt_doctor.trainers.unknown import UNKNOWN, not_judged
from ckpt_doctor.types import Severity, TrainerManual

if TYPE_CHECKING:
    from ckpt_doctor.migrators import Fix
    from ckpt_doctor.validators.rule import Rule

KNOWN: tuple[Trainer, ...] = (TIME_LLM, HF, ACCELERATE, LIGHTNING, PLAIN)
"""Every trainer that recognises checkpoints; the first that recognises one owns it."""


def known() -> tuple[Trainer, ...]:
    """Every trainer that recognises checkpoints. The stages ask here, so that a test can add one."""
    return KNOWN


def every() -> tuple[Trainer, ...]:
    """With the last, which owns the rest."""
    return (*known(), UNKNOWN)


def trainer_named(name: str) -> Trainer:
    """The trainer of that name, empty for the unknown one. Raises UsageError for a name that no trainer has."""
    for trainer in every():
        if trainer.name == name:
            return trainer
    raise UsageError(f"there is no trainer {name!r}; there are {', '.join(trainer.name for trainer in known())}")


def unit_trainer(folder: Path, names: Collection[str]) -> Trainer | None:
    """The trainer that calls a folder, with these names in it, one checkpoint; None where none does."""
    return next((trainer for trainer in every() if trainer.is_unit(folder, names)), None)


def is_unit(folder: Path, names: Collection[str]) -> bool:
    """Whether a folder, with these names in it, is one checkpoint of a trainer."""
    return unit_trainer(folder, names) is not None


@cache
def file_rules(name: str, ours: bool) -> tuple[Rule, ...]:
    """The rules about a checkpoint in a run of a trainer, `ours` where that owns it, in the order of a report."""
    trainer = trainer_named(name)
    rules = sorted((*validators.FILE_RULES, *trainer.judging().rules), key=_order)
    return tuple(
        asked
        for rule in rules
        if (asked := rule if ours and not (trainer.by_shape and rule.others) else rule.for_others) is not None
    )


def run_rules(name: str) -> tuple[Rule, ...]:
    """The rules about a run of a trainer as a whole."""
    trainer = trainer_named(name)
    shared = validators.OF_GIVEN_FACTS if trainer.by_shape else validators.RUN_RULES
    return (*shared, *trainer.judging().run_rules)


@cache
def all_rules() -> tuple[Rule, ...]:
    """All rules, each code once, by code: the shared one, else that of the first trainer which has it. What the
    trainers' own rules say beside it is in its `by_trainers`."""
    from ckpt_doctor.validators.live import RULES  # a scan asks none of these

    own = [(trainer, rule) for trainer in known() for rule in (*trainer.judging().rules, *trainer.judging().run_rules)]
    by_code = {rule.code: rule for rule in (*(rule for _, rule in reversed(own)), *validators.RULES, *RULES)}
    return tuple(replace(by_code[code], by_trainers=_by_trainers(by_code[code], own)) for code in sorted(by_code))


def _by_trainers(shown: Rule, own: Sequence[tuple[Trainer, Rule]]) -> tuple[TrainerManual, ...]:
    """The manuals of trainers' other rules with a rule's code, in the order of `KNOWN`; equal ones once."""
    found: dict[tuple[Severity, str], list[Trainer]] = {}
    for trainer, rule in own:
        if rule.code == shown.code and rule is not shown:
            found.setdefault((rule.severity, rule.manual), []).append(trainer)
    return tuple(
        TrainerManual(
            tuple(one.name for one in them), " and ".join(one.title or one.name for one in them), severity, manual
        )
        for (severity, manual), them in found.items()
    )


def _order(rule: Rule) -> tuple[int, str]:
    """Files, safety, layout, progress, rates, EarlyStopping, optimizer, numbers."""
    return "FSLPREOT".index(rule.code[0]), rule.code


def fixes(name: str) -> tuple[Fix, ...]:
    """The fixes for the files of a trainer, in the order in which they are planned."""
    from ckpt_doctor.migrators import OF_ANY_FILE  # a scan needs none

    return (*trainer_named(name).fixes(), *OF_ANY_FILE)


def fix_names() -> tuple[str, ...]:
    """The names of all fixes."""
    return tuple(dict.fromkeys(fix.name for trainer in every() for fix in fixes(trainer.name)))
