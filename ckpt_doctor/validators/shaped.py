"""What the rules for everyone's files look at: the parts of a checkpoint that are recognised by their shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ckpt_doctor.inert.pairing import pairing_of
from ckpt_doctor.inert.shapes import Shapes, find
from ckpt_doctor.types import Case
from ckpt_doctor.types.record import kept
from ckpt_doctor.validators.contents import is_ours
from ckpt_doctor.validators.files import UNTRUSTED


@kept
def shapes_of(case: Case) -> Shapes:
    """The parts of a checkpoint that was read to the end; none where a file is not, or where a trainer's own belongs.

    Such a file has worse troubles, of which other rules speak.
    """
    checkpoint = case.checkpoint
    misplaced = case.member.role is not None and not is_ours(case)
    cut = any(part.is_damaged(*UNTRUSTED) for part in (checkpoint, *checkpoint.parts))
    return Shapes() if misplaced or cut else find(checkpoint)


def own_shapes(case: Case) -> Shapes:
    """Of a checkpoint with several optimizers that of the case, its schedule and its model; else all parts.

    With the first go the parts that belong to none, and schedules of which it is open whose they are."""
    whole = shapes_of(case)
    if not case.several:
        return whole
    pairing = pairing_of(whole)
    at = next((n for n, one in enumerate(whole.optimizers) if one.path == case.path("optimizer")), None)
    if at is None:
        return Shapes()
    first = bool(case.further)
    mine = [pairing.schedulers[at]] if at in pairing.schedulers else []
    mine += pairing.open if first else []
    model = case.path("model") if "model" in case.member.places else None
    own = Shapes(
        optimizers=[whole.optimizers[at]],
        schedulers=[whole.schedulers[number] for number in mine],
        models=[one for one in whole.models if one.path == model],
        names={"last_epoch"} if pairing.open else set(),
    )
    return (
        replace(own, scalers=whole.scalers, epochs=whole.epochs, steps=whole.steps, best=whole.best) if first else own
    )


def sibling_with(case: Case, has: Callable[[Shapes], bool]) -> Path | None:
    """The first other checkpoint of the run with such parts. Looked for once a run and function: every file asks."""
    memo = vars(case.run).setdefault("siblings", {})
    if has not in memo:
        having = (member.checkpoint.path for member in case.run.members if has(find(member.checkpoint)))
        memo[has] = tuple(islice(having, 2))
    return next((path for path in memo[has] if path != case.checkpoint.path), None)


def begun(shapes: Shapes) -> str:
    """What shows that training has begun (`epoch 3`); empty where nothing does."""
    counts = [(str(part.path[-1]), part.value) for part in (*shapes.steps, *shapes.epochs)]
    counts += [
        (f"{scheduler.path[-1] if scheduler.path else 'scheduler'} at", s)
        for scheduler in shapes.schedulers
        if (s := scheduler.last_epoch) is not None
    ]
    return next((f"{name} {value:,.0f}" for name, value in counts if value >= 1), "")
