"""Family R: the rate schedule against the resume point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ckpt_doctor.inert.scheduler_kinds import COMMON
from ckpt_doctor.types import Case, NotChecked, holds_rate, real, same_rate
from ckpt_doctor.validators import shaped_schedules
from ckpt_doctor.validators.contents import is_resumed, shown_rates, which
from ckpt_doctor.validators.rule import Problem, rule


def _behind_or_ahead(case: Case) -> Iterator[tuple[int, int]]:
    last, expected = case.state.last_epoch, case.resume.last_epoch
    if last is not None and expected is not None and last != expected and not _is_foreign(case):
        yield last, expected


@rule("R501", "scheduler-behind", "warning", migration="sync-scheduler", each=True)
def scheduler_behind(case: Case) -> Iterator[Problem | NotChecked]:
    """The schedule lags what `global_step` or `epoch` call for.

    A trainer that saves before it steps the scheduler makes every rate after the resume come one step late, and one
    more with every further resume; one that saves its best checkpoint before the epoch's step runs the resumed epochs
    one epoch late. A scheduler that the loop never steps is right at 0.

    Example: `last_epoch` 99 at step 100 of a schedule that is stepped with every batch.

    Cure: `ckpt-doctor migrate --sync-scheduler` (scheduler, rate and momentum together).

    Source: trainer contract, sections 3 (A, B, D) and 4; facts 9 and 10.
    """
    if case.state.last_epoch is not None and case.resume.last_epoch is None:
        option = case.resume.unsettled.get("last_epoch")
        if option and case.state.scheduler and not _is_foreign(case):
            yield NotChecked("the schedule against the progress", _why(case, option), option)
    for last, expected in _behind_or_ahead(case):
        if last < expected:
            yield Problem(
                f"{_positions(case, last, expected)}: "
                + _rates(case, expected - last, "late")
                + (f"; {case.schedule.why_behind}" if case.schedule.why_behind else ""),
                where=case.where("scheduler", "last_epoch"),
                found=last,
                expected=expected,
                fix=_placed(case, _caught_up(case, expected - last)),
            )


@rule("R502", "scheduler-ahead", "warning", migration="sync-scheduler", each=True)
def scheduler_ahead(case: Case) -> Iterator[Problem]:
    """The schedule is ahead of what `global_step` or `epoch` call for.

    Rates come too early after the resume; OneCycleLR reaches its end before training does and raises there. A note
    where the trainer never steps its scheduler: somebody did, and the resume is the same.

    Example: `last_epoch` 120 at step 100; a scheduler that was stepped by hand.

    Cure: `ckpt-doctor migrate --sync-scheduler`.

    Source: trainer contract, section 4; torch/optim/lr_scheduler.py, `OneCycleLR.get_lr`.
    """
    for last, expected in _behind_or_ahead(case):
        if last > expected:
            yield Problem(
                f"{_positions(case, last, expected)}: {_rates(case, last - expected, 'early')}",
                where=case.where("scheduler", "last_epoch"),
                found=last,
                expected=expected,
                severity="info" if _is_idle(case) else None,
                fix=_placed(case),
            )


def _positions(case: Case, last: int, expected: int) -> str:
    unit = case.schedule.unit
    return f"the schedule{which(case, 'scheduler')} is at {unit} {last:,}, but should be at {unit} {expected:,}"


def _caught_up(case: Case, n: int) -> str:
    """How a script catches up with a schedule that no edit can compute: the scheduler computes it by itself."""
    if case.state.total_steps is not None and (case.resume.last_epoch or 0) > case.state.total_steps:
        return ""  # it raises there
    return f"after loading the file, call the scheduler's step() {'once' if n == 1 else f'{n:,} times'} before training"


def _rates(case: Case, n: int, when: str) -> str:
    """What follows from a position that is `n` off for the rates after the resume."""
    if _is_idle(case):
        return "the trainer never steps this schedule and takes no rate from it, so the resume is the same"
    count, found, expected = f"{n:,} {case.schedule.unit}{'' if n == 1 else 's'}", case.state.lr, case.resume.lr
    if found is None or not expected:
        return f"rates come {count} {when}"
    if same_rate(found, expected[0]):
        return f"the next rate is the right one, but each later change of it comes {count} {when}"
    return f"rates come {count} {when} (next {found:.6g}, uninterrupted {expected[0]:.6g})"


def _is_idle(case: Case) -> bool:
    """Whether the trainer builds a scheduler and never steps it."""
    return case.schedule.moves is False and case.resume.last_epoch == 0


def _why(case: Case, option: str) -> str:
    if option in ("--steps-per-epoch", "--world-size"):
        return "the number of steps per epoch is not known, so neither is whether this is an epoch's end"
    return case.why_open.get(option, f"{option.removeprefix('--')} is not known")


@rule(
    "R503", "step-count-mismatch", "warning", migration="sync-scheduler", others=shaped_schedules.step_count, each=True
)
def step_count_mismatch(case: Case) -> Iterator[Problem]:
    """The scheduler's `_step_count` is not `last_epoch + 1`.

    The scheduler's own constructor makes the first step, so the two always differ by one. A file in which they don't
    was edited or put together by hand. Of a file that no known trainer wrote, a note where the count is the lower one:
    a script that builds its scheduler with `last_epoch=` shows the same.

    Example: `last_epoch` 100 with `_step_count` 90.

    Cure: `ckpt-doctor migrate --sync-scheduler`.

    Source: torch/optim/lr_scheduler.py, `LRScheduler._initial_step` and `step`.
    """
    last, count = case.state.last_epoch, case.state.step_count
    if last is not None and count is not None and count != last + 1:
        yield Problem(
            f"_step_count is {count:,} with last_epoch {last:,}{which(case, 'scheduler', 'in')}: they come from "
            "different steps",
            where=case.where("scheduler", "_step_count"),
            found=count,
            expected=last + 1,
        )


@rule("R504", "rate-mismatch", "warning", migration="sync-scheduler", others=shaped_schedules.rates, each=True)
def rate_mismatch(case: Case) -> Iterator[Problem | NotChecked]:
    """The optimizer's rate or betas are not the schedule's.

    The first batch after the resume uses the rates in the optimizer's param groups; the scheduler computes later
    rates from its own state. Where the checkpoint is saved before the epoch's new rate is set, the first resumed epoch
    keeps the old one. Of a file that no known trainer wrote, the scheduler's own `_last_lr` is
    compared, and only where no scheduler of the file has the optimizer's rates and none waits for a plateau.

    Example: a best checkpoint of epoch 3 with rate 2e-4, where the next epoch runs at 1e-4.

    Cure: `ckpt-doctor migrate --sync-scheduler`.

    Source: trainer contract, sections 3 (C, E) and 4; fact 11.
    """
    schedule = case.scheduled
    if schedule is None:
        option = case.resume.unsettled.get("lr", "")
        if option in case.why_open and case.state.lr is not None:
            yield NotChecked("the optimizer's rate", _why(case, option), option)
        return
    groups = case.at("optimizer", "param_groups")
    if not isinstance(groups, (list, tuple)) or len(groups) != len(schedule.lr):
        return
    rates, betas = [_first(group, "lr") for group in groups], [_first(group, "betas") for group in groups]
    last_lr = case.at("scheduler", "_last_lr")
    if _differ(rates, schedule.lr):
        yield Problem(
            f"the optimizer's rate{which(case, 'optimizer', 'in')} is {shown_rates(rates)}, but {_owner(case)} has "
            f"{shown_rates(schedule.lr)}" + (f"; {case.schedule.doubt}" if case.schedule.doubt else ""),
            where=case.where("optimizer", "param_groups", 0, "lr"),
            found=real(rates[0]),
            expected=schedule.lr[0],
            fix=_placed(case),
        )
    elif schedule.beta1 and _differ(betas, schedule.beta1):
        yield Problem(
            f"Adam's beta1 is {shown_rates(betas)}, but {_owner(case)} has {shown_rates(schedule.beta1)}",
            where=case.where("optimizer", "param_groups", 0, "betas"),
            found=real(betas[0]),
            expected=schedule.beta1[0],
        )
    elif isinstance(last_lr, (list, tuple)) and _differ(last_lr, schedule.last_lr):
        yield Problem(
            f"the scheduler's _last_lr is {shown_rates(last_lr)}, but its position has {shown_rates(schedule.last_lr)}",
            where=case.where("scheduler", "_last_lr"),
            found=real(last_lr[0]),
            expected=schedule.last_lr[0],
        )


def _placed(case: Case, otherwise: str = "") -> str | None:
    """No cure but what else can be done, where the position or the rates of the resume point are not known, and no
    option would tell them."""
    resume = case.resume
    known = resume.last_epoch is not None and resume.lr is not None
    options = (resume.unsettled.get(name, "") for name in ("last_epoch", "lr"))
    return None if known or any(option.startswith("--") for option in options) else otherwise


def _differ(stored: Sequence[object], expected: Sequence[float]) -> bool:
    """Whether as many values are stored as expected, and a number among them is another (L303 speaks of the others)."""
    if len(stored) != len(expected):
        return False
    return any(real(s) is not None and not holds_rate(s, e) for s, e in zip(stored, expected, strict=True))


def _owner(case: Case) -> str:
    if _is_idle(case):
        return "the uninterrupted run"
    return f"the schedule at {case.schedule.unit} {case.state.last_epoch:,}"


def _first(group: object, key: str) -> object:
    value: object = group.get(key) if isinstance(group, dict) else None
    if isinstance(value, (list, tuple)):
        return value[0] if value else None
    return value


@rule("R505", "total-steps-mismatch", "warning", each=True)
def total_steps_mismatch(case: Case) -> Iterator[Problem]:
    """The schedule's length is not epochs x steps_per_epoch.

    `total_steps` comes back from the file, whatever epochs and batch size the command now gives: the schedule ends
    before training does, and OneCycleLR raises there (or, under Accelerate, stays at its last rate), or it is cut off
    early. In the default modes the schedule is idle and its length changes nothing.

    Example: `total_steps` 225 in a run that is resumed with 10 epochs of 45 steps.

    Cure: none in the file; resume with the batch size and the number of epochs that the run was started with.

    Source: trainer contract, sections 4 and 9 (what no file edit cures).
    """
    total, facts = case.state.total_steps, case.run.facts
    if total is None or total < 1 or facts.steps_per_epoch is None or case.state.scheduler != "OneCycleLR":
        return
    steps = facts.steps_per_epoch.value
    expected = steps * facts.train_epochs.value if facts.train_epochs else None
    if total == expected or (expected is None and total % steps == 0):
        return
    idle = case.resume.last_epoch == 0 and case.state.last_epoch == 0
    needed = (
        f"{facts.train_epochs.value} epochs of {steps:,} steps" if facts.train_epochs else f"epochs of {steps:,} steps"
    )
    yield Problem(
        f"the schedule is {total:,} steps long, which is not {needed}"
        + (": without effect while the scheduler is idle" if idle else ": it ends before or after the training does"),
        where=case.where("scheduler", "total_steps"),
        found=total,
        expected=expected,
        severity="info" if idle else None,
    )


@rule("R508", "scheduler-absent", "warning", others=shaped_schedules.absent, each=True)
def scheduler_absent(case: Case) -> Iterator[Problem]:
    """There is no scheduler state, or one without its position, and the schedule is one that moves.

    The trainer goes on with a fresh position: the rate starts at its beginning again. Where nothing steps the
    scheduler, a fresh one is as good. Of a file that no known trainer wrote, this is said where the optimizer's rate
    has moved from the `initial_lr` that a scheduler left in it, and nothing in the file is a scheduler's position;
    trainers that compute the rate from the epoch or step (timm, ultralytics, nanoGPT, mmcv, VITS) are left alone.

    Example: a bare state_dict upgraded without the facts that its schedule is computed from.

    Cure: of an upgraded file `ckpt-doctor undo FILE`, then `migrate --upgrade` with the options that it asks for; of
    another none by a rule for every trainer.

    Source: trainer contract, sections 4 and 5.
    """
    if case.checkpoint.layout != "training" or not case.has("scheduler"):
        return
    moves = case.schedule.moves is not False and (case.state.global_step or 0) > 0
    scheduler = case.at("scheduler")
    if moves and not scheduler and (scheduler is None or isinstance(scheduler, dict)):
        yield Problem(f"no scheduler state: {case.schedule.anew}", where=case.where("scheduler"))
    elif moves and isinstance(scheduler, dict) and _has_lost_its_position(scheduler):
        yield Problem(
            f"the scheduler state has no last_epoch: {case.schedule.anew}",
            where=case.where("scheduler", "last_epoch"),
        )


def _has_lost_its_position(scheduler: Mapping[Any, Any]) -> bool:
    """Whether a state of a scheduler of torch lacks it; others keep it under names of their own."""
    return not {"last_epoch", "_schedulers"} & scheduler.keys() and not COMMON.isdisjoint(scheduler)


@rule("R509", "foreign-schedule", "warning", "file", each=True)
def foreign_schedule(case: Case) -> Iterator[Problem]:
    """The scheduler state is not of the class that the trainer builds.

    A scheduler takes any dict for its state without a word. What has the same name is overwritten, the rest keeps what
    the constructor set, and the rates after the resume follow no schedule; with a CosineAnnealingLR's file OneCycleLR
    does not get beyond its first step. Said of the files that the run's trainer wrote; of any other only when the
    question is whether to resume from that very file.

    Example: a checkpoint with the state of a CosineAnnealingLR in a run whose command builds OneCycleLR; a checkpoint
    of another project.

    Cure: none in the file; resume with the command, or the script, that it was written with.

    Source: trainer contract, section 4; torch/optim/lr_scheduler.py, `LRScheduler.load_state_dict`.
    """
    state = case.at("scheduler")
    if not isinstance(state, dict) or not _is_foreign(case) or not is_resumed(case):
        return
    kind = case.state.scheduler
    groups = case.at("optimizer", "param_groups")
    bare = isinstance(groups, (list, tuple)) and any(isinstance(g, dict) and "max_lr" not in g for g in groups)
    stops = bare and case.schedule.moves and case.schedule.builds == ("OneCycleLR",)
    follows = "the param groups lack its max_lr, and the first batch ends in a KeyError" if stops else ""
    yield Problem(
        f"the scheduler state is {'of another class' if kind == 'other' else f'of {kind}'}, the trainer builds "
        f"{_built(case)}: {follows or 'the two would be mixed'}",
        severity="error" if stops else None,
        where=case.where("scheduler"),
        found=sorted(map(str, state))[:20] if kind == "other" else kind,
        expected=_built(case),
    )


def _built(case: Case) -> str:
    return " or ".join(case.schedule.builds)


def _is_foreign(case: Case) -> bool:
    builds = case.schedule.builds
    return bool(builds) and case.state.scheduler is not None and case.state.scheduler not in builds


RULES = (
    scheduler_behind,
    scheduler_ahead,
    step_count_mismatch,
    rate_mismatch,
    total_steps_mismatch,
    scheduler_absent,
    foreign_schedule,
)
