"""Families L, P and R: what a file has for a resume, where in its epoch it was saved, the end of its schedule."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.inert.schedule_ends import end_of
from ckpt_doctor.trainers.lightning import pace
from ckpt_doctor.trainers.lightning.averaging import AVERAGED, is_averaged
from ckpt_doctor.trainers.lightning.command import facts_of
from ckpt_doctor.trainers.lightning.history import history_of
from ckpt_doctor.trainers.lightning.layout import is_measured, is_weights_only, optimizers
from ckpt_doctor.trainers.lightning.loops import loops_of
from ckpt_doctor.trainers.lightning.resume_point import OTHER_LOOPS, told_epoch
from ckpt_doctor.trainers.lightning.schedule import had_schedule_before, is_without_schedule, rebuilt, state_of
from ckpt_doctor.trainers.lightning.several import departures
from ckpt_doctor.trainers.state import integer, param_groups
from ckpt_doctor.types import Case, NotChecked
from ckpt_doctor.validators.files import damage_of
from ckpt_doctor.validators.rule import Problem, rule


@rule("L302", "missing-key", "error")
def weights_only(case: Case) -> Iterator[Problem]:
    """The optimizer's state is absent.

    `ModelCheckpoint(save_weights_only=True)` leaves optimizer, schedule and callbacks out on purpose. The file is right
    for prediction and for `load_from_checkpoint`; `fit(ckpt_path=...)` stops with a KeyError. An error only where the
    question is whether to resume from that very file.

    Example: a file with `state_dict` and `loops`, and without `optimizer_states`.

    Cure: none in the file; resume from one that was saved whole.

    Source: lightning/pytorch/trainer/connectors/checkpoint_connector.py, `restore_optimizers_and_schedulers`.
    """
    if is_weights_only(case.checkpoint):
        yield Problem(
            "saved without optimizer on purpose (save_weights_only): the weights are whole, but "
            "fit(ckpt_path=...) stops with a KeyError",
            where="optimizer_states",
            severity=None if case.gate else "info",
            fix="resume from a checkpoint that was saved whole" if case.gate else None,
        )


@rule("S202", "unknown-global", "info")
def unknown_global(case: Case) -> Iterator[Problem]:
    """The file names classes or functions of another package, which is usual.

    `hyper_parameters` are saved as they were given, and a callback's or a data module's state may hold objects of the
    project. `fit(ckpt_path=...)` then needs `weights_only=False` (torch 2.6 on).

    Example: an `omegaconf.DictConfig` in `hyper_parameters`.

    Cure: none is needed where the package is installed; save plain values with `save_hyperparameters`.

    Source: lightning/pytorch/trainer/connectors/checkpoint_connector.py, `dump_checkpoint`.
    """
    for found in damage_of(case, "unknown-global"):
        yield Problem(found.message, found.where, found.found, found.expected, "")


@rule("P402", "epoch-step-mismatch", "warning")
def no_loops(case: Case) -> Iterator[Problem]:
    """The loops' counters are absent, so the trainer starts at epoch 0, while optimizer and schedule go on.

    `epoch` and `global_step` at the top are read by no resume.

    Example: a file that a script wrote with `state_dict`, `optimizer_states` and `global_step` 90, without `loops`.

    Cure: none in the file; resume from one that Lightning wrote whole.

    Source: lightning/pytorch/trainer/connectors/checkpoint_connector.py, `restore_loops`.
    """
    checkpoint = case.checkpoint
    if is_weights_only(checkpoint) or not is_measured(checkpoint) or loops_of(checkpoint) is not None:
        return
    step = case.state.global_step
    if "loops" not in checkpoint.keys and step:
        yield Problem(
            "the file has no `loops`: the trainer starts at epoch 0, step 0, while optimizer and schedule continue "
            f"from step {step:,}; a OneCycleLR raises an error before the end",
            where="loops",
            fix="",
        )


@rule("P409", "parts-disagree", "warning")
def label(case: Case) -> Iterator[Problem]:
    """The labels at the top of the file are of another step than the loops' counters.

    No resume reads `epoch` and `global_step`; names of files and other tools do. Weights that WeightAveraging averaged
    when training ended are another matter: they are right for prediction, and a resume trains on from the average with
    the optimizer's state of the trained weights. Of several optimizers or schedules, one that is of another moment.

    Example: `global_step` 90 where the loops have counted 45 steps.

    Cure: none in the file; resume from one that was saved during training.

    Source: lightning/pytorch/trainer/connectors/checkpoint_connector.py, `dump_checkpoint`;
    lightning/pytorch/callbacks/weight_averaging.py, `on_train_end`.
    """
    if is_weights_only(case.checkpoint) or not is_measured(case.checkpoint) or loops_of(case.checkpoint) is None:
        return
    if is_averaged(case.checkpoint):
        yield Problem(
            f"{AVERAGED}: a resume trains on from the average, with the optimizer's state of the trained weights",
            where="state_dict",
            fix="resume from a file that was saved during training",
        )
    if case.plan is not None and OTHER_LOOPS in case.plan.why_not_exact:
        told = case.checkpoint.get("global_step")
        yield Problem(
            f"{OTHER_LOOPS}: they are at step {case.state.global_step:,}, the rest at step {told}; a resume counts "
            "epochs and batches on from the loops",
            where="loops.fit_loop",
            found=case.state.global_step,
            expected=told,
            fix="",
        )
        return
    epoch = told_epoch(case.checkpoint)
    if epoch is not None and case.state.epoch is not None:
        yield Problem(
            f"the loops count {case.state.epoch:,} epochs that are over, and their batches and the label `epoch` "
            f"{epoch:,}: a resume goes on from the loops' epoch",
            where="loops.fit_loop.epoch_progress",
            found=case.state.epoch,
            expected=epoch,
            fix="",
        )
    history = history_of(case.run)
    known = {one.where("scheduler") for one in case.optimizers if one.resume.last_epoch is not None}
    for place, why in departures(case.checkpoint, history.lines, history.shortfalls, known):
        yield Problem(f"{why}: they are of different moments", where=place, fix="")
    for key, counted in (("epoch", case.state.epoch), ("global_step", case.state.global_step)):
        told = integer(case.checkpoint.get(key))
        if told is not None and counted is not None and told != counted:
            yield Problem(
                f"`{key}` is {told:,}, and the loops' counters have {counted:,}: no resume reads `{key}`, but other "
                "tools do",
                where=key,
                found=told,
                expected=counted,
                severity="info",
            )


@rule("P410", "mid-epoch-data", "warning")
def mid_epoch(case: Case) -> Iterator[Problem]:
    """Saved within an epoch, without the loader's state: the resume repeats data and leaves other data out.

    The loops count on from the batch after the last one, but the loader begins anew: the epoch's first batches are
    trained a second time, and as many at its end never. Counters and rates are right.

    Example: saved after 30 of 45 batches: batches 0 to 14 are trained twice and the last 15 never.

    Cure: none in the file; resume from one that was saved at the end of an epoch, or use a loader that saves its state.

    Source: lightning/pytorch/loops/training_epoch_loop.py, `on_run_start` and `advance`; measured with 2.6.6.
    """
    loops = loops_of(case.checkpoint)
    if case.plan is None or loops is None or not is_measured(case.checkpoint):
        return
    if loops.at_end or loops.has_loader_state:
        return
    done, length = loops.batch, facts_of(case.run).batches
    of = f" (of {length.value:,})" if length is not None and length.value > done else ""
    yield Problem(
        f"saved after {done:,} batch{'es' if done > 1 else ''}{of} of epoch {loops.epoch}, without the loader's state: "
        f"the loader begins anew, so {_repeated(case, done)}",
        where="loops.fit_loop",
        found=done if of else None,
        fix="",
    )


def _repeated(case: Case, done: int) -> str:
    """Which batches are trained twice, and which never, where a loader begins an epoch anew after so many of them."""
    length, shuffle = facts_of(case.run).batches, case.run.facts.shuffle
    if length is None or length.value <= done:
        return "the epoch's first batches are trained twice (and where it has an end, as many at its end never)"
    lost = min(done, length.value - done)
    twice, never = (f"batches 0 to {lost - 1:,} are", f"last {lost:,}") if lost > 1 else ("batch 0 is", "last one")
    in_order = shuffle is not None and not shuffle.value
    other = "" if in_order else "; a loader that shuffles deals another order"
    return f"{twice} trained twice and the {never} never{other}"


@rule("L306", "no-rng-state", "info")
def no_rng_state(case: Case) -> Iterator[Problem | NotChecked]:
    """Lightning saves no states of the random generators.

    Every resume seeds as the script does. A loader that shuffles deals the order of the first epoch again, whatever the
    epoch is; dropout draws the numbers of the first epoch. Loaders that do not shuffle, and models without dropout,
    continue identically.

    Example: every file of a run whose loader shuffles.

    Cure: none in the file; call `seed_everything(seed + epoch)` in the script, or give `--no-shuffle` where no loader
    shuffles.

    Source: lightning/pytorch/trainer/connectors/checkpoint_connector.py, `dump_checkpoint`.
    """
    shuffle = case.run.facts.shuffle
    if case.plan is not None and not is_measured(case.checkpoint):
        told = case.checkpoint.get("pytorch-lightning_version")
        why = f"Lightning {told} wrote the file, and how Lightning resumes is known for 2.0 and later"
        yield NotChecked("the resume", why, "")
    elif case.plan is not None and loops_of(case.checkpoint) is None and "loops" in case.checkpoint.keys:
        yield NotChecked("how far training was", "the loops' counters are not complete, or contradict each other", "")
    if case.plan is not None and is_measured(case.checkpoint) and not (shuffle and not shuffle.value):
        yield Problem(
            "the file has no random state: after every resume a loader that shuffles deals the first epoch's order "
            "again, and dropout draws the first epoch's numbers",
            fix="call seed_everything(seed + epoch) in the script, or give --no-shuffle where no loader shuffles",
        )


@rule("O706", "scaler-missing", "info")
def scaler_missing(case: Case) -> Iterator[Problem]:
    """A sibling has a gradient scaler's state, and this file has none.

    Example: no `MixedPrecision` in `epoch=1.ckpt`, and `last.ckpt` has one.

    Cure: none in the file; resume from one that has the state.

    Source: lightning/pytorch/plugins/precision/amp.py, `state_dict`.
    """
    sibling = history_of(case.run).with_scaler
    if case.plan is not None and sibling and "scaler" not in case.member.places:
        yield Problem(
            f"the file has no scaler state, and {sibling} has one: a fresh scaler skips steps until its scale fits"
        )


@rule("O705", "optimizer-reset", "warning")
def no_optimizer(case: Case) -> Iterator[Problem]:
    """`optimizer_states` is empty, and training has begun.

    Lightning loads as many states as the file has, without a word: the optimizer starts anew, at the script's rate.

    Example: `optimizer_states` [] where the loops have counted 90 steps.

    Cure: none in the file; resume from one that has the state.

    Source: lightning/pytorch/trainer/connectors/checkpoint_connector.py, `restore_optimizers`.
    """
    steps = case.state.global_step
    if case.plan is not None and steps and loops_of(case.checkpoint) is not None and not optimizers(case.checkpoint):
        yield Problem(
            f"optimizer_states is empty where the loops have counted {steps:,} steps: the optimizer starts anew, at "
            "the script's rate",
            where="optimizer_states",
            fix="",
        )


@rule("R508", "scheduler-absent", "warning", migration="sync-scheduler")
def no_schedule(case: Case) -> Iterator[Problem]:
    """`lr_schedulers` is empty where the loops have stepped a scheduler.

    Lightning loads as many states as the file has, without a word: the schedule starts anew.

    Example: `lr_schedulers` [] in one file, and a OneCycleLR's state in its siblings.

    Cure: `ckpt-doctor migrate --sync-scheduler`, where a sibling's schedule, moved to this step, has the file's rates.

    Source: lightning/pytorch/trainer/connectors/checkpoint_connector.py, `restore_lr_schedulers`.
    """
    loops = loops_of(case.checkpoint)
    if case.plan is None or loops is None:
        return
    for one in case.optimizers:
        if (other := pace.donor(one.member, case.run)) is not None:
            yield Problem(
                f"lr_schedulers has no schedule of {one.where('optimizer')}, and that of {other.label} has one: it "
                "starts anew, and those behind it are loaded into the schedulers before them",
                where="lr_schedulers",
                fix=None if pace.rebuilt(case.member, case.run) is not None else "",
            )
    if not loops.schedule or case.several or not is_without_schedule(case.checkpoint):
        return
    begun = any("initial_lr" in group for group in param_groups(case.member))
    if not begun and not had_schedule_before(case.member, case.run):
        return  # its optimizer is a new one, of a later `fit` without a schedule
    yield Problem(
        f"lr_schedulers is empty where the loops have made {loops.schedule:,} steps of a schedule: it starts anew",
        where="lr_schedulers",
        fix=None if rebuilt(case.member, case.run) is not None else "",
    )


@rule("R511", "schedule-finished", "warning", each=True)
def schedule_finished(case: Case) -> Iterator[Problem]:
    """The schedule ends before the training does: OneCycleLR's step after its last raises.

    `total_steps` comes from the file, whatever `max_epochs` now is. A note where nothing says that training goes on.

    Example: `total_steps` 90, saved at step 90 of a run that is resumed with a larger `max_epochs`.

    Cure: none in the file; load the weights alone, and train on with a new schedule.

    Source: torch/optim/lr_scheduler.py, `OneCycleLR.get_lr`.
    """
    state, plan, loops = state_of(case.member), case.plan, loops_of(case.checkpoint)
    end = end_of(state) if state is not None else None
    if state is None or end is None or plan is None or loops is None:
        return
    last, total, at = end.last_epoch, end.total_steps, integer(state.get("last_epoch"))
    if at is None or case.resume.last_epoch is None:
        return
    left, goes_on = end.steps_left - (case.resume.last_epoch - at), plan.steps_left
    if case.schedule.unit == "epoch" and goes_on is not None:
        goes_on = goes_on // (facts_of(case.run).steps or 1)
    raises = f"the step after the last one raises an error (Tried to step {total + 1:,} times)"
    if goes_on is not None and goes_on > left:
        yield Problem(
            f"OneCycleLR is at step {last:,} of {total:,} and {goes_on:,} more are to be trained: {raises}",
            where=case.where("scheduler", *end.path, "total_steps"),
            found=total,
            expected=total + goes_on - left,
        )
    elif left <= 0 and goes_on is None:
        yield Problem(
            f"OneCycleLR is at its end, step {last:,} of {total:,}: with a larger max_epochs {raises}",
            where=case.where("scheduler", *end.path, "total_steps"),
            found=last,
            severity="info",
        )


RULES = (
    weights_only,
    unknown_global,
    no_loops,
    label,
    mid_epoch,
    no_rng_state,
    no_optimizer,
    scaler_missing,
    no_schedule,
    schedule_finished,
)
