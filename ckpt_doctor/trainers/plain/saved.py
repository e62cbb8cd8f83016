"""What a file counts, as its loop wrote it, and the numbers in its name."""

from __future__ import annotations

from functools import lru_cache

from ckpt_doctor.inert.scheduler_kinds import PLATEAU, counts, kind_of
from ckpt_doctor.trainers.plain.label import is_in_the_file, label_of, label_slot, told_numbers
from ckpt_doctor.trainers.plain.layout import last_counter
from ckpt_doctor.trainers.state import as_written, integer
from ckpt_doctor.types import Checkpoint, Member, mapping_of, real
from ckpt_doctor.types.record import kept


def as_saved(member: Member, slot: str, *path: str | int) -> object:
    """A value as the loop wrote it."""
    now = member.at(slot, *path)
    return as_written(member.checkpoint, member.path(slot, *path), now) if member.checkpoint.migrations else now


def saved_label(member: Member) -> int | None:
    """The label."""
    return integer(as_saved(member, label_slot(member))) if is_in_the_file(member) else label_of(member)


def saved_position(member: Member) -> int | None:
    """The scheduler's `last_epoch`."""
    return integer(as_saved(member, "scheduler", "last_epoch"))


def seen_batches(member: Member) -> int | None:
    """The batches that the model's last batch norm has seen in training (torch/nn/modules/batchnorm.py)."""
    counter = last_counter(member)
    return None if counter is None else integer(real(counter))


def is_stepped_singly(member: Member) -> bool:
    """Whether nothing in the state shows `step(epoch)`, which sets the position to what the script passes."""
    state = mapping_of(member.at("scheduler")) or {}
    if kind_of(state) == PLATEAU:
        return False
    if "T_cur" in state:
        return isinstance(state["T_cur"], int)
    count = integer(as_saved(member, "scheduler", "_step_count"))
    return not counts(state) or count is None or count == (saved_position(member) or 0) + 1


def name_form(checkpoint: Checkpoint) -> str:
    """A file's name but for its numbers: files that a loop names alike."""
    return _name_parts(checkpoint)[0]


def numbers_in(checkpoint: Checkpoint) -> tuple[int, ...]:
    """The numbers in a file's name, by which a loop numbers those of one moment (`G_400.pth`, `D_400.pth`)."""
    return _name_parts(checkpoint)[1]


@kept
def _name_parts(checkpoint: Checkpoint) -> tuple[str, tuple[int, ...]]:
    return _parted(checkpoint.path.name)


@lru_cache(512)
def _parted(name: str) -> tuple[str, tuple[int, ...]]:
    """Both of a name; runs have the same ones."""
    found = told_numbers(name)
    ends = [0, *(one.end() for one in found)]
    parts = [name[end : one.start()] for end, one in zip(ends, found, strict=False)]
    return "\0".join([*parts, name[ends[-1] :]]), tuple(int(one[0]) for one in found)
