"""Rules: a `Case` in, `Finding`s out. They open no files."""

from ckpt_doctor.validators import (
    contents,
    files,
    layout,
    optimizer,
    progress,
    random_state,
    rates,
    safety,
    shaped_optimizers,
    shaped_progress,
    shaped_schedules,
    tensors,
    values,
)
from ckpt_doctor.validators.rule import Rule
from ckpt_doctor.validators.slot_kinds import Kind, Number
from ckpt_doctor.validators.slots import COUNT, DICT, LIST, SLOTS, Slot
from ckpt_doctor.validators.values import problems_of

FILE_RULES: tuple[Rule, ...] = (
    *files.RULES,
    *safety.RULES,
    *layout.RULES,
    *contents.RULES,
    *values.RULES,
    *progress.RULES,
    *shaped_progress.RULES,
    *rates.RULES,
    *shaped_schedules.RULES,
    *random_state.RULES,
    *optimizer.RULES,
    *shaped_optimizers.RULES,
    *tensors.RULES,
)
"""Rules about one checkpoint, whichever trainer wrote it."""

OF_THE_WHOLE = frozenset(
    rule.code
    for rule in FILE_RULES
    if rule.others or rule in (*shaped_progress.RULES, *shaped_schedules.RULES, *shaped_optimizers.RULES)
) | {"O707"}
"""Codes of rules that compare parts with each other: of a unit of several files they judge the unit, not its files."""

RUN_RULES: tuple[Rule, ...] = (*progress.RUN_RULES, *optimizer.RUN_RULES)
"""Rules about a run folder as a whole."""

OF_GIVEN_FACTS: tuple[Rule, ...] = (progress.facts_disagree,)
"""Those of them that are about what a person gives, which hold for loops of any kind as well."""

RULES: tuple[Rule, ...] = (*FILE_RULES, *RUN_RULES)
"""All but those of `live`, about a checkpoint and the script's own objects."""
