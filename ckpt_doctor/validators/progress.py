"""Family P: where the run is, and whether the file's counters agree about it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from ckpt_doctor.inert.moments import counts_as, form_of, number_of
from ckpt_doctor.inert.shapes import find
from ckpt_doctor.types import Case, Member, NotChecked, Run, Severity, option_of, real
from ckpt_doctor.validators import series
from ckpt_doctor.validators.rule import Problem, rule
from ckpt_doctor.validators.slots import places


def _named_otherwise(case: Case) -> Iterator[Problem]:
    """The name of a folder says another step than the files in it, or what marks the last one names an older one."""
    name = case.checkpoint.path.name
    if copy := list(series.copied_whole(case)):
        yield from copy
        return
    yield from series.misnamed(case)
    if case.checkpoint.damage:
        return
    counts = find(case.checkpoint).steps if case.checkpoint.parts else ()
    steps = {part.value for part in counts if counts_as(name, part.path[-1])}
    number, step = number_of(name), steps.pop() if len(steps) == 1 else 0
    # a name may count batches, of which several make a step
    if number and step > 0 and (number < step or number % step) and not case.run.trainer:
        yield Problem(
            f"the folder is named after step {number:,}, and its files say {step:,}", found=step, expected=number
        )
    for marker, target in case.run.marked.items():
        if form_of(name) == form_of(target) and (number_of(name) or 0) > (number_of(target) or 0):
            yield Problem(
                f"{marker} names {target}, and this one is newer: what resumes by {marker} goes back to {target}",
                where=marker,
                found=target,
                expected=name,
            )


@rule("P401", "step-name-mismatch", "warning", others=_named_otherwise)
def step_name_mismatch(case: Case) -> Iterator[Problem]:
    """The name says one step, the file another.

    A folder or file was renamed, or a file copied into the wrong folder. The trainer resumes at the file's step;
    whoever chose the folder by its number gets another checkpoint, and `save_total_limit` keeps and deletes by the
    folder's number. Of trainers that are not known it is the file or link which marks the last checkpoint (`latest`,
    `latest_checkpointed_iteration.txt`): it names an older one than there is, because a save was cut off before it was
    written, or someone set it back. Or all tensors are those of another number's checkpoint, by their stored
    checksums, where a third has others.

    Example: a folder named for step 2000 whose file counts 1000.

    Cure: rename the folder to the file's step.

    Source: trainer contract, section 2.
    """
    named, step = case.member.named_step, case.state.global_step
    if named is None or step is None or named == step:
        return
    proven = case.resume.global_step
    if named == case.state.optimizer_step and proven not in (None, step):
        return  # the counter is wrong, not the folder: P403 says so
    if case.state.optimizer_step == named and proven == step:
        return  # several processes: the label was shifted so that the skip count is right
    kind = "folder" if case.member.role == "step" or case.checkpoint.parts else "file"
    counted = (case.plan and case.plan.global_step) or step
    twice = "batches are trained twice" if counted < step else "batches are left out"
    yield Problem(
        f"the {kind} is named after step {named:,}, the file says {step:,}: the trainer resumes at {counted:,}"
        + (f", and {twice}" if counted != step else ""),
        where=case.where("step"),
        found=step,
        expected=named,
        fix=f"rename the {kind} to {case.member.right_name}",
    )


@rule("P402", "epoch-step-mismatch", "warning", migration="fix-epoch")
def epoch_step_mismatch(case: Case) -> Iterator[Problem | NotChecked]:
    """`epoch` and `global_step` make the trainer start somewhere else than where the run was.

    A trainer may start at `epoch` and skip `global_step % train_steps` batches. A checkpoint saved exactly at an
    epoch's end still names that epoch, so the whole epoch is trained again. To take the later of `epoch` and
    `global_step // train_steps` cures that case but not an `epoch` that is too high.

    Example: `epoch` 1 and `global_step` 90 with 45 steps per epoch: epoch 1 is repeated from its first batch.

    Cure: `ckpt-doctor migrate --fix-epoch`.

    Source: trainer contract, sections 3 and 5; fact 12.
    """
    plan, resume, state = case.plan, case.resume, case.state
    counts, step = "step" in case.member.places, state.global_step
    if plan is None or "epoch" not in case.member.places or state.epoch is None or (counts and step is None):
        return  # a trainer that reads no epoch counts it from the step
    if resume.start_epoch is None or plan.skip_batches is None or resume.skip_batches is None:
        asked = any(fact.name == "steps_per_epoch" for fact in case.run.facts.table)
        if asked and counts and (step or 0) > 0 and case.run.facts.steps_per_epoch is None:
            yield NotChecked(
                "epoch against global_step", "the number of steps per epoch is not known", "--steps-per-epoch"
            )
        return
    if counts and resume.global_step == state.optimizer_step != step:
        return  # the counter is proven wrong: P403 says so
    found, expected = (plan.start_epoch, plan.skip_batches), (resume.start_epoch, resume.skip_batches)
    settled = all(fact.settle != "--world-size" for fact in case.open_facts)
    if case.gate and case.run.facts.may_be_several and settled:
        why = "one is assumed, and with more the trainer starts at the same place; how much is left to train is open"
        yield NotChecked("the number of processes", why, "--world-size")
    if found != expected and plan.start_epoch is not None:
        yield Problem(
            f"{_label(case)}: the trainer starts at {_place(*found)}, but the run was at {_place(*expected)}"
            + _consequence(found, expected),
            where=case.where("epoch"),
            found=state.epoch,
            expected=resume.epoch,
        )
    elif plan.start_elsewhere not in (None, expected):
        yield Problem(
            f"the run's own trainer starts at {_place(*expected)}, where the run was; the one that reads best_score "
            f"takes epoch {state.epoch} and global_step {state.global_step:,} for {_place(*plan.start_elsewhere)}",
            where=case.where("step"),
            found=state.global_step,
            expected=resume.global_step,
        )


def _label(case: Case) -> str:
    """What contradicts `epoch`: the trainer's own count of steps, else Adam's; without either how the label is read."""
    own = "step" in case.member.places
    steps = case.state.global_step if own else case.state.optimizer_step
    if steps is None:
        return f"epoch {case.state.epoch} is not what the trainer takes it for"
    name = case.where("step") if own else "Adam's step"
    return f"epoch {case.state.epoch} and {name} {steps:,} cannot both be right"


def _place(epoch: int | None, batches: int | None) -> str:
    return f"epoch {epoch}" + (f", batch {batches:,}" if batches else "")


def _consequence(found: tuple[int | None, int | None], expected: tuple[int | None, int | None]) -> str:
    if None in (*found, *expected):
        return ""
    return "; batches are trained twice" if found < expected else "; batches are left out"


_STEP = ("state", "*", "step")


@rule("P403", "optimizer-step-mismatch", "warning", each=True)
def optimizer_step_mismatch(case: Case) -> Iterator[Problem]:
    """Adam's step counter disagrees with `global_step`.

    Both count optimizer steps, so one of them comes from another step: the file was put together from two, or
    its counter was edited. Adam's bias correction, the schedule and the batches to skip then belong to different steps.
    Under AMP Adam does not count skipped steps, so such files may lag. All parameters that are trained make every step
    together: where their counters differ, a part of the state comes from another step, or was edited.

    Example: `global_step` 100 with an optimizer that has made 60 steps; one parameter at step 3, the others at 75.

    Cure: `ckpt-doctor migrate --fix-epoch` where the folder's name agrees with Adam's counter; otherwise another
    checkpoint.

    Source: trainer contract, fact 2; torch/optim/adam.py (`step`).
    """
    adam, step = case.state.optimizer_step, case.state.global_step
    counts = Counter(value for _, held in places(case.at("optimizer"), _STEP) if (value := real(held)) is not None)
    if len(counts) > 1:
        (usual, _), *rest = counts.most_common()
        mixed = "they come from different steps, and the next updates have another size"
        yield Problem(
            f"Adam's step is {usual:,.10g} for most parameters, but not for {sum(n for _, n in rest):,} "
            f"({', '.join(f'{value:,.10g}' for value, _ in rest[:3])}): "
            + (mixed if case.trains_all else f"right where these are not trained in every step; else {mixed}"),
            where=case.where("optimizer", "state"),
            found=rest[0][0],
            expected=usual,
            fix="",
            severity=None if case.trains_all else "info",
        )
    scaler = case.at("scaler")
    if adam is None or step is None or adam == step or (isinstance(scaler, dict) and scaler):
        return
    if step < 0 or case.resume.global_step == step:
        return  # O707 speaks of it; several processes: the label is shifted on purpose
    proven = case.resume.global_step is not None
    yield Problem(
        f"the run is at step {step:,}, but Adam has made {adam:,}: optimizer and counter come from different steps",
        where=case.where("step"),
        found=step,
        expected=adam,
        migration="fix-epoch" if proven else None,
        fix=None if proven else "",
    )


@rule("P404", "training-complete", "warning")
def training_complete(case: Case) -> Iterator[Problem | NotChecked]:
    """Nothing is left to train.

    The trainer's loop does not run once. If more epochs are asked for, OneCycleLR still has the length that was saved:
    past its end it raises `Tried to step N times`, or under Accelerate stays at its last rate.

    Example: resuming from the `checkpoint` of a run that has finished all its epochs.

    Cure: none needed; to train on, start a new run from these weights.

    Source: trainer contract, sections 5 and 9 (fact 13).
    """
    plan = case.plan
    facts = case.run.facts
    asked = next((f.name for name in ("max_steps", "train_epochs") for f in facts.table if f.name == name), "")
    if case.gate and plan is not None and plan.steps_left is None and facts.train_epochs is None and asked:
        why = f"the number of {asked.partition('_')[2]} is not known"
        yield NotChecked("whether anything is left to train", why, option_of(asked))
    if plan is None or plan.steps_left is None or plan.steps_left > 0:
        return
    epochs = facts.train_epochs
    severity: Severity | None = None
    if epochs is None:  # measured in steps, of which a finished run's last checkpoint has them all
        done, severity = "all steps", None if case.gate else "info"
    else:
        done = f"all {epochs.value} epochs"
    yield Problem(
        f"{done} are done: a resume trains nothing",
        where=case.where("epoch" if epochs else "step"),
        found=plan.start_epoch,
        expected=f"below {epochs.value}" if epochs else None,
        severity=severity,
    )


@rule("P411", "diverged-before", "warning")
def diverged_before(case: Case) -> Iterator[Problem]:
    """The file shows that an earlier resume, not repaired, had already left the uninterrupted run's path.

    A resume from an unrepaired file trains on with late or wrong rates, and what it saves then shows that: the schedule
    lags by more than a save explains, or the mode has another rate there. A repair sets schedule and rate
    right; weights and moments stay those of another run, so the finding stays as well (a migrated file's record keeps
    the values from before).

    Example: `last_epoch` 98 at step 100, where the trainer itself, which saves before the scheduler's step, writes 99.

    Cure: none in the file. A checkpoint from before that resume, repaired, continues as the uninterrupted run would.

    Source: trainer contract, facts 9, 11 and 19.
    """
    if case.diverged:
        yield Problem(
            f"an earlier resume has left the uninterrupted run's path: {case.diverged}. The weights are those of "
            "another run for good; from here on the rates can be right",
        )


@rule("P413", "fact-open", "warning")
def fact_open(case: Case) -> Iterator[Problem]:
    """A fact of the training command is open, and what the resume does depends on it.

    The kind of schedule, the number of processes and the steps per epoch may be in no file; they are inferred from the
    run's checkpoints and its log, and sometimes several values fit. Where all of them come to the same resume, nothing
    is said. Where they differ in the next rate, in the place in the epoch or in the batches to skip, the file may be
    right or wrong, and the resumed run may differ without a word from any file.

    Example: a best checkpoint without a log: after two epochs the next rate is half of the file's in one mode of the
    trainer, and the file's own in another.

    Cure: give the option that the finding names, with the training command's value.

    Source: trainer contract, facts 8, 11 and 21.
    """
    for fact in case.open_facts:
        told = "; ".join(f"{candidate}: {follows}" for candidate, follows in fact.candidates[:6])
        told += f"; and {len(fact.candidates) - 6} more" if len(fact.candidates) > 6 else ""
        yield Problem(
            f"{fact.name} is not known, and the resume depends on it ({told})",
            where=fact.settle,
            found=[candidate for candidate, _ in fact.candidates],
            fix=f"give {fact.settle} with the training command's value",
        )


@rule("P407", "steps-out-of-order", "warning", "run")
def steps_out_of_order(run: Run) -> Iterator[Problem]:
    """Step folders go backwards in training: a higher number holds an earlier epoch.

    Folders of two runs were mixed, or one was overwritten by a run that started again. The newest number is then not
    the newest training.

    Example: step 200 in epoch 1 beside step 100 in epoch 2.

    Cure: move the folders of the other run away.

    Source: trainer contract, section 3 (epoch and global_step only grow).
    """
    steps = [m for m in run.members if m.role == "step" and m.named_step is not None and _epoch_fits(m, run)]
    steps.sort(key=lambda m: m.named_step or 0)
    for earlier, later in itertools.pairwise(steps):
        if (earlier.state.epoch or 0) > (later.state.epoch or 0):
            yield Problem(
                f"{later.label} is in epoch {later.state.epoch}, "
                f"{earlier.label} already in epoch {earlier.state.epoch}: "
                "they are not of one run, so the highest number is not the newest training",
                where=later.label,
                found=later.state.epoch,
                expected=earlier.state.epoch,
            )


def _epoch_fits(member: Member, run: Run) -> bool:
    """Whether the file's `epoch` is one that its own step allows; one that isn't proves nothing of the run (P402)."""
    epoch, step, length = member.state.epoch, member.state.global_step, run.facts.steps_per_epoch
    if epoch is None or epoch < 0 or step is None or length is None or run.facts.processes > 1:
        return epoch is not None and epoch >= 0
    return epoch * length.value <= step <= (epoch + 1) * length.value


@rule("P408", "facts-disagree", "warning", "run")
def facts_disagree(run: Run) -> Iterator[Problem]:
    """A fact given on the command line contradicts the run's own files or its log.

    Everything that is computed from it would be wrong. `scan` and `check` use the given value all the same; `migrate`
    writes nothing that depends on a fact of the training command then.

    Example: an option that stands for OneCycleLR, for a run whose scheduler is CosineAnnealingLR.

    Cure: correct the option, or leave it out: what can be inferred is.

    Source: the files named in the message.
    """
    for contradiction in run.facts.contradictions:
        wrong = [name for name, told in run.facts.disproved.items() if told == contradiction]
        options = " ".join(map(option_of, wrong))
        yield Problem(contradiction, fix=f"leave out {options}, or correct it" if wrong else "")


RULES = (
    step_name_mismatch,
    epoch_step_mismatch,
    optimizer_step_mismatch,
    training_complete,
    diverged_before,
    fact_open,
)
RUN_RULES = (steps_out_of_order, facts_disagree)
