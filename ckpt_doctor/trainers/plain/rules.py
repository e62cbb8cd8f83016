"""Rules about a hand-written loop's file that are its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckpt_doctor.trainers.plain.agreement import uncured
from ckpt_doctor.trainers.plain.label import a, has_counts, is_in_the_file, key_of, label_of, label_slot, noun_of
from ckpt_doctor.trainers.plain.layout import own_schedule
from ckpt_doctor.trainers.plain.position import optimizer_of, standing
from ckpt_doctor.trainers.plain.resume_point import start
from ckpt_doctor.trainers.plain.schedule import (
    donors,
    is_alone_another,
    is_alone_off,
    moments_owner,
    odd_rates,
    owner_of,
    rebuilt,
)
from ckpt_doctor.trainers.plain.siblings import unlike
from ckpt_doctor.trainers.state import base_rates, last_rates, own_rates
from ckpt_doctor.types import Case, Evidence, Member, TensorRef, dotted, mapping_of
from ckpt_doctor.validators.contents import shown_rates
from ckpt_doctor.validators.rule import Problem, listing, rule


@rule("P412", "epoch-label-open", "info")
def epoch_label_open(case: Case) -> Iterator[Problem]:
    """`epoch` can mean the finished epoch or the next one, and only the script knows where it starts.

    A loop that saves the index of the epoch that it has just finished must start one after it; one that saves the
    number of finished epochs must start at it. Where saving and starting disagree, an epoch is trained twice or never.
    The files show how many epochs are finished, from Adam's steps in three or more siblings; how the script starts is
    not in them.

    Example: `epoch` 1 in a file with two finished epochs: a script that starts at `epoch` trains epoch 1 again.

    Cure: give `--script train.py`, which is read and not run, or `--resume-epoch label` or `label+1`. Where the label
    turns out wrong, P402 names the repair.

    Source: pytorch/vision#1628 and #2116; pytorch/examples imagenet/main.py (`epoch + 1`, starts at `epoch`);
    the saving tutorial of pytorch.org (`epoch`).
    """
    here, label = standing(case.member, case.run), label_of(case.member)
    known = here.reading
    if case.plan is None or case.plan.begins is not None or label is None:
        return
    settle = "give --script train.py, " + (
        "or --resume-epoch label or label+1" if known.resume is None else "or --epoch-label finished or next"
    )
    yield Problem(
        _choices(case.member, label, here.finished, known.resume),
        where=case.where(label_slot(case.member)) if is_in_the_file(case.member) else "",
        found=label,
        fix=settle,
    )


def _choices(member: Member, label: int, done: Evidence[int] | None, resume: Evidence[str] | None) -> str:
    key, noun = key_of(member), noun_of(member)
    one = a(noun)
    here, behind = (key, f"{key} + 1") if is_in_the_file(member) else (f"{label:,}", f"{label + 1:,}")
    if done is None:
        return (
            f"{key} is {label}, which can be the finished {noun} or the next one: a script that starts at the wrong "
            f"one of {here} and {behind} trains {one} twice or leaves one out"
        )
    told = f"{key} is {label}, and {done.value} {f'{noun} is' if done.value == 1 else f'{noun}s are'} finished"
    if done.value == label + 1:
        return f"{told}: a script that starts at {here} repeats {one}, and one that starts at {behind} does not"
    if resume is not None:  # label + 1
        return f"{told}: a script that starts at {behind} leaves {one} out if it counts from 0, and none if from 1"
    if done.value == label:
        return (
            f"{told}: a script that counts from 0 must start at {here}, and one that counts from 1 at {behind}, or "
            f"{one} is left out or repeated"
        )
    return f"{told}: which of the two is right is not known"


@rule("P401", "step-name-mismatch", "info")
def name_of_another_epoch(case: Case) -> Iterator[Problem]:
    """The name says one moment of training, the file another.

    Whoever chose the file by its number gets another checkpoint. No resume of a hand-written loop reads the name.

    Example: `model_epoch9.pt` with `epoch` 1, whose siblings have in their names what is in them.

    Cure: rename the file.

    Source: the file's siblings.
    """
    departed = standing(case.member, case.run).departure
    if departed is not None and departed.parts == {"name"}:
        yield Problem(f"{departed.told}, by the names of its siblings", where=key_of(case.member), fix="")


@rule("P402", "epoch-step-mismatch", "warning", migration="fix-epoch")
def label_of_another_moment(case: Case) -> Iterator[Problem]:
    """`epoch`, or another count, is of another moment of training than the rest of the file, by its siblings.

    Whether the script starts at the label or one after it, the siblings show which label belongs to so many steps. By a
    count of steps a script may set its rate, skip batches, or only draw its curves.

    Example: `epoch` 7 with 16 steps of Adam, in a run whose other files have 4 steps an epoch.

    Cure: `ckpt-doctor migrate --fix-epoch`.

    Source: the file's siblings.
    """
    member, here = case.member, standing(case.member, case.run)
    now, label, departed, begins = label_of(member), here.label, here.departure, start(member, case.run)
    where, fix = (key_of(member), None) if is_in_the_file(member) else ("", "rename the file")
    if begins.actual is not None:  # where a script counts epochs, the shared rule says where it starts
        if label_slot(member) == "step" and begins.due not in (None, begins.actual):
            yield Problem(
                f"{key_of(member)} is {now:,}: the script starts at {noun_of(member)} {begins.actual:,}, and the run "
                f"was at {begins.due:,}",
                where=where,
                found=now,
                expected=begins.label,
                fix=fix,
            )
    elif departed is not None and "epoch" in departed.parts and label not in (None, now):
        yield Problem(
            f"{departed.told}: the label is of another moment, and a resume would start "
            + ("too late" if (now or 0) > (label or 0) else "too early"),
            where=where,
            found=now,
            expected=label,
            fix=fix,
        )
    for edit in departed.corrections(case.checkpoint) if departed is not None else ():
        yield Problem(
            f"{edit.evidence}: {dotted(edit.path)} is of another moment, and so is what the script does by it",
            where=dotted(edit.path),
            found=edit.before,
            expected=edit.after,
        )


@rule("P409", "parts-disagree", "warning", each=True)
def parts_of_two_moments(case: Case) -> Iterator[Problem]:
    """Parts of one file come from different moments: the optimizer's state, the weights, or which part is not known.

    All files of a run grow evenly from epoch to epoch, so a part that was copied from another checkpoint shows. A run
    that was resumed at the wrong epoch shows the same from there on.

    Example: 100 steps of Adam in the file of epoch 2, where the siblings have 4 an epoch.

    Cure: none in the file; take all parts from one checkpoint.

    Source: the file's siblings.
    """
    departed = standing(case.member, case.run).departure
    if departed is None:
        return
    uncurable, own = uncured(case.member, departed), own_schedule(case.checkpoint)
    if departed.parts and not departed.parts & uncurable:
        return
    if not departed.parts and case.several and not case.further:
        return  # said of the first optimizer
    which = "they are of two moments, as after a resume at the wrong epoch"
    if departed.parts:
        odd = [name for part, name in _PARTS.items() if part in departed.parts & uncurable]
        which = f"{' and '.join(odd)} are of another moment"
    at = {"model": case.where("model"), "schedule": dotted(own[0]) if own is not None else ""}
    places = [where for part, where in at.items() if part in departed.parts and "optimizer" not in departed.parts]
    where = next(iter(places), case.where("optimizer", "state"))
    yield Problem(f"{departed.told}, by its siblings: {which}", where=where, fix="")


_PARTS = {"optimizer": "the optimizer's averages", "model": "the model's weights", "schedule": "the schedule's counts"}


@rule("R508", "scheduler-absent", "warning", migration="sync-scheduler", each=True)
def schedule_lost(case: Case) -> Iterator[Problem]:
    """The file has no scheduler, and its siblings have one.

    A fresh scheduler starts its schedule anew, from the rate of the file. Where no file has one, the rate alone shows
    that a scheduler is missing; not of a script that computes its rates itself from an `initial_lr` that it sets, which
    `--script` or `--rates-by-hand` tells, or the script's code in the file.

    Example: `checkpoint_3.pt` without `scheduler_state_dict` among files that have it.

    Cure: `ckpt-doctor migrate --sync-scheduler`, where the file's rates are those of its siblings' schedule.

    Source: the file's siblings.
    """
    siblings = donors(case.member, case.run)
    if siblings:
        which = f" of {case.where('optimizer')}" if case.several else ""
        yield Problem(
            f"no scheduler state{which}, and {siblings[0].label} has one: a fresh scheduler starts its schedule anew",
            where=dotted(siblings[0].path("scheduler")),
            fix=None if rebuilt(case.member, case.run) is not None else "",
        )


@rule("R504", "rate-mismatch", "warning", each=True)
def rate_of_another_moment(case: Case) -> Iterator[Problem]:
    """One of several optimizers has other rates than its scheduler set, or all other files have, in this file alone.

    In every other file the two agree, so no script sets the rate by hand: the optimizer's state is of another moment.
    SGD counts no steps that would show it. A rate that no scheduler sets, and that is the same in all files before and
    after this one, was changed in this one.

    Example: the optimizer of another epoch's file beside this one's schedule.

    Cure: none in the file; take all parts from one checkpoint.

    Source: the file's siblings.
    """
    if is_alone_off(case.member, case.run):
        has, last = own_rates(case.member) or (), last_rates(case.member) or ()
        yield Problem(
            f"the rate of {case.where('optimizer')} is {shown_rates(has)} where {case.where('scheduler')} set "
            f"{shown_rates(last)}, and in the run's other files they agree: they are of different moments",
            where=case.where("optimizer", "param_groups", 0, "lr"),
            found=has[0],
            expected=last[0],
            fix="",
        )
    odd = odd_rates(case.member, case.run)
    other = unlike(case.member, case.run) if odd else None
    is_another = standing(case.member, case.run).departure or (other is not None and other.has_other_groups)
    for at, (own, usual) in odd.items() if not is_another else ():
        yield Problem(
            f"the rate is {own:.6g}, and {usual:.6g} in all files before and after this one, and no scheduler sets it: "
            f"the resume goes on at {own:.6g} unless the script sets it anew",
            where=case.where("optimizer", "param_groups", at, "lr"),
            found=own,
            expected=usual,
            fix="",
        )


@rule("R509", "foreign-schedule", "warning", each=True)
def schedule_of_another(case: Case) -> Iterator[Problem]:
    """A schedule is that of another optimizer, or of another run, by the files of this run.

    A scheduler takes any dict for its state without a word, and goes on with the other's rates.

    Example: `"schedulerD": schedulerG.state_dict()`.

    Cure: none in the file; save each scheduler's own state.

    Source: the file's siblings.
    """
    other = owner_of(case.member, case.run) if case.several else None
    if other is None and is_alone_another(case.member, case.run):
        base = base_rates(case.member)
        yield Problem(
            "the schedule is computed from other values than in the files before and after this one"
            + (f" (its base rates are {shown_rates(base)})" if base else "")
            + ": it is that of another run, or of a changed command",
            where=case.where("scheduler"),
            fix="",
        )
    if other is not None:
        yield Problem(
            f"{case.where('scheduler')} has the schedule of {dotted(other.path('optimizer'))}, and in the run's other "
            f"files that of {case.where('optimizer')}: the rates after a resume are those of another optimizer",
            where=case.where("scheduler"),
            fix="",
        )


@rule("O701", "optimizer-model-mismatch", "warning", each=True)
def optimizer_of_another(case: Case) -> Iterator[Problem]:
    """An optimizer is another one, of another class, or has its groups in another order, by the run's other files.

    `load_state_dict` takes moments of any shape; the first step with them fails, or goes wrong where they broadcast.

    Example: `"optimizer_D": optimizer_G.state_dict()`, each of which trains two models.

    Cure: none in the file; save each optimizer's own state.

    Source: the file's siblings.
    """
    other = moments_owner(case.member, case.run) if case.several else None
    if other is not None:
        yield Problem(
            f"{case.where('optimizer')} has moments of the shapes that {dotted(other.path('optimizer'))} has in the "
            "run's other files: it is the optimizer of other parameters",
            where=case.where("optimizer", "state"),
            fix="",
        )
    odd = unlike(case.member, case.run)
    if odd is not None and odd.is_between and odd.is_of_another:
        own, usual = ([str(key) for key in one.keys] for one in (odd.own, odd.usual))
        yield Problem(
            f"the optimizer keeps {listing(sorted(own))} of each parameter, and {listing(sorted(usual))} in the files "
            "before and after this one: it is the state of another class of optimizer",
            where=case.where("optimizer", "state"),
            fix="",
        )
    elif odd is not None and odd.is_between and odd.is_reordered:
        yield Problem(
            "the parameters of the optimizer are in another order than in the files before and after this one: their "
            "moments go to others",
            where=case.where("optimizer", "param_groups"),
            fix="",
        )


@rule("O702", "missing-optimizer-state", "warning", each=True)
def state_lost(case: Case) -> Iterator[Problem]:
    """Parameters have no optimizer state, or averages of 0, and in the files before and after this one they have.

    Example: Adam's state of 5 parameters in `ckpt_3.pt`, of 6 in `ckpt_2.pt` and `ckpt_4.pt`.

    Cure: none in the file: moments cannot be computed. Resume from a file that has them.

    Source: the file's siblings.
    """
    odd = unlike(case.member, case.run)
    own, counts = optimizer_of(case.member), has_counts(case.checkpoint) or case.has("scheduler")
    if not case.at("optimizer", "state") and own is not None and own.stateful() and counts:
        return  # O705 says so
    if odd is not None and odd.is_between and odd.has_lost_moments:
        yield Problem(
            f"{odd.own.moments:,} parameters of the optimizer have a state that is not all 0, and "
            f"{odd.usual.moments:,} in the files before and after this one: for the others it starts anew",
            where=case.where("optimizer", "state"),
            found=odd.own.moments,
            expected=odd.usual.moments,
            fix="",
        )


@rule("L303", "wrong-type", "warning", each=True)
def precision_lost(case: Case) -> Iterator[Problem]:
    """Weights, or the optimizer's averages, are of another type than in the files before and after this one.

    A script loads them into a model of its own type without a word: what was rounded stays rounded.

    Example: weights in float16 among files that have them in float32.

    Cure: none in the file; resume from one with weights of full precision.

    Source: the file's siblings; torch/nn/modules/module.py, `_load_from_state_dict` (`param.copy_`).
    """
    odd = unlike(case.member, case.run)
    if odd is None or not odd.is_between:
        return
    own, usual = odd.own, odd.usual
    kinds: list[tuple[str, frozenset[str], frozenset[str], tuple[str, ...]]]
    kinds = [("the optimizer's averages are", own.averages, usual.averages, ("optimizer", "state"))]
    if case.further or not case.several:  # said of the first optimizer
        kinds.append(("the weights are", own.precision, usual.precision, ("model",)))
    for what, types, others, place in kinds:
        if types and types != others:
            has, expected = (" and ".join(sorted(one)) for one in (types, others))
            yield Problem(
                f"{what} {has}, and {expected} in the files before and after this one: rounded, they do not continue",
                where=case.where(*place),
                found=has,
                expected=expected,
                fix="",
            )


@rule("O707", "invalid-value", "warning")
def random_state_of_another_type(case: Case) -> Iterator[Problem]:
    """A random state of torch is a tensor of other numbers than bytes: `set_rng_state` stops with TypeError.

    Example: `rng_state` in float32, as where all tensors of a checkpoint were converted.

    Cure: none by a rule; `.byte()` gives back what was converted without loss.

    Source: torch/random.py, `set_rng_state` ("RNG state must be a torch.ByteTensor"); koda-dernet/Side-Step#6.
    """
    held = case.at("rng")
    inside = (mapping_of(held) or {}).items()
    states = [((), held), *(((key,), one) for key, one in inside if re.search("torch|cpu|cuda", str(key)))]
    for key, state in states:
        if isinstance(state, TensorRef) and state.dtype != "uint8":
            yield Problem(
                f"{case.where('rng', *key)} is a tensor of {state.dtype}, and torch.set_rng_state takes bytes (uint8) "
                "alone: it stops with TypeError",
                where=case.where("rng", *key),
                found=state.dtype,
                expected="uint8",
                fix="",
            )


RULES = (
    precision_lost,
    state_lost,
    random_state_of_another_type,
    optimizer_of_another,
    rate_of_another_moment,
    schedule_of_another,
    schedule_lost,
    epoch_label_open,
    name_of_another_epoch,
    label_of_another_moment,
    parts_of_two_moments,
)
