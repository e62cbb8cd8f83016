"""What the run remembers of its best model."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.remote import is_url
from ckpt_doctor.trainers.hf_trainer import best, best_path
from ckpt_doctor.trainers.hf_trainer.command import command_in
from ckpt_doctor.trainers.hf_trainer.known import sibling_with_callback
from ckpt_doctor.trainers.hf_trainer.layout import STATE
from ckpt_doctor.types import Case
from ckpt_doctor.validators.rule import Problem, rule

_METRIC = f"{STATE}.best_metric"
_CALLBACK = ".".join((*map(str, best.CALLBACKS), best.CALLBACK))


@rule("E601", "missing-best-score", "warning", migration="add-best-score")
def missing_best_metric(case: Case) -> Iterator[Problem]:
    """`best_metric` is not in a state whose run keeps its best model and has evaluated.

    Example: `best_metric` null beside two evaluations in `log_history`.

    Cure: `ckpt-doctor migrate --add-best-score` takes the best evaluation of `log_history`.

    Source: transformers, `Trainer._determine_best_metric`.
    """
    found = best.replayed(case.member)
    if found is None or found.metric is None or case.state.best_score is not None or _is_old(case):
        return
    if case.checkpoint.get(STATE, "best_metric") is not None:
        return  # no number, of which L303 speaks
    yield Problem(
        f"best_metric is not set, and log_history has {command_in(case.checkpoint).metric} {found.metric:.6g} at step "
        f"{found.step:,}: the next evaluation counts as the best so far, however bad it is",
        where=_METRIC,
        expected=found.metric,
    )


@rule("E605", "log-disagrees", "warning", migration="add-best-score")
def log_disagrees(case: Case) -> Iterator[Problem]:
    """`best_metric` is not the best of the evaluations in `log_history`.

    Example: `best_metric` 0.61, and an evaluation with 0.58 of a loss in `log_history`.

    Cure: `ckpt-doctor migrate --add-best-score` takes the best evaluation of `log_history`.

    Source: transformers, `Trainer._determine_best_metric`.
    """
    found, stored = best.replayed(case.member), case.state.best_score
    if found is None or found.metric is None or stored is None or stored == found.metric or _is_old(case):
        return
    yield Problem(
        f"best_metric is {stored:.6g}, and the best {command_in(case.checkpoint).metric} in log_history is "
        f"{found.metric:.6g} (step {found.step:,}): the Trainer takes another checkpoint for the best",
        where=_METRIC,
        found=stored,
        expected=found.metric,
    )


def _is_old(case: Case) -> bool:
    return not best.counts_every_evaluation(case.checkpoint)


@rule("P405", "epoch-end-not-validated", "warning")
def evaluation_left_out(case: Case) -> Iterator[Problem]:
    """The epoch's evaluation comes after this save, and a resume leaves it out.

    Its loader draws from the random state that dropout draws from, so the losses after it differ as well.

    Example: `--eval_strategy epoch --save_strategy steps`, saved at the last step of an epoch.

    Cure: none in the file; resume from a checkpoint within an epoch, or save with `--save_strategy epoch`.

    Source: transformers, `Trainer._maybe_log_save_evaluate`; transformers/trainer_callback.py, `DefaultFlowCallback`.
    """
    command, step, plan = command_in(case.checkpoint), case.state.global_step, case.plan
    if not command.evaluates_after or not step or case.resume.skip_batches != 0 or (plan and plan.steps_left == 0):
        return
    entries = best.history(case.checkpoint)
    if any(best.step_of(entry) == step and best.is_evaluation(entry) for entry in entries):
        return
    yield Problem(
        f"saved at step {step:,}, the last of an epoch, before the epoch was evaluated: a resume leaves that "
        "evaluation out, so this epoch cannot become the best, and dropout draws other numbers",
        where=f"{STATE}.log_history",
        fix="resume from a checkpoint inside an epoch; a run with --save_strategy epoch has no such checkpoint",
    )


@rule("E604", "patience-exhausted", "warning")
def stopped_early(case: Case) -> Iterator[Problem]:
    """EarlyStopping had ended the run at this checkpoint.

    The resumed run counts from 0 again and trains on.

    Example: `early_stopping_patience_counter` 3 with `early_stopping_patience` 3.

    Cure: none is needed to use the model: the training was over.

    Source: transformers/trainer_callback.py, `EarlyStoppingCallback.on_evaluate`.
    """
    for one in best.early_stopping(case.member):
        if one.patience <= one.waited and one.waited > 0:
            yield Problem(
                f"EarlyStopping had ended the run here ({one.waited} of {one.patience} evaluations without "
                "improvement): a resume trains on, and EarlyStopping counts from 0 again",
                where=_CALLBACK,
                found=one.waited,
                expected=f"below {one.patience}",
                fix="none is needed to use the model: the training was over",
            )


@rule("E609", "patience-not-restored", "warning")
def patience_not_restored(case: Case) -> Iterator[Problem]:
    """EarlyStopping has waited, and the Hugging Face Trainer does not read for how long.

    The states of callbacks are saved, and read on a resume only with `--restore_callback_states_from_checkpoint`. The
    counter begins at 0 again, and the run trains on for as many evaluations as it had waited.

    Example: 2 of 3 evaluations without improvement at step 20: the resumed run stops two evaluations later.

    Cure: the flag, in the resume command. Silent where the saved command has it.

    Source: transformers, `Trainer._load_callback_state`.
    """
    waiting = [one for one in best.early_stopping(case.member) if 0 < one.waited < one.patience]
    if waiting and case.resume.flags:
        one = waiting[0]
        yield Problem(
            f"EarlyStopping has waited for {one.waited} of {one.patience} evaluations, and a resume does not read that "
            "count: EarlyStopping counts from 0 again, and the run stops later",
            where=_CALLBACK,
            found=one.waited,
            fix=f"add {' '.join(case.resume.flags)} to the resume command",
        )


@rule("E610", "best-path-missing", "warning")
def best_path_missing(case: Case) -> Iterator[Problem]:
    """The folder of the best checkpoint is not where the state says.

    The run was moved or renamed, or the folder was deleted. The Hugging Face Trainer warns and forgets the path until
    it finds the folder at the next save; releases before 5 stop at the end of the training, with `save_total_limit` or
    with `load_best_model_at_end`. A note where no other checkpoint lies beside this one, as after a download.

    Example: `best_model_checkpoint` "old_name/checkpoint-500" in a run that is now called `new_name`.

    Cure: `ckpt-doctor migrate --fix-best-path` where the folder lies beside this one.

    Source: transformers, `Trainer._init_training_state`; issue 48315.
    """
    place = best_path.of(case.member)
    if place is None or place.is_there:
        return
    beside = place.beside is not None
    alone = not beside and (len(case.run.members) < 2 or is_url(case.checkpoint.path))
    yield Problem(
        f"trainer_state.json names {place.told} as the best checkpoint, and that folder is missing"
        + (f" ({place.name} is beside this one)" if beside else "")
        + ": the Trainer forgets the best checkpoint, and transformers before 5 fails at the end of the training",
        where=f"{STATE}.best_model_checkpoint",
        found=place.told,
        expected=str(place.beside) if beside else None,
        migration="fix-best-path" if beside else None,
        severity="info" if alone else None,
    )


@rule("L302", "missing-key", "error")
def missing_callback(case: Case) -> Iterator[Problem]:
    """The state of a callback that the run has is not in `trainer_state.json`.

    The Trainer stops at its first save with a KeyError.

    Example: no `EarlyStoppingCallback` in `stateful_callbacks`, and another checkpoint of the run has one.

    Cure: `ckpt-doctor migrate --add-best-score` where `log_history` shows how long it has waited.

    Source: transformers, `Trainer._save_checkpoint`, which takes each callback's entry without a default.
    """
    saved = case.checkpoint.get(*best.CALLBACKS)
    if not isinstance(saved, dict) or best.CALLBACK in saved:
        return
    sibling = sibling_with_callback(case.member, case.run)
    if sibling is not None:
        yield Problem(
            f"`{_CALLBACK}` is missing, and {sibling.label} has it: with this callback the Trainer stops at its first "
            "save with a KeyError",
            where=_CALLBACK,
            migration="add-best-score" if best.replayed(case.member) else None,
        )


RULES = (
    evaluation_left_out,
    missing_best_metric,
    log_disagrees,
    stopped_early,
    patience_not_restored,
    best_path_missing,
    missing_callback,
)
