"""Family E: what ModelCheckpoint and EarlyStopping remember, and whether a resume takes it up."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.trainers.lightning.callbacks import savers, stoppers
from ckpt_doctor.trainers.lightning.history import history_of
from ckpt_doctor.trainers.lightning.loops import loops_of
from ckpt_doctor.trainers.lightning.memory import (
    OF_A_LOGGER,
    check_left_out,
    dirpath_here,
    folder_of,
    lies_with_its_run,
    lost,
    moved_savers,
    newest_step,
    saved_later,
    stopper_apart,
)
from ckpt_doctor.trainers.lightning.resume_point import has_other_loops
from ckpt_doctor.types import Case, NotChecked
from ckpt_doctor.validators.rule import Problem, rule


@rule("E604", "patience-exhausted", "warning")
def patience_exhausted(case: Case) -> Iterator[Problem]:
    """EarlyStopping has waited as long as its patience: the next check without improvement ends the training.

    Lightning takes the patience from the file, so a larger one in the script is without effect.

    Example: `wait_count` 4 with `patience` 4.

    Cure: none by a rule; to train on, leave the callback out of the script.

    Source: lightning/pytorch/callbacks/early_stopping.py, `load_state_dict`.
    """
    for stopper in stoppers(case.checkpoint) if case.plan else ():
        waited, patience = stopper.count("wait_count"), stopper.count("patience")
        if waited is not None and patience is not None and waited >= patience > 0:
            yield Problem(
                f"EarlyStopping has waited {waited} of {patience} checks: the run had stopped here. A resume trains on "
                "until the next check, and stops then unless that check is the best so far",
                where=".".join((*map(str, stopper.path), "wait_count")),
                found=waited,
                expected=f"below {patience}",
            )


@rule("P405", "epoch-end-not-validated", "warning")
def epoch_not_checked(case: Case) -> Iterator[Problem]:
    """The epoch's checks of ModelCheckpoint and EarlyStopping come after this save, and a resume leaves them out.

    Example: `every_n_train_steps` that falls on the last batch of an epoch, before its validation. Of several
    ModelCheckpoints that save at one step each file lacks what those after it count.

    Cure: none in the file; resume from one that was saved at the end of an epoch, the last one of its step.

    Source: lightning/pytorch/loops/training_epoch_loop.py, `on_advance_end`; measured with 2.6.6.
    """
    later = saved_later(case) if case.plan and not has_other_loops(case.member) else None
    if later is not None:
        other, saver = later
        yield Problem(
            f"{other.label} was saved after this file at the same step, and has the {saver.monitor} of this epoch: "
            "after a resume from this file ModelCheckpoint never counts it",
            where=".".join(map(str, saver.path)),
            fix=f"resume from {other.label}",
        )
    found, loops = check_left_out(case.member, case.run), loops_of(case.checkpoint)
    if case.plan is None or case.plan.steps_left == 0 or loops is None or found is None or not found.is_sure:
        return
    yield Problem(
        f"saved at the last batch of epoch {loops.epoch:,}, before its validation, which a resume leaves out: the "
        f"{found.waiting.monitor} of this epoch reaches neither ModelCheckpoint nor EarlyStopping",
        where=".".join(map(str, found.waiting.path)),
        fix="resume from a file that was saved at the end of an epoch",
    )


@rule("P409", "parts-disagree", "warning")
def memory_of_another_moment(case: Case) -> Iterator[Problem]:
    """The state of ModelCheckpoint or EarlyStopping is of another moment than the file.

    Of ModelCheckpoint: each other file of the run is the newest that it keeps itself. Of EarlyStopping: a check either
    finds a better score or waits one longer, and so the states of all other files follow each other.

    Example: the newest of `best_k_models` is of step 40, and the file is of step 60.

    Cure: none in the file; take all parts from one checkpoint.

    Source: lightning/pytorch/callbacks/model_checkpoint.py, `state_dict`.
    """
    if not case.plan or has_other_loops(case.member):
        return
    newest, mine = history_of(case.run).newest, case.state.global_step
    for saver in savers(case.checkpoint):
        step = newest_step(saver)
        alone = newest.get((saver.path, True), 0) > 1 and newest.get((saver.path, False)) == 1
        if alone and step is not None and step != mine:
            yield Problem(
                f"the newest file that ModelCheckpoint keeps in its state is of step {step:,}, and this file is of "
                f"step {mine:,}: the state is of another moment, and with it the best score",
                where=".".join(map(str, saver.path)),
                found=step,
                expected=mine,
                fix="",
            )
            return
    if (stopper := stopper_apart(case.member, case.run)) is not None:
        yield Problem(
            "EarlyStopping's best score and count do not follow from the file before, while those of all other files "
            "follow each other: the state is of another moment, and training stops at another epoch",
            where=".".join(map(str, stopper.path)),
            found=stopper.count("wait_count"),
            fix="",
        )


@rule("E610", "best-path-missing", "warning", migration="fix-best-path")
def best_path_missing(case: Case) -> Iterator[Problem | NotChecked]:
    """The best checkpoint that the state names is not where it says: the folder was moved or copied.

    ModelCheckpoint compares its `dirpath` with the saved one. Where they differ it keeps `best_model_path` and drops
    the rest with a warning: a worse epoch becomes the best, and the files that are there are never pruned. The default
    logger gives each start a new folder (`version_1`), which has the same effect: name the folder with
    `ModelCheckpoint(dirpath=...)`, or the logger's `version=`. A note where no other file of that folder lies here, as
    after a download.

    Example: `dirpath` "old_name/checkpoints" in a run that is now called `new_name`.

    Cure: `ckpt-doctor migrate --fix-best-path`, or give the folder its old name.

    Source: lightning/pytorch/callbacks/model_checkpoint.py, `load_state_dict`.
    """
    if case.plan is None:
        return
    for saver in moved_savers(case):
        near = lies_with_its_run(case, saver)
        yield Problem(
            f"the file was saved under {saver.text('dirpath')} and is now in another folder: ModelCheckpoint forgets "
            "its best score and the files that it keeps, unless the folder has its old name where the run is resumed",
            where=".".join((*map(str, saver.path), "dirpath")),
            found=saver.text("dirpath"),
            expected=dirpath_here(case.checkpoint, saver),
            severity=None if near else "info",
            fix=None if near else "",
        )
    if case.gate and OF_A_LOGGER.search(folder_of(case.checkpoint)):
        keeps = any(saver.monitor for saver in savers(case.checkpoint))
        if keeps and not moved_savers(case):
            why = "the default logger gives each start a new folder, in which ModelCheckpoint forgets the best score"
            yield NotChecked("the best model", why, "ModelCheckpoint(dirpath=...) or version= of the logger")


@rule("E611", "no-best-metric", "warning", migration="add-best-score")
def no_best_metric(case: Case) -> Iterator[Problem]:
    """A sibling shows that a best is kept, and this checkpoint does not remember it.

    The states of ModelCheckpoint or EarlyStopping are absent from this file: after a resume the first epoch becomes the
    best, however bad it is, the files that are there are never pruned, and EarlyStopping waits anew.

    Example: no `EarlyStopping` in `callbacks`, and `last.ckpt` has one.

    Cure: `ckpt-doctor migrate --add-best-score` where the sibling proves the state.

    Source: lightning/pytorch/trainer/call.py, `_call_callbacks_load_state_dict`.
    """
    if case.plan is None:
        return
    for state in lost(case):
        follows = {
            "ModelCheckpoint": "the next epoch becomes the best, however bad it is",
            "EarlyStopping": "EarlyStopping waits anew, for longer than in the uninterrupted run",
        }[state.kind]
        yield Problem(
            f"the file has no state of {state.kind}, and {state.donor.label} has one: {follows}",
            where=".".join(map(str, state.path)),
            fix=None if state.value is not None else "",
        )


RULES = (epoch_not_checked, memory_of_another_moment, patience_exhausted, best_path_missing, no_best_metric)
