"""`--add-best-score`: what the run remembers of its best model, replayed from `log_history`."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.migrators import Fix, Plan, refused
from ckpt_doctor.trainers.hf_trainer import best, best_path
from ckpt_doctor.trainers.hf_trainer.command import command_in
from ckpt_doctor.trainers.hf_trainer.known import sibling_with_callback
from ckpt_doctor.trainers.hf_trainer.layout import STATE, file_names
from ckpt_doctor.types import Case, Edit

NAME = "add-best-score"


def _plan(case: Case) -> Plan:
    """Set the best metric, its step and the best checkpoint's path, and the state of EarlyStopping where it is missing.

    The values are those of a replay of the evaluations in `log_history`, by the metric of the saved command. The path
    is that of the folder beside this one.
    """
    if STATE not in file_names(case.checkpoint):
        return Plan()
    found, metric = best.replayed(case.member), case.checkpoint.get(STATE, "best_metric")
    edits: list[Edit] = []
    if found is not None and found.metric is not None and best.counts_every_evaluation(case.checkpoint):
        source = f"log_history: {command_in(case.checkpoint).metric} at step {found.step:,}"
        if metric != found.metric:
            edits = [*_best(case, found, source)]
    elif metric is None:
        return refused(
            NAME, "log_history has no evaluation by which the best could be chosen", "another checkpoint of the run"
        )
    return Plan((*edits, *_callback(case, found)))


def _best(case: Case, found: best.Best, source: str) -> Iterator[Edit]:
    get = case.checkpoint.get
    yield Edit((STATE, "best_metric"), get(STATE, "best_metric"), found.metric, source)
    if get(STATE, "best_global_step") != found.step:
        yield Edit((STATE, "best_global_step"), get(STATE, "best_global_step"), found.step, source)
    told, name = get(STATE, "best_model_checkpoint"), f"checkpoint-{found.step}"
    folder = next((m.checkpoint.path for m in case.run.members if m.label == name), None)
    after = None if folder is None else str(best_path.run_path(case.member) / name)
    if told != after:
        yield Edit((STATE, "best_model_checkpoint"), told, after, "the folder beside this one" if after else source)


def _callback(case: Case, found: best.Best | None) -> Iterator[Edit]:
    """EarlyStopping's state as a sibling has it, with what it has counted by now."""
    saved = case.checkpoint.get(*best.CALLBACKS)
    sibling = sibling_with_callback(case.member, case.run)
    if found is None or sibling is None or not isinstance(saved, dict) or best.CALLBACK in saved:
        return
    state = sibling.checkpoint.get(*best.CALLBACKS, best.CALLBACK)
    waiting = best.early_stopping(sibling)
    if not isinstance(state, dict) or len(waiting) != 1:
        return
    again = best.replay(best.history(case.checkpoint), command_in(case.checkpoint), waiting[0].threshold)
    waited = again.waited if again else 0
    evidence = f"{sibling.label}; the counter from log_history"
    yield Edit((*best.CALLBACKS, best.CALLBACK), "absent", best.counted(state, waited), evidence)


FIX = Fix(NAME, _plan, cures=("E601", "E605", "L302"), reveals=("E604", "E609"))
