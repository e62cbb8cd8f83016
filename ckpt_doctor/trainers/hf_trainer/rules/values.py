"""O707: values of `trainer_state.json`, and random states of further processes, with which the Trainer stops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckpt_doctor.trainers.hf_trainer.command import command_in
from ckpt_doctor.trainers.hf_trainer.layout import STATE, random_files
from ckpt_doctor.types import Case
from ckpt_doctor.validators import DICT, SLOTS, Kind, Number, Slot, problems_of
from ckpt_doctor.validators.rule import Problem, rule

_LOG, _START = "the Trainer stops at its next log", "the Trainer stops as it starts"
_NUMBER = Number("a number or null", none=True)

_ALWAYS = (
    Slot("log_history", Kind("a list", (list,), none=True), _LOG),
    Slot("total_flos", Number("a number", high=float("inf")), _LOG),
    Slot("logging_steps", Number("a number"), _LOG),
    Slot("train_batch_size", _NUMBER, _START),
    Slot("best_model_checkpoint", Kind("a path or null", (str, int), none=True), _START),
    Slot("stateful_callbacks", Kind("a dict", (dict,)), "the Trainer stops at its first save"),
)
_WITH_A_BEST = (
    *_ALWAYS,
    # NaN is what releases before 5 keep of a first evaluation that gave it
    Slot("best_metric", Kind("a number", (int, float), none=True), "the Trainer stops at its next evaluation"),
)
_RANDOM = (
    Slot("", DICT, "the process stops as it starts"),
    *(replace(slot, name=slot.name.removeprefix("rng.")) for slot in SLOTS if slot.name.startswith("rng.")),
)


@rule("O707", "invalid-value", "error")
def invalid_value(case: Case) -> Iterator[Problem]:
    """A value of `trainer_state.json` is of another type than the Trainer computes with.

    The random state of the first process is judged with the optimizer and the schedule; here are those of the others.

    Example: `total_flos` null: the Trainer stops at its next log.

    Cure: none in the folder; take the value from another checkpoint of the run.

    Source: transformers/trainer_callback.py, `TrainerState.__post_init__`; trainer.py, `log`, `store_flos`,
    `_determine_best_metric` and `_load_rng_state`.
    """
    slots = _WITH_A_BEST if command_in(case.checkpoint).text("metric_for_best_model") else _ALWAYS
    yield from problems_of(slots, case.checkpoint.get(STATE), (STATE,))
    for name in random_files(case.checkpoint)[1:]:
        yield from problems_of(_RANDOM, case.checkpoint.get(name), (name,))


RULES = (invalid_value,)
