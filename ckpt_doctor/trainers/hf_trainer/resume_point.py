"""Where the Trainer resumes from a checkpoint, and where the uninterrupted run was: `ResumePoint` and `ResumePlan`."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ckpt_doctor.trainers.hf_trainer import rates
from ckpt_doctor.trainers.hf_trainer.best import early_stopping
from ckpt_doctor.trainers.hf_trainer.command import RESTORE, HFFacts, command_in, facts_of
from ckpt_doctor.trainers.hf_trainer.elsewhere import elsewhere
from ckpt_doctor.trainers.hf_trainer.known import follows_formula, known_of, lost_ranks
from ckpt_doctor.trainers.hf_trainer.layout import SCALER, SCHEDULER, file_names, has_optimizer, has_scheduler, ranks
from ckpt_doctor.trainers.hf_trainer.parts import is_lost, is_weights_only
from ckpt_doctor.trainers.hf_trainer.progress import (
    is_without_length,
    majority,
    scheduled_steps,
    since_an_end,
    total_steps,
    true_step,
)
from ckpt_doctor.trainers.state import last_rates, own_rates
from ckpt_doctor.types import Evidence, Member, NotChecked, Rates, ResumePlan, ResumePoint, Run, Schedule

FLAGS = (f"--{RESTORE}", "True")
WHY_OPEN = {
    "the scheduler.pt of this step": "scheduler.pt counts another number of evaluations than the log has, so it comes "
    "from another step"
}
"""What settles an open rate -> why it is open."""
_ADAM = frozenset({"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"})


def resume_point(member: Member, run: Run) -> ResumePoint:
    """Where an uninterrupted run is when it begins the batch at which this checkpoint must make the Trainer resume."""
    proven = true_step(member)
    step = proven.value if proven else majority(member)
    if step is None or member.checkpoint.layout != "training":
        return ResumePoint()
    start, skip = _place(step, run, member)
    position = rates.position_at(member, step)
    found = _rates(member, run, position) if has_optimizer(member.checkpoint) else None
    is_open = rates.misses_evaluations(member)
    return ResumePoint(
        start_epoch=start,
        skip_batches=skip,
        global_step=step if proven else None,
        last_epoch=position if proven and scheduled_steps(member) is not None else None,
        lr=found.value.lr if found and not is_open else None,
        last_lr=found.value.last_lr if found and not is_open else None,
        finished_epochs=start,
        flags=_flags(member),
        unsettled={"lr": next(iter(WHY_OPEN))} if is_open else {},
    )


def _place(step: int, run: Run, member: Member) -> tuple[int | None, int | None]:
    """`Trainer._init_training_state`: the epoch, and the batches of it to skip."""
    steps = facts_of(run).steps_per_epoch
    if steps is None:
        return None, None
    epoch, inside = divmod(step, steps.value)
    return epoch, inside * command_in(member.checkpoint).accumulation


def _rates(member: Member, run: Run, position: int | None) -> Evidence[Rates] | None:
    """The rates at a position; the checkpoint's own where the script sets them, whatever the schedule has."""
    own, last = own_rates(member), last_rates(member)
    if own and last and known_of(run).sets_rates:
        return Evidence(Rates(own, None, last), "the checkpoint's own rate")
    return rates.rates_at(member, position, follows_formula(run, member))


def _flags(member: Member) -> tuple[str, ...]:
    """What makes the Trainer read how long EarlyStopping has waited, where that matters."""
    if command_in(member.checkpoint).is_on(RESTORE):
        return ()
    return FLAGS if any(0 < one.waited < one.patience for one in early_stopping(member)) else ()


def schedule_of(member: Member, run: Run) -> Schedule:
    """What is known of the schedule: the Trainer steps it with the optimizer, unless evaluations move it."""
    step = true_step(member)
    position = rates.position_at(member, step.value) if step else None
    found = _rates(member, run, position)
    return Schedule(moves=not rates.is_by_metric(member), evidence=found.source if found else "global_step")


def plan(member: Member, run: Run, resume: ResumePoint) -> ResumePlan | None:
    """What the Trainer will do with the checkpoint; None for one that has nothing to go on from."""
    checkpoint, facts, command = member.checkpoint, facts_of(run), command_in(member.checkpoint)
    if checkpoint.layout != "training" or is_weights_only(checkpoint):
        return None
    step = member.state.global_step
    start, skip = (None, None) if step is None else _place(step, run, member)
    total = _total(member, facts)
    is_loaded = has_optimizer(checkpoint) and has_scheduler(checkpoint)
    own = rates.first_rates(member)
    waited = [one.waited for one in early_stopping(member)]
    return ResumePlan(
        start_epoch=start,
        skip_batches=0 if command.is_on("ignore_data_skip") and skip is not None else skip,
        global_step=step,
        next_lr=(own[0] if own else None) if is_loaded else rates.first_rate(member),
        next_lr_uninterrupted=resume.lr[0] if resume.lr else None,
        best_score=member.state.best_score,
        counter=(waited[0] if command.is_on(RESTORE) else 0) if waited else None,
        steps_left=None if total is None or step is None else max(0, total - step),
        flags=resume.flags,
        why_not_exact=tuple(_why_not_exact(member, run)),
        open=(*_open(member, start), *known_of(run).odd.get(member.label, ())),
    )


def _open(member: Member, start: int | None) -> Iterator[NotChecked]:
    """What no file shows.

    The place in the data; an optimizer of which nothing could be read: it is in files of DeepSpeed, FSDP or the ranks.
    """
    if start is None and member.state.global_step is not None:
        why = "no length of an epoch gives both `epoch` and `global_step` of this run"
        yield NotChecked("the place in the data", why, "a look into the script")
    if since_an_end(member.checkpoint) == 0 and command_in(member.checkpoint).accumulation > 1:
        why = "the data has no length, and batches of a last, shorter step may lie before its end"
        yield NotChecked("the place in the data", why, "a look into the script")
    if command_in(member.checkpoint).is_on("dataloader_persistent_workers"):
        why = "a resume starts the loader's workers anew, for which it draws from the generator of dropout on a CPU"
        yield NotChecked("whether dropout draws the same numbers", why, "")
    found = elsewhere(member.checkpoint)
    if has_optimizer(member.checkpoint) and found is not None and not found.steps:
        why = "no file of the optimizer has a step that is read here"
        yield NotChecked("the optimizer's step and rate", why, "a look at them by hand")


def _total(member: Member, facts: HFFacts) -> int | None:
    """Steps of the whole training under the command that resumes it."""
    if facts.max_steps is not None and facts.max_steps.given:
        return facts.max_steps.value
    epochs, steps = facts.num_train_epochs, facts.steps_per_epoch
    if epochs is not None and epochs.given and steps is not None:
        return math.ceil(epochs.value * steps.value)
    return total_steps(member.checkpoint)


def trains_beyond_its_end(member: Member, run: Run) -> bool:
    """Whether all steps are made and a resume makes one more: it looks at their number after a step.

    So it does within an epoch; at the end of one that is the last its loop of epochs is over.
    Source: `Trainer._inner_training_loop`; measured with 5.24."""
    step, total = member.state.global_step, _total(member, facts_of(run))
    if step is None or total is None or step < total:
        return False
    return bool(_place(step, run, member)[1]) or is_without_length(member.checkpoint)


def _why_not_exact(member: Member, run: Run) -> Iterator[str]:
    if trains_beyond_its_end(member, run):
        yield "training ended within an epoch, and a resume makes one more step before it ends again"
    if not ranks(member.checkpoint):
        yield "no random state is saved, so dropout draws other numbers"
    elif lost := lost_ranks(member.checkpoint, run):
        yield f"the random state of process {lost[0]} is not saved, so its dropout draws other numbers"
    if known_of(run).scales and SCALER not in file_names(member.checkpoint):
        yield "scaler.pt is missing, so the scale of the gradients begins anew and other steps are skipped"


def judged(member: Member, run: Run) -> frozenset[str]:
    """Codes of rules for everyone's files whose subject is judged here, or cannot be.

    P409 by Adam's step, the schedule and the folder's name (P403, R501, R502); E611 by a replay of the log (E601). Of
    O702, which knows Adam, and asks siblings about parameters that never get a gradient, where there is a sibling to
    ask; an optimizer without any state is O705's. R508 of a schedule that cannot be read: family F says so.
    """
    codes = {"P409"}
    if trains_beyond_its_end(member, run):
        codes.add("P404")
    if command_in(member.checkpoint).values:
        codes.add("E611")
    if is_lost(member.checkpoint, SCHEDULER):
        codes.add("R508")
    others = (m.at("optimizer", "state") for m in run.members if m.label != member.label)
    if not _is_adam(member.at("optimizer", "state")) or not any(others):
        codes.add("O702")
    return frozenset(codes)


def _is_adam(state: object) -> bool:
    """Whether an optimizer keeps what torch's Adam does, and nothing else."""
    entries = [entry for entry in state.values() if isinstance(entry, dict)] if isinstance(state, dict) else []
    return bool(entries) and all(_ADAM.issuperset(entry) for entry in entries)
