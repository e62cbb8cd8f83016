"""The rates of a run: by the formula of the saved command where the files confirm it, else by what the parts say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from math import isfinite

from ckpt_doctor.inert.scheduler_kinds import PLATEAU
from ckpt_doctor.trainers.hf_trainer.best import history, is_evaluation, step_of
from ckpt_doctor.trainers.hf_trainer.command import command_in
from ckpt_doctor.trainers.hf_trainer.elsewhere import elsewhere
from ckpt_doctor.trainers.hf_trainer.layout import STATE
from ckpt_doctor.trainers.hf_trainer.progress import kind, may_skip, scheduled_steps, total_steps
from ckpt_doctor.trainers.schedules import hf_lambda, moved_to
from ckpt_doctor.trainers.state import base_rates, integer, last_rates, numbers, own_rates, param_groups
from ckpt_doctor.types import Evidence, Member, Rates, holds_rate, real

_NEAR = 1e-9
_LAST = 3
"""Rates of the log that must be on one curve."""
_OF_TRANSFORMERS = "LambdaLR"
_BY_METRIC = ("reduce_lr_on_plateau", "greedy")
"""Schedules that are moved by evaluations; the Trainer does not step them with the optimizer."""


def is_by_metric(member: Member) -> bool:
    """Whether evaluations move the rate, not steps."""
    by_name = command_in(member.checkpoint).text("lr_scheduler_type") in _BY_METRIC
    return by_name or kind(member) == PLATEAU


def misses_evaluations(member: Member) -> bool:
    """Whether a plateau's schedule has made another number of steps than the log has evaluations.

    `Trainer._evaluate` makes one at each, but for the evaluation on start, which after a resume has the step of that.
    """
    done = member.state.last_epoch
    if done is None or kind(member) != PLATEAU:
        return False
    entries = [entry for entry in history(member.checkpoint) if is_evaluation(entry)]
    if command_in(member.checkpoint).is_on("eval_on_start"):
        entries = [entry for entry in entries if _is_due(member, entry)]
    return done != len({step for entry in entries if (step := step_of(entry)) > 0})


def _is_due(member: Member, entry: Mapping[str, object]) -> bool:
    """Whether the command has an evaluation at the step of an entry."""
    every, epoch = integer(member.checkpoint.get(STATE, "eval_steps")), real(entry.get("epoch"))
    if command_in(member.checkpoint).eval_strategy == "steps" and every:
        return step_of(entry) % every == 0
    return epoch is None or not _NEAR < epoch % 1 < 1 - _NEAR


def first_rates(member: Member) -> tuple[float, ...] | None:
    """The rates that a resume begins with; the schedule's, or theirs, where the optimizer is in several files."""
    if member.at("optimizer") is not None:
        return own_rates(member)
    if (last := last_rates(member)) is not None:
        return last
    found = elsewhere(member.checkpoint)
    rates = found.rates if found is not None else ()
    return tuple(rate for name, rate in rates if name == rates[0][0]) or None


def base_rates_instead(member: Member) -> tuple[float, ...] | None:
    """The base rates of the run where the schedule has others; None where its own are right, or it is not known."""
    base, right = base_rates(member), _right_base(member)
    return None if base is None or base == right or agree(base, right) else right


def _right_base(member: Member) -> tuple[float, ...] | None:
    """The base rates with which the formula gives the rates that were logged, or else the optimizer's own.

    Those of the schedule, the optimizer's `initial_lr`, or all of the schedule's on the scale of the log; None where
    none of these is on it.
    """
    base, at, own = base_rates(member), scheduled_steps(member), own_rates(member)
    first = initial_rates(member)
    factor = None if at is None else _factor(member, at)
    if base is None or factor is None or not isfinite(sum(base)):
        return base if factor is None else None

    def gives(rates: Sequence[float]) -> bool:
        return agree(own, [rate * factor for rate in rates])

    known = [base, *([first] if first and len(first) == len(base) else ())]
    if (logged := logged_base(member)) is None:
        return next(filter(gives, known), base)
    scaled = tuple(logged if rate == base[0] else rate * logged / base[0] for rate in base) if base[0] else base
    known += [scaled] if own is None or gives(scaled) or gives(base) else []
    return next((rates for rates in known if holds_rate(rates[0], logged)), None)


def has_other_base(member: Member) -> bool:
    """Whether a LambdaLR has other base rates than the optimizer, both of which begin with the same."""
    base, first = base_rates(member), initial_rates(member)
    if kind(member) != _OF_TRANSFORMERS or base is None or first is None or not isfinite(sum(base)):
        return False
    return not agree(base, first)


def initial_rates(member: Member) -> tuple[float, ...] | None:
    """`initial_lr` of each param group."""
    return numbers(group.get("initial_lr") for group in param_groups(member))


def logged_base(member: Member) -> float | None:
    """The first group's base rate, as the formula of the saved command has it from the last rates in `log_history`.

    None unless all give one, which the command, the schedule or the optimizer has as well: a schedule of the script's
    own may look the same but for a factor. The Trainer logs the rate that a step was made with, older ones the next.
    """
    log, base = member.checkpoint.get(STATE, "log_history"), base_rates(member)
    if not isinstance(log, list) or base is None or may_skip(member):
        return None
    logged = ((step_of(entry), real(entry.get("learning_rate"))) for entry in reversed(log) if isinstance(entry, dict))
    last = list(islice(((step, rate) for step, rate in logged if rate is not None and step > 0), _LAST))
    first = initial_rates(member) or base
    for before in (1, 0):
        found = [(rate, _factor(member, step - before)) for step, rate in last]
        bases = [rate / factor for rate, factor in found if factor]
        for known in (base[0], first[0], command_in(member.checkpoint).number("learning_rate")) if bases else ():
            if known is not None and all(holds_rate(one, known) for one in bases):
                return known
    return None


def agree(found: Sequence[float] | None, expected: Sequence[float] | None) -> bool:
    """Whether two lists of rates are there and equal but for rounding."""
    if found is None or expected is None or len(found) != len(expected):
        return False
    return all(holds_rate(one, other) for one, other in zip(found, expected, strict=True))


def computed(member: Member, position: int, total: int | None = None) -> tuple[float, ...] | None:
    """The rates at a position by formula: transformers' by the saved command, torch's own by the schedule's state.

    `total` in the place of the saved number of steps."""
    state = member.at("scheduler")
    if position < 0:
        return None
    if isinstance(state, dict) and kind(member) not in (None, _OF_TRANSFORMERS):
        try:
            moved = moved_to(state, param_groups(member), position) if base_rates(member) else None
        except ValueError:
            return None
        return tuple(moved.rates) if moved else None
    base, factor = _right_base(member), _factor(member, position, total)
    return None if base is None or factor is None else tuple(rate * factor for rate in base)


def _factor(member: Member, position: int, total: int | None = None) -> float | None:
    """What the saved command's formula multiplies each base rate with at a position."""
    command, total = command_in(member.checkpoint), total or total_steps(member.checkpoint)
    warmup = None if total is None else command.warmup(total)
    if total is None or warmup is None or position < 0:
        return None
    name, rate, kwargs = command.text("lr_scheduler_type"), command.number("learning_rate"), command.kwargs
    try:
        return hf_lambda(name, step=position, warmup=warmup, total=total, rate=rate, kwargs=kwargs)
    except ValueError:
        return None


def fits_formula(member: Member) -> bool | None:
    """Whether the formula gives the rates that the schedule has stored, or those that were logged, from which they
    depart; None where it is not known."""
    position, stored = scheduled_steps(member), last_rates(member)
    if position is None or stored is None:
        return None
    expected = computed(member, position)
    return None if expected is None else agree(stored, expected) or _departs(member, stored, expected)


def _departs(member: Member, stored: Sequence[float], expected: Sequence[float]) -> bool:
    """Whether stored rates are not those of the curve that the log is on."""
    return not holds_rate(stored[0], expected[0]) and logged_base(member) is not None


def position_at(member: Member, step: int) -> int | None:
    """The schedule's position at a step; None where steps do not decide it (plateau, a class that is not known)."""
    if is_by_metric(member):
        return None
    if may_skip(member):
        return member.state.optimizer_step if member.state.optimizer_step is not None else member.state.last_epoch
    if member.at("scheduler") is None:
        return step
    return step if scheduled_steps(member) is not None else None


def rates_at(member: Member, position: int | None, by_formula: bool) -> Evidence[Rates] | None:
    """The rates with which the uninterrupted run goes on from a position; None where nothing proves them.

    `by_formula` says whether the run is known to follow the saved command's formula.
    """
    own, last, at = first_rates(member), last_rates(member), member.state.last_epoch
    found = computed(member, position) if by_formula and position is not None else None
    if own is None:
        return None
    if position is None and kind(member) == PLATEAU and last is not None and not misses_evaluations(member):
        return Evidence(Rates(last, None, last), "the schedule's _last_lr")
    agreed = position == at and agree(own, last) and not (found and _departs(member, own, found))
    if position is None or agreed:
        return Evidence(Rates(own, None, last or own), "the checkpoint's own rate")
    if found is not None:
        return Evidence(Rates(found, None, found), f"{_name(member)} at step {position:,}")
    if position == at and last is not None:
        is_right = not has_other_base(member)
        return Evidence(Rates(last, None, last), "the schedule's _last_lr") if is_right else None
    if not agree(own, last):  # only the schedule is from another step
        return Evidence(Rates(own, None, own), "the optimizer's own rate")
    return None


def _name(member: Member) -> str:
    named = command_in(member.checkpoint).text("lr_scheduler_type")
    found = kind(member)
    return f"the {named} schedule" if found in (None, _OF_TRANSFORMERS) and named else str(found)


def scheduled(member: Member, expected: Rates | None, by_formula: bool) -> Rates | None:
    """What the file's own position of the schedule calls for; None where another rule speaks of the difference."""
    at, own = scheduled_steps(member), own_rates(member)
    if kind(member) == PLATEAU:
        at = member.state.last_epoch
    if at is None or own is None or (expected is not None and agree(own, expected.lr)):
        return None
    last = last_rates(member)
    rates = (computed(member, at) if by_formula else None) or last
    return Rates(rates, None, rates) if rates is not None else None


def first_rate(member: Member) -> float | None:
    """The rate with which a fresh schedule begins."""
    rates = computed(member, 0) if kind(member) in (None, _OF_TRANSFORMERS) else None
    base = base_rates(member)
    return rates[0] if rates else base[0] if base else command_in(member.checkpoint).number("learning_rate")
