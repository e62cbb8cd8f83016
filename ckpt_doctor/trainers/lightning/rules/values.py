"""O707: counters of the loops and what callbacks remember, with which Lightning cannot go on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ckpt_doctor.trainers.lightning.callbacks import savers, stoppers
from ckpt_doctor.types import Case
from ckpt_doctor.validators import COUNT, DICT, LIST, Kind, Number, Slot, problems_of
from ckpt_doctor.validators.rule import Problem, rule

_RESTORE = "Lightning cannot restore it"
_COUNT = "the loop cannot count on from it"
_COMPARE = "the next check cannot compare with it"

_OPTIONAL = replace(COUNT, none=True)  # None: not counted (1.5)
_COUNTS = {"ready": COUNT, "completed": COUNT, "started": _OPTIONAL, "processed": _OPTIONAL}
_STEPS = ("", ".optimizer.step", ".optimizer.zero_grad")
_COUNTED = [f"{steps}.{span}" for steps in _STEPS for span in ("total", "current")]
_SCORE = Number("a number or a tensor of one", low=-float("inf"), high=float("inf"), tensor="one element")

_OF_THE_FILE = (
    Slot("optimizer_states", LIST, _RESTORE),
    Slot("lr_schedulers", LIST, _RESTORE),
    Slot("callbacks", Kind("a dict", (dict,), none=True), _RESTORE),
    Slot("loops", Kind("a dict", (dict,), none=True), _RESTORE),
    Slot("loops.fit_loop", DICT, _RESTORE),
    Slot("loops.fit_loop[*]", DICT, _RESTORE),
    Slot("loops.fit_loop[*]._batches_that_stepped", COUNT, _COUNT),
    Slot("loops.fit_loop[*].is_last_batch", Kind("True or False", (bool,)), _COUNT),
    *(Slot(f"loops.fit_loop[*].optimizer{name}", DICT, _RESTORE) for name in ("", ".step", ".zero_grad")),
    *(Slot(f"loops.fit_loop[*]{counted}", DICT, _COUNT) for counted in _COUNTED),
    *(Slot(f"loops.fit_loop[*]{at}.{name}", must, _COUNT) for at in _COUNTED for name, must in _COUNTS.items()),
)
_OF_A_SAVER = (
    Slot("best_model_score", replace(_SCORE, none=True), _COMPARE),
    Slot("best_k_models", DICT, _COMPARE),
    Slot("best_k_models[*]", _SCORE, _COMPARE),
)
_OF_A_STOPPER = (
    Slot("wait_count", COUNT, _COUNT),
    Slot("best_score", _SCORE, _COMPARE),
    Slot("patience", Number("a number, 0 or more", low=0, high=float("inf")), _COMPARE),
)


@rule("O707", "invalid-value", "error")
def invalid_value(case: Case) -> Iterator[Problem]:
    """A counter of the loops, or what a callback remembers, is of another type or range than Lightning computes with.

    Example: `best_model_score` "0.4" in the state of ModelCheckpoint: the next check cannot compare with it.

    Cure: none in the file; resume from another file of the run.

    Source: lightning/pytorch/loops/progress.py; callbacks/early_stopping.py and model_checkpoint.py, `load_state_dict`;
    trainer/connectors/checkpoint_connector.py, `restore_callbacks` and `restore_optimizers_and_schedulers` (2.6.6).
    """
    if case.plan is None:
        return
    checkpoint = case.checkpoint
    told = {case.where(slot) for slot in ("epoch", "step", "patience")}  # the slots that every trainer has
    found = [*problems_of(_OF_THE_FILE, checkpoint.root)]
    found += [p for saver in savers(checkpoint) for p in problems_of(_OF_A_SAVER, saver.state, saver.path)]
    found += [p for stopper in stoppers(checkpoint) for p in problems_of(_OF_A_STOPPER, stopper.state, stopper.path)]
    yield from (problem for problem in found if problem.where not in told)


RULES = (invalid_value,)
