"""Where a hand-written loop resumes from a file, and where its uninterrupted run was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ckpt_doctor.inert.pairing import pairing_of
from ckpt_doctor.inert.scheduler_kinds import PLATEAU, kind_of
from ckpt_doctor.inert.shapes import find, is_module
from ckpt_doctor.trainers.copied import moments_of
from ckpt_doctor.trainers.plain import families, layout
from ckpt_doctor.trainers.plain.agreement import uncured
from ckpt_doctor.trainers.plain.command import facts_of
from ckpt_doctor.trainers.plain.label import key_of, label_of, label_slot, noun_of
from ckpt_doctor.trainers.plain.position import per, shapes_of, standing
from ckpt_doctor.trainers.plain.saved import as_saved, saved_position
from ckpt_doctor.trainers.plain.schedule import donors, expected_position, steady_rates, target
from ckpt_doctor.trainers.plain.siblings import alike, crowd, missing, of_another_moment, unlike, wrapper
from ckpt_doctor.trainers.state import own_rates
from ckpt_doctor.types import Member, NotChecked, ResumePlan, ResumePoint, Run, dotted, mapping_of, real, same_rate
from ckpt_doctor.types.record import record

Placed = tuple[Member, ResumePoint]
"""A file as one of its optimizers sees it, and where that must go on."""


@record(frozen=True)
class Start:
    """Epochs, or what else the label counts, in the script's own numbers; None where its way of counting is open."""

    due: int | None
    """Where an uninterrupted run goes on."""
    actual: int | None
    """Where the script goes on with the file."""
    label: int | None
    """The label with which it would go on where it is due."""


def start(member: Member, run: Run) -> Start:
    """Where a resume begins, and where it should."""
    here, label = standing(member, run), label_of(member)
    known, written, done = here.reading, here.label, here.finished
    if label is None or written is None or known.resume is None or known.label is None:
        return Start(None if done is None else done.value, None, None)
    first = here.first_epoch(known.label.value)
    plus = int(known.resume.value == "label+1")
    if first is None:
        return Start(None, None, None)
    due = done.value + first if done is not None else written + (known.label.value == "finished")
    return Start(due, label + plus, due - plus)


def resume_point(member: Member, run: Run) -> ResumePoint:
    """The state of an uninterrupted run that begins its next epoch."""
    begins, done = start(member, run), standing(member, run).finished
    by_steps = label_slot(member) == "step"
    return ResumePoint(
        begins_at_step=by_steps,
        start_epoch=None if by_steps else begins.due,
        skip_batches=0 if begins.due is not None else None,
        global_step=begins.due if by_steps else None,
        last_epoch=expected_position(member, run),
        lr=_rates_after(member, run),
        finished_epochs=done.value if done is not None and not by_steps else None,
        epoch=None if by_steps else begins.label,
    )


def _rates_after(member: Member, run: Run) -> tuple[float, ...] | None:
    """The rates of the first batch after the resume point; None where they are not known."""
    reached = target(member, run)
    return (reached.rates if reached is not None else _rates_without_position(member, run)) or None


def _rates_without_position(member: Member, run: Run) -> tuple[float, ...] | None:
    """Where no position is asked for: a constant rate, and a plateau's, which is in the optimizer alone."""
    state = mapping_of(member.at("scheduler"))
    if state is None:
        return None if layout.own_schedule(member.checkpoint) is not None else steady_rates(member, run)
    if kind_of(state) != PLATEAU or _plateau_is_behind(member, run) is None:
        return None
    return own_rates(member)


def _plateau_is_behind(member: Member, run: Run) -> bool | None:
    """Whether a plateau has not seen its last epoch's metric; None where that is not known."""
    done, at = standing(member, run).finished, member.state.last_epoch
    if done is None or at is None or done.value - at not in (0, 1):
        return None
    return at < done.value


def plan(member: Member, run: Run, each: Sequence[Placed]) -> ResumePlan:
    """What the script will do with the file."""
    begins, (_, resume) = start(member, run), each[0]
    by_steps = label_slot(member) == "step"
    return ResumePlan(
        begins_at_step=by_steps,
        start_epoch=None if by_steps else begins.actual,
        skip_batches=0,
        global_step=begins.actual if by_steps else None,
        next_lr=None if families.family(member.checkpoint) == "timm" else member.state.lr,
        next_lr_uninterrupted=resume.lr[0] if resume.lr else None,
        best_score=None,
        counter=None,
        steps_left=None,
        why_not_exact=tuple(_why_not_exact(member, run, begins, each)),
        open=tuple(_open(member, run, each)),
    )


def _why_not_exact(member: Member, run: Run, begins: Start, each: Iterable[Placed]) -> Iterator[str]:
    if begins.actual is not None and begins.actual != begins.due:
        yield f"the script starts at another {noun_of(member)} than the uninterrupted run"
    here = standing(member, run)
    if begins.actual is None and here.departure is not None and label_of(member) != here.label:
        yield f"{key_of(member)} is of another moment than the rest of the file"
    yield from dict.fromkeys(why for one, resume in each for why in _of_one(one, run, resume))
    if not member.has("rng") and facts_of(run).shuffle is not None and facts_of(run).shuffles:
        yield "the file has no random state, so a shuffling loader deals other batches"


def _of_one(member: Member, run: Run, resume: ResumePoint) -> Iterator[str]:
    """Why one optimizer and its schedule do not continue."""
    departed, expected, at = standing(member, run).departure, resume.last_epoch, member.state.last_epoch
    if departed is not None and (not departed.parts or departed.parts & uncured(member, departed)):
        yield "the parts of the file are of different moments"
    if None not in (expected, at) and at != expected:
        yield "the schedule is at another position than the run"


def _open(member: Member, run: Run, each: Iterable[Placed]) -> Iterator[NotChecked]:
    """What the resume depends on and no file shows, beside the meaning of the label, of which P412 speaks."""
    if not member.has("rng") and facts_of(run).shuffle is None:
        why = "the file has no random state, and whether the loader shuffles is not known"
        yield NotChecked("the order of the batches", why, "--shuffle or --no-shuffle")
    is_placed = standing(member, run).finished is not None
    if not is_placed:
        yield NotChecked("the position in the run", *_no_position(member, run))
    if layout.lacks_weights(member.checkpoint):
        yield NotChecked("the weights", *_elsewhere(member))
    departed = standing(member, run).departure
    for edit in departed.corrections(member.checkpoint) if departed is not None else ():
        why = f"it is of another moment: {edit.evidence}"
        yield NotChecked(f"what the script does by {dotted(edit.path)}", why, "")
    for part in missing(member, run):
        if part.kind != "weights" or not part.is_between:
            why = f"the file lacks it and {part.other} has it: a script that loads it stops, or starts it anew"
            yield NotChecked(f"{part.kind} {part.key}", why, "")
    other = of_another_moment(member, run)
    if other is not None:
        why = f"{other.label} has the same number in its name, and one of the two is of another moment (P401)"
        yield NotChecked(f"whether {other.label} goes with this file", why, "the files of one moment")
    if alike(member, run).has_other_keys(member):
        why = f"they begin with {wrapper(member)}" if wrapper(member) else "they have no prefix"
        yield NotChecked("the keys of the model", f"{why}, unlike those of other files of the run (L304)", "the script")
    if (one := crowd(member, run)) is not None:
        why = f"names or shapes of its tensors are others than in the files named alike, such as {one.label}"
        yield NotChecked("whether the script can load the model", why, "the script")
    shapes = find(member.checkpoint)
    for number in pairing_of(shapes).open:
        why = "its rates and its number of groups fit several optimizers, and no name decides"
        if layout.has_more_schedules(member.checkpoint):
            why = "there are more schedules than optimizers, and which of them sets the rate is in the script"
        yield NotChecked(f"whose schedule {dotted(shapes.schedulers[number].path)} is", why, "")
    for one, resume in each:
        yield from _open_of_one(one, run, resume, is_placed)


def _elsewhere(member: Member) -> tuple[str, str]:
    """Why the weights of a file that has none are open, and what would settle it."""
    root = mapping_of(member.checkpoint.root) or {}
    if any(is_module(value) for value in root.values()):
        return "they are in an object of the model's class, into which nothing looks", "model.state_dict() in the file"
    return "they are in another file, and whether that is of this moment is not known", ""


def _open_of_one(member: Member, run: Run, resume: ResumePoint, is_placed: bool) -> Iterator[NotChecked]:
    """The same of one optimizer and its schedule."""
    which = f" of {dotted(member.path('optimizer'))}" if layout.has_several(member.checkpoint) else ""
    if is_placed and member.checkpoint.path in standing(member, run).kin.stalled:
        made, noun = f"{member.state.optimizer_step:,}", noun_of(member)
        why = f"Adam's {made} steps are not more than in an earlier {noun}'s file, or not fewer than in a later one's"
        yield NotChecked(f"the moment of {dotted(member.path('optimizer'))}", why, "")
    odd = unlike(member, run)
    if odd is not None and odd.is_open:
        why = "types of numbers, parameters with a state or their order are others than in the files before"
        yield NotChecked(f"whether a part of the file is lost{which}", why, "")
    kin = standing(member, run).kin
    twin = kin.agreed.twins.get(member.checkpoint.path)
    if twin is not None and kin.off_rates.isdisjoint(twin.group):  # else R504 names the one to which it was copied
        part = dotted(member.path(twin.part)) or f"the {twin.noun}"
        yield NotChecked(f"the moment of {part}", f"{twin.told}: in one of the two files they were copied", "")
    if _may_be_of_its_schedules_moment(member, run):
        why = "its schedule was of another moment, it had the rate of that one, and it counts no steps"
        yield NotChecked(f"the moment of {dotted(member.path('optimizer'))}", why, "")
    if is_placed and not resume.lr:
        yield NotChecked(f"the rate of the first batch{which}", _no_rate(member, run, resume), "")
    if kind_of(member.at("scheduler")) == PLATEAU and _plateau_is_behind(member, run):
        why = "the file was saved before the scheduler saw the last epoch's metric, which may have lowered the rate"
        yield NotChecked(f"ReduceLROnPlateau{which}", why, "")


def _may_be_of_its_schedules_moment(member: Member, run: Run) -> bool:
    """Whether an optimizer that counts no steps may have been copied with its schedule from a file that is gone."""
    here = standing(member, run)
    kin, departed = here.kin, here.departure
    line, at = kin.agreed.schedule, saved_position(member)
    if departed is None or departed.parts & {"schedule", "optimizer"} != {"schedule"} or line is None or at is None:
        return False
    if member.state.optimizer_step is not None or not shapes_of(member):
        return False
    there = (one for one in kin.members if kin.labels.get(one.checkpoint.path) == line.epoch(at))
    if not {moments_of(one) for one in there} <= {None, moments_of(member)}:
        return False  # those of that moment are others
    had = real(as_saved(member, "optimizer", "param_groups", 0, "lr"))
    set_last = real(as_saved(member, "scheduler", "_last_lr", 0))
    return had is None or set_last is None or same_rate(had, set_last)


def _no_position(member: Member, run: Run) -> tuple[str, str]:
    kin, key, noun = standing(member, run).kin, key_of(member), noun_of(member)
    steps, length = member.state.optimizer_step, kin.length
    asked = "" if kin.by_steps else "--steps-per-epoch"
    if steps is None:
        line = kin.agreed.schedule
        as_many = line is not None and (line.each, line.first) == (1, 0)
        late = f"; the schedule has made as many steps as `{key}` says, one too few if that is the finished {noun}"
        told = f"the optimizer does not count its steps, so what `{key}` means is open"
        return told + (late if as_many else ""), "--epoch-label finished or next"
    if kin.uneven:
        return f"Adam's steps do not grow evenly with the {noun}s that the labels show", asked
    if length is not None and not steps * length.value.over % length.value.each:
        return f"no {noun} is finished", ""
    if length is not None:
        return f"Adam's {steps:,} steps are not whole {noun}s, {per(length.value, noun)} ({length.source})", ""
    if kin.by_steps:
        return f"Adam has made {steps:,} steps, and how `{key}` follows from them is not clear", ""
    return f"Adam has made {steps:,} steps, and the number of steps per epoch is not known", asked


def _no_rate(member: Member, run: Run, resume: ResumePoint) -> str:
    if donors(member, run):
        return "the file has lost its schedule (R508)"
    own = layout.own_schedule(member.checkpoint)
    if not member.has("scheduler") and own is not None:
        return f"the schedule in {dotted(own[0])} is of no class of torch, and its formula is in the script"
    if not member.has("scheduler"):
        return "the file has no scheduler, and the script sets the rate itself"
    if resume.last_epoch is None:
        return "how the scheduler's position follows from epochs or steps is not clear"
    return "the schedule's formula is neither in the file nor in a later sibling"
