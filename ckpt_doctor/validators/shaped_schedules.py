"""Family R for everyone's files: schedulers and optimizers that are recognised by their shape."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.inert.pairing import agree, last_rates, pairing_of
from ckpt_doctor.inert.shapes import Optimizer, Scheduler, Shapes, settings
from ckpt_doctor.types import Case, KeyPath, dotted, holds_rate, real
from ckpt_doctor.validators.contents import shown_rates
from ckpt_doctor.validators.rule import Problem, rule
from ckpt_doctor.validators.shaped import own_shapes, shapes_of

_CLOSED_FORM = (
    {"arch", "version", "state_dict"},  # timm/utils/checkpoint_saver.py
    {"best_fitness"},  # ultralytics/engine/trainer.py and yolov5/train.py, `save_model`
    {"iter_num", "model_args"},  # nanoGPT/train.py
    {"meta", "state_dict"},  # mmcv/runner/hooks/lr_updater.py, which leaves `initial_lr` in the groups
    {"iteration", "learning_rate"},  # VITS/train.py: ExponentialLR(last_epoch=)
    {"optim_g", "optim_d"},  # hifi-gan/train.py: ExponentialLR(last_epoch=)
)
"""Keys of trainers that compute the rate from the epoch or step, or build the scheduler there, and save none."""


def step_count(case: Case) -> Iterator[Problem]:
    """R503: a scheduler that counted fewer steps than its position. A count that is ahead has healthy causes."""
    for scheduler in own_shapes(case).schedulers:
        last, count = scheduler.last_epoch, real(scheduler.state.get("_step_count"))
        if scheduler.counts and last is not None and count is not None and 0 <= count <= last:
            yield Problem(
                f"_step_count is {count:,.0f} with last_epoch {last:,.0f}: a scheduler that is stepped from its start "
                "counts one more. That is right if your script built it with last_epoch=, or calls step(epoch)",
                where=dotted((*scheduler.path, "_step_count")),
                found=count,
                expected=last + 1,
                severity="info",
            )


def rates(case: Case) -> Iterator[Problem]:
    """R504: no scheduler of the checkpoint has the rates that an optimizer has."""
    shapes, own = shapes_of(case), own_shapes(case)
    if any(plan.is_plateau or not last_rates(plan) for plan in shapes.schedulers):
        return  # a plateau lowers the rate beside any other schedule
    if any(agree(optimizer, plan) for optimizer in shapes.optimizers for plan in shapes.schedulers):
        return
    pairs = [(shapes.optimizers[o], shapes.schedulers[s]) for o, s in pairing_of(shapes).schedulers.items()]
    pairs = [(o, plan) for o, plan in pairs if len(last_rates(plan)) == len(o.rates) and o is own.optimizers[0]]
    for optimizer, plan in pairs[:1]:
        has, last = shown_rates(optimizer.rates), shown_rates(last_rates(plan))
        which = f" ({dotted(plan.path)})" if case.several else ""
        yield Problem(
            f"the optimizer's rate is {has} where the scheduler{which} set {last} in its last step: the first batches "
            f"after a resume run at {has}. That is right if your script sets the rate by hand after the scheduler's "
            "step",
            where=dotted((*optimizer.path, "param_groups", 0, "lr")),
            found=real(optimizer.rates[0]),
            expected=real(last_rates(plan)[0]),
        )


def absent(case: Case) -> Iterator[Problem]:
    """R508: the rate has moved from where a scheduler began, and no scheduler is saved."""
    shapes = own_shapes(case)
    keys = set(case.checkpoint.keys)
    if any(family <= keys for family in _CLOSED_FORM) or _has_schedule(shapes):
        return
    for optimizer in shapes.optimizers:
        moved = _moved(optimizer)
        if moved and any(_in_one_file(case, optimizer.path, model.path) for model in shapes.models):
            lr, initial = moved
            yield Problem(
                f"the optimizer's rate is {lr:.6g} and a scheduler began at {initial:.6g}, but no scheduler is saved: "
                "a fresh one starts its schedule anew. That is right if your script builds the scheduler at its "
                "position (last_epoch=) or computes the rate from the epoch",
                where=dotted((*optimizer.path, "param_groups", 0, "lr")),
                found=lr,
                fix=_placed(case),
            )


def _placed(case: Case) -> str:
    """What a script can do whose scheduler no file has: its class and arguments are in the script alone."""
    done = case.resume.finished_epochs
    return (
        "no file has the schedule's class and arguments, so the script must put it in its place: build the scheduler, "
        "call scheduler.step() as often as the run has, and load the optimizer's state after that"
        + (f" ({done:,} epochs are finished)" if done else "")
    )


def _has_schedule(shapes: Shapes) -> bool:
    """Whether anything in the checkpoint is, or may be, a scheduler's state."""
    return bool(shapes.schedulers) or any("sched" in name.lower() or name == "last_epoch" for name in shapes.names)


def _moved(optimizer: Optimizer) -> tuple[float, float] | None:
    """A rate, and where the scheduler's constructor found it (torch/optim/lr_scheduler.py, `LRScheduler.__init__`)."""
    for group in optimizer.groups:
        lr, initial = real(group.get("lr")), real(group.get("initial_lr"))
        if lr is not None and initial is not None and not holds_rate(group["lr"], initial):
            return lr, initial
    return None


def _in_one_file(case: Case, one: KeyPath, other: KeyPath) -> bool:
    return not case.checkpoint.parts or one[:1] == other[:1]


@rule("R511", "schedule-finished", "warning", "file")
def schedule_finished(case: Case) -> Iterator[Problem]:
    """The schedule is at its end, and the scheduler's next step raises or leaves the curve.

    OneCycleLR knows how many steps it has. One more raises ValueError, in the middle of the resumed training. A
    CosineAnnealingLR beyond `T_max` does not raise: its rate rises again. The second is a note, and so is the first
    where the saved command shows that the run has reached its last epoch. Of schedulers inside of a SequentialLR or
    ChainedScheduler, those that its next step moves are judged so.

    Example: `last_epoch` 30 with `total_steps` 30: "Tried to step 31 times. The specified number of total steps is 30".

    Cure: none in the file. To train longer, build a new scheduler for the additional steps and do not load this state.
    Under Accelerate the prepared scheduler stops stepping at `total_steps`, and the rate stays where it is.

    Source: torch/optim/lr_scheduler.py, `OneCycleLR.get_lr` and `CosineAnnealingLR.get_lr`; accelerate/scheduler.py,
    `AcceleratedScheduler.step`.
    """
    shapes = shapes_of(case)
    if not shapes.schedulers:
        return
    from ckpt_doctor.inert.schedule_ends import stepped_next  # most files hold none

    for whole in shapes.schedulers:
        for inside, state in stepped_next(whole.state):
            yield from _finished(case, shapes, Scheduler((*whole.path, *inside), state))


def _finished(case: Case, shapes: Shapes, scheduler: Scheduler) -> Iterator[Problem]:
    """A scheduler that the next step moves, itself or inside of another one."""
    last, total = scheduler.last_epoch, real(scheduler.state.get("total_steps"))
    if scheduler.kind == "OneCycleLR" and last is not None and total is not None and last >= total > 0:
        over = _is_over(case, shapes)
        yield Problem(
            f"OneCycleLR is at step {last:,.0f} of {total:,.0f}: the next scheduler.step() raises ValueError"
            + (". The run is at its last epoch and may not need one" if over else ""),
            where=dotted((*scheduler.path, "last_epoch")),
            found=last,
            expected=f"below {total:,.0f}",
            severity="info" if over else None,
        )
    top = real(scheduler.state.get("T_max"))
    if scheduler.kind == "CosineAnnealingLR" and last is not None and top is not None and last > top > 0:
        yield Problem(
            f"CosineAnnealingLR is at {last:,.0f}, beyond its minimum at T_max {top:,.0f}: the rate rises again",
            where=dotted((*scheduler.path, "last_epoch")),
            found=last,
            expected=f"at most {top:,.0f}",
            severity="info",
        )


_EPOCHS = ("epochs", "num_epochs", "max_epochs", "n_epochs", "num_train_epochs")


def _is_over(case: Case, shapes: Shapes) -> bool:
    """Whether the saved command's last epoch is the checkpoint's, however the script counts."""
    epochs = [real(value) for name, value in settings(case.checkpoint) if name in _EPOCHS]
    counted = max((part.value for part in shapes.epochs), default=None)
    return counted is not None and any(epochs_ is not None and counted >= epochs_ - 1 for epochs_ in epochs)


RULES = (schedule_finished,)
