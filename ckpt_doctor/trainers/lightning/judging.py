"""How Lightning's files are judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ckpt_doctor.inert.scheduler_kinds import PLATEAU, kind_of
from ckpt_doctor.trainers.lightning import kin, layout, pace, plateau, schedule
from ckpt_doctor.trainers.lightning.callbacks import savers, stoppers
from ckpt_doctor.trainers.lightning.command import infer
from ckpt_doctor.trainers.lightning.curve import curve
from ckpt_doctor.trainers.lightning.gathering import gather
from ckpt_doctor.trainers.lightning.history import adam_lag, history_of
from ckpt_doctor.trainers.lightning.loops import loops_of
from ckpt_doctor.trainers.lightning.resume_point import has_other_loops, plan, resume_point
from ckpt_doctor.trainers.lightning.rules import RULES
from ckpt_doctor.trainers.lightning.terms import TERMS
from ckpt_doctor.trainers.trainer import ByHand, Judging
from ckpt_doctor.types import Case, Given, KeyPath, Member, ResumePoint, Run, Schedule, dotted
from ckpt_doctor.validators.contents import read_by_torch

_JUDGED = frozenset({"P409", "R511", "E611", "O706", "S202", "L304"})
"""Own rules judge the same; and a model's attribute may well be called `module`, in all files."""


def _understand(run: Run, given: Given, _logs: Sequence[Path]) -> Run:
    return replace(run, facts=infer(run.members, given), history=gather(run))


def _without_shift(member: Member, run: Run) -> Member:
    """A member without Adam's step where several files have it as far behind their loops.

    That is a run which went on with a new optimizer (a second `fit`, a pretrained one), not a fault of one file."""
    lag = adam_lag(member)
    if not lag or history_of(run).adam_lags.get(lag, 0) < 2:
        return member
    return replace(member, state=replace(member.state, optimizer_step=None))


def _without_step(member: Member) -> Member:
    """A member whose loops are of another moment, without what else would be held against them."""
    return replace(member, state=replace(member.state, optimizer_step=None), named_step=None)


def _case(member: Member, run: Run, _by_hand: ByHand) -> Case:
    if layout.is_weights_only(member.checkpoint):
        return Case(member.checkpoint, member, run, ResumePoint(), judged=_JUDGED)
    others = has_other_loops(member)
    targets = [  # of loops of another moment nothing follows
        schedule.Target(rates=schedule.stored(one)) if others else _target(one, run) for one in member.optimizers
    ]
    resume = resume_point(member, targets[0])
    planned = plan(member, run, resume, [target.open for target in targets])
    seen = _without_step(member) if others else _without_shift(member, run)
    reads = tuple(dict.fromkeys(path for one in member.optimizers for path in _reads(one)))
    wrapped = kin.is_wrapped_alone(member, run)
    first, *further = (
        Case(
            one.checkpoint,
            one,
            run,
            resume_point(one, target),
            planned,
            _schedule(one, target),
            None if target.open else schedule.scheduled(one, run),
            reads,
            judged=_JUDGED - {"L304"} if wrapped else _JUDGED,
            loads_bare=wrapped,
            changes=target.changes,
            why_open={"": target.open} if target.open else {},
            trains_all=False,
            maps_to_cpu=True,
            several=bool(member.further),
        )
        for one, target in zip(seen.optimizers, targets, strict=True)
    )
    return replace(first, further=tuple(further))


def _target(member: Member, run: Run) -> schedule.Target:
    place = dotted(member.path("scheduler")) if member.has("scheduler") else ""
    other = next((one for one in kin.departures(member, run) if place and one.what.startswith(f"{place}.")), None)
    if other is not None:
        return schedule.Target(open=f"{other.what}: {other.why}")
    if kind_of(member.at("scheduler")) == PLATEAU and (why := plateau.doubt(member, run)):
        return schedule.Target(open=why)
    loops, by_script = loops_of(member.checkpoint), history_of(run).by_script
    decides = loops is not None and (loops.is_before_end or pace.due(member, run) is not None)
    by_hand = pace.is_measured_here(member) or (by_script and decides)
    return pace.target(member, run) if by_hand else schedule.target(member, run)


def _schedule(member: Member, target: schedule.Target) -> Schedule:
    """What is known of the schedule of one optimizer."""
    return Schedule(
        moves=bool(layout.schedulers(member.checkpoint)),
        unit="epoch" if target.unit == "epoch" else "step",
        evidence=target.evidence,
        why_behind=target.why_behind,
        doubt="a script that sets the rate by hand looks the same",
    )


def _reads(member: Member) -> Iterator[KeyPath]:
    """What Lightning, or a `load_state_dict` that it calls, reads without a default."""
    yield from (("optimizer_states",), ("lr_schedulers",), ("loops", "fit_loop"))
    if "optimizer" in member.places:
        yield from read_by_torch(member, bool(layout.schedulers(member.checkpoint)))
    for saver in savers(member.checkpoint):
        yield from ((*saver.path, name) for name in ("best_model_score", "best_model_path"))
    for stopper in stoppers(member.checkpoint):
        yield from ((*stopper.path, name) for name in ("wait_count", "stopped_epoch", "best_score", "patience"))


JUDGING = Judging(_understand, _case, rules=RULES, curve=curve, terms=TERMS)
