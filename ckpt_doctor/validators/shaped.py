"""What the rules for everyone's files look at: the parts of a checkpoint that are recognised by their shape."""

from __future__ import annotations

from ckpt_doctor.inert.shapes import Shapes, find
from ckpt_doctor.types import Case, Checkpoint, Run
from ckpt_doctor.validators.contents import is_ours
from ckpt_doctor.validators.files import UNTRUSTED


def shapes_of(case: Case) -> Shapes:
    """The parts of a checkpoint that was read to the end; none where a file is not, or where a trainer's own belongs.

    Such a file has worse troubles, of which other rules speak. Looked for once a case: a dozen rules ask.
    """
    memo = vars(case)
    if "shapes" not in memo:
        checkpoint = case.checkpoint
        misplaced = case.member.role is not None and not is_ours(case)
        cut = any(part.is_damaged(*UNTRUSTED) for part in (checkpoint, *checkpoint.parts))
        memo["shapes"] = Shapes() if misplaced or cut else find(checkpoint)
    shapes: Shapes = memo["shapes"]
    return shapes


def of_members(run: Run) -> list[tuple[Checkpoint, Shapes]]:
    """The checkpoints of a run, each with its parts. Looked for once a run: each checkpoint asks for all others."""
    memo = vars(run)
    if "shapes" not in memo:
        memo["shapes"] = [(member.checkpoint, find(member.checkpoint)) for member in run.members]
    found: list[tuple[Checkpoint, Shapes]] = memo["shapes"]
    return found


def begun(shapes: Shapes) -> str:
    """What shows that training has begun (`epoch 3`); empty where nothing does."""
    counts = [(str(part.path[-1]), part.value) for part in (*shapes.steps, *shapes.epochs)]
    counts += [
        (f"{scheduler.path[-1] if scheduler.path else 'scheduler'} at", s)
        for scheduler in shapes.schedulers
        if (s := scheduler.last_epoch) is not None
    ]
    return next((f"{name} {value:,.0f}" for name, value in counts if value >= 1), "")
