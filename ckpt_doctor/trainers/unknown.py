"""The last trainer: it owns what no other recognises, says what the file holds, and judges no resume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ckpt_doctor.inert.pairing import MOST, covers
from ckpt_doctor.inert.shapes import find
from ckpt_doctor.trainers.shared_folders import is_in_folders, run_around
from ckpt_doctor.trainers.state import first_of, training_state
from ckpt_doctor.trainers.trainer import ByHand, Judging, Trainer, one_by_one
from ckpt_doctor.types import (
    Case,
    Checkpoint,
    Given,
    Member,
    NotChecked,
    Opaque,
    Places,
    ReadScalars,
    ResumePoint,
    Run,
    dotted,
    mapping_of,
)
from ckpt_doctor.validators.series import has_optimizer_beside

NAME = ""
"""In data: no known trainer."""
NOT_JUDGED = "no known trainer wrote this"


def places(checkpoint: Checkpoint) -> Places:
    """The first optimizer, scheduler and counts that have the shape of one."""
    shapes = find(checkpoint)
    return first_of(
        {
            "optimizer": shapes.optimizers,
            "scheduler": shapes.schedulers,
            "epoch": shapes.epochs,
            "step": shapes.steps,
        }
    )


def _member_of(checkpoint: Checkpoint, read_scalars: ReadScalars) -> Member:
    found = places(checkpoint)
    return Member(checkpoint, training_state(checkpoint, found, read_scalars), None, places=found)


def _understand(run: Run, given: Given, logs: Sequence[Path]) -> Run:
    return run


def _case(member: Member, run: Run, by_hand: ByHand) -> Case:
    return Case(member.checkpoint, member, run, ResumePoint())


def not_judged(checkpoint: Checkpoint, run: Run, claimants: Sequence[Trainer]) -> Iterator[NotChecked]:
    """That the resume of a checkpoint is not judged, and which trainers a person could claim it for, or has in vain."""
    if checkpoint.root is None:
        return
    if run.claimed:
        yield NotChecked("the resume", f"the file cannot be read as a checkpoint of {run.claimed}", "")
        return
    weights = checkpoint.layout == "state-dict" or _has_weights_alone(checkpoint)
    known = next((told for trainer in claimants if (told := trainer.named(checkpoint))), "")
    is_beside = weights and has_optimizer_beside(run, checkpoint.path)
    only = "the optimizer is in another file of its number" if is_beside else "a resume starts the optimizer anew"
    why = known or (f"weights only: {only}" if weights else NOT_JUDGED + _lacking(checkpoint))
    yield NotChecked("the resume", why, "" if known else _claims(checkpoint, run, claimants))


def _has_weights_alone(checkpoint: Checkpoint) -> bool:
    """Whether a file has models under its keys, and in the optimizer's place nothing.

    A rank's file of a sharded checkpoint is no such file: the optimizer is in others."""
    root, shapes = mapping_of(checkpoint.root) or {}, find(checkpoint)
    is_shard = any(isinstance(key, str) and key.endswith("world_size") for key in root)
    kept = [value for key, value in root.items() if "opt" in str(key).lower()]
    return bool(shapes.models) and not (shapes.optimizers or checkpoint.parts or is_shard or any(kept))


def _lacking(checkpoint: Checkpoint) -> str:
    """What a hand-written loop's file would need to be judged: its optimizer's state, that one's model, a count."""
    shapes, root = find(checkpoint), mapping_of(checkpoint.root) or {}
    whole = [str(key) for key, value in root.items() if _is_optimizer(value)]
    if whole:
        return f"; {whole[0]} is a whole object, into which nothing looks, and not the optimizer's state_dict()"
    several = 1 < len(shapes.optimizers) <= MOST and shapes.trained and not checkpoint.parts
    alone = [one for one in shapes.optimizers if not covers(shapes, one)] if several else []
    if 0 < len(alone) < len(shapes.optimizers):
        return f"; the parameters of {dotted(alone[0].path)} are not in the file"
    is_uncounted = shapes.optimizers and shapes.trained and not (shapes.epochs or shapes.steps)
    return "; no key in it, and no number in its name, shows of which epoch or step it is" if is_uncounted else ""


def _is_optimizer(value: object) -> bool:
    """Whether a value is an optimizer saved as a whole (torch/optim/optimizer.py, `Optimizer.__getstate__`)."""
    state = value.states[0] if isinstance(value, Opaque) and value.states else None
    return isinstance(state, dict) and {"defaults", "state", "param_groups"} <= state.keys()


def _claims(checkpoint: Checkpoint, run: Run, claimants: Sequence[Trainer]) -> str:
    """Bare weights fit every trainer: only those in a place that a trainer gives them are worth a question."""
    able = [
        trainer.name
        for trainer in claimants
        if trainer.reads(checkpoint)
        and (checkpoint.layout != "state-dict" or checkpoint.path in run.placed.get(trainer.name, ()))
    ]
    return " or ".join(f"--trainer {name}" for name in able)


UNKNOWN = Trainer(
    name=NAME,
    run_of=run_around,
    is_unit=is_in_folders,
    recognises=one_by_one(lambda _checkpoint: True),
    reads=lambda _checkpoint: True,
    member_of=_member_of,
    judging=lambda: Judging(_understand, _case),
)
