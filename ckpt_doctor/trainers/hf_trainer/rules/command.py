"""The command of the resume against the saved one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ckpt_doctor.trainers.hf_trainer import rates
from ckpt_doctor.trainers.hf_trainer.command import command_in, facts_of
from ckpt_doctor.trainers.hf_trainer.known import follows_formula
from ckpt_doctor.trainers.hf_trainer.layout import CONFIG, STATE
from ckpt_doctor.trainers.hf_trainer.progress import epochs_told, is_without_length, since_an_end, total_steps
from ckpt_doctor.types import Case, option_of, same_rate
from ckpt_doctor.validators.rule import Problem, rule


@rule("R512", "command-changed", "warning")
def command_changed(case: Case) -> Iterator[Problem]:
    """A given fact of the resume command differs from the saved one: the Hugging Face Trainer changes its course.

    Another number of epochs or steps makes another schedule: the rate jumps to where the new curve is at this step.
    Another batch size or accumulation makes other epochs: the step no longer means the same batches, and where it is
    beyond the new end nothing is trained, with exit code 0. Another learning rate is ignored, because the schedule
    brings its base rates from the checkpoint. Only what is given is compared.

    Example: `--num-train-epochs 6` for a run that was started with 4: the rate at step 23 is 0.0063 instead of 0.0045.

    Cure: resume with the command that the run was started with, or start a new run from these weights.

    Source: transformers, `Trainer.set_initial_training_values`, `TrainerState.init_training_references`.
    """
    facts, command = facts_of(case.run), command_in(case.checkpoint)
    saved = {
        "num_train_epochs": epochs_told(command),
        "max_steps": total_steps(case.checkpoint),
        "per_device_train_batch_size": command.count("per_device_train_batch_size"),
        "gradient_accumulation_steps": command.count("gradient_accumulation_steps"),
        "learning_rate": command.number("learning_rate"),
    }
    for name, before in saved.items():
        given = facts.get(name)
        if given is None or not given.given or before is None or same_rate(given.value, before):
            continue
        yield Problem(
            f"the run was saved with --{name} {before:g} and would be resumed with {given.value:g}: "
            + _consequence(case, name, given.value, before),
            where=option_of(name),
            found=given.value,
            expected=before,
            fix=f"resume with --{name} {before:g}",
        )


def _consequence(case: Case, name: str, given: float, before: float) -> str:
    if name == "learning_rate":
        return "the Trainer ignores the new rate, because the schedule's base rates come from the checkpoint"
    if name in ("num_train_epochs", "max_steps"):
        return _other_length(case, name, given)
    return _other_batches(case, name, given, before)


def _other_length(case: Case, name: str, given: float) -> str:
    steps, at = facts_of(case.run).steps_per_epoch, case.state.global_step
    total = int(given) if name == "max_steps" else math.ceil(given * steps.value) if steps else None
    if total is not None and at is not None and at >= total:
        return f"step {at:,} is the end of such a run, so nothing is trained"
    last, now = case.state.last_epoch, case.resume.lr
    if total is not None and last is not None and now and follows_formula(case.run, case.member):
        jumps = rates.computed(case.member, last + 1, total), rates.computed(case.member, last + 1)
        if jumps[0] and jumps[1]:
            if same_rate(jumps[0][0], jumps[1][0]):
                return "the rate stays the same, and the training ends at another step"
            return f"the rate of the second step is {jumps[0][0]:.6g} instead of {jumps[1][0]:.6g}"
    return "a schedule that depends on the length continues at another rate"


def _other_batches(case: Case, name: str, given: float, before: float) -> str:
    if name == "per_device_train_batch_size" and _release(case) < 5:
        return "transformers before 5 keeps the size that trainer_state.json has, without a warning"
    steps, at, epochs = (
        facts_of(case.run).steps_per_epoch,
        case.state.global_step,
        epochs_told(command_in(case.checkpoint)),
    )
    if steps is not None and epochs and at is not None:
        total = math.ceil(epochs * math.ceil(steps.value * before / given))
        if at >= total:
            return f"the training then ends at about step {total:,}, before step {at:,}, so nothing is trained"
    return f"an epoch then has another number of steps, and step {at or 0:,} is at other batches"


def _release(case: Case) -> int:
    """The major release of transformers that wrote the checkpoint; the newest known where no file says it."""
    told = case.checkpoint.get(CONFIG, "transformers_version")
    major = told.partition(".")[0] if isinstance(told, str) else ""
    return int(major) if major.isascii() and major.isdigit() and len(major) < 4 else 5


@rule("P410", "mid-epoch-data", "warning")
def data_repeated(case: Case) -> Iterator[Problem]:
    """The Hugging Face Trainer will repeat data after this checkpoint.

    With `--ignore_data_skip` it begins the epoch's order anew in the middle of an epoch instead of skipping the batches
    that are done: they are trained twice, and the last ones of the epoch not at all. Data without a length, as that of
    an IterableDataset, counts as one epoch however often it comes to its end: the resume skips more than it has, and
    begins it anew. With `group_by_length`, or without the seedable sampler, torch's random state deals each epoch's
    order, and a resume within an epoch restores that state only after it has dealt the order.

    Example: `checkpoint-700` in an epoch of 1,000 steps.

    Cure: leave `--ignore_data_skip` out of the resume command. Of data without a length: a dataset that repeats itself.
    Of an order without a seed: a checkpoint at an epoch's end.

    Source: transformers, `Trainer._init_training_state`, `set_initial_training_values`, `_get_train_sampler`,
    `_run_epoch`.
    """
    command, point = command_in(case.checkpoint), case.resume
    order = command.unseeded_order if not is_without_length(case.checkpoint) and point.start_epoch else ""
    if order and point.skip_batches:
        yield Problem(
            f"the order of each epoch is dealt by torch's random state ({order}), which a resume within an epoch "
            f"restores only after the shuffle: of epoch {point.start_epoch:,} some data is trained again, some never",
            where=f"{STATE}.epoch",
            fix="resume from a checkpoint at an epoch's end (--save_strategy epoch)",
        )
        return
    again = since_an_end(case.checkpoint)
    if again and point.skip_batches:
        yield Problem(
            f"the data has no length and has come to its end before: the resume skips {point.skip_batches:,} "
            f"batches at once, which is more than it has, and begins it anew: {again:,} batches are trained again",
            where=f"{STATE}.epoch",
            fix="resume from an end of the data, or let the dataset repeat itself without an end",
        )
        return
    if command.is_on("ignore_data_skip") and point.skip_batches:
        yield Problem(
            f"the saved command has --ignore_data_skip: {point.skip_batches:,} batches of this epoch are trained again",
            where="ignore_data_skip",
            fix="leave --ignore_data_skip out of the resume command",
        )


RULES = (command_changed, data_repeated)
