"""Names of what holds one moment of a run: `iter_0000500`, `step-1000`, `ep0-ba100-rank0.pt`, and of parts in it."""

from __future__ import annotations

import re

_COUNT = r"(?:global_?)?(?:step|iter(?:ation)?|epoch|checkpoint|ckpt|backup|ep|ba)"
_NUMBERED = re.compile(rf"(?:^|[-_.=])({_COUNT})[-_=+]?(\d{{1,18}})(?!\d)", re.IGNORECASE)
_DATE = re.compile(r"(19|20)\d{6}")
PADDED = re.compile(r"0\d{3,17}")
"""A count of steps that is filled up to a width, and is a name by itself (LeRobot, lingua)."""
WHOLE = re.compile(rf"{_COUNT}[-_=]?\d{{1,18}}", re.IGNORECASE)
"""A name that says a moment and nothing else."""
UNNUMBERED = ("release", "final")
"""The last moment's folder of a converted model (Megatron-LM), and of a finished run (litgpt)."""
RANKS = re.compile(r"mp_rank_\d{2,}(_\d{3})*|tp_rank_\d+_pp_rank_\d+")
"""Megatron-LM's folder of one rank (megatron/training/checkpointing.py, `get_checkpoint_name`)."""
ROLE_NUMBER = re.compile(r"((?:shard|rank|part)[-_]?\d{1,5})(?!\d)")
"""A rank's number in the name of its file, of fairseq, DINOv2 and Composer."""
OF_A_RUN = re.compile(r".*(?<![a-z])(best|last|latest|final|current)(?![a-z])", re.IGNORECASE)
"""A name of one whole moment that a run has only once."""
_COUNTED_AS = {"iter": r"iter(ation)?", "step": r"(global_)?step"}
"""Word before a number -> the keys that count the same. DeepSpeed's tags may be of another count than its own."""


def number_of(name: str) -> int | None:
    """The step, or else the epoch, that a name says; None where it says neither. A number alone is one, a date none."""
    found = _NUMBERED.findall(name)
    if name.isdecimal() and len(name) < 19 and not _DATE.fullmatch(name):
        return int(name)
    return int(found[-1][1]) if found else None


def form_of(name: str) -> str:
    """A name but for its numbers, which those of one run share."""
    return re.sub(r"\d+", "#", name)


def numbers_of(name: str) -> tuple[int, ...]:
    """What sorts names of one form: the number, then all others, as the time of a save."""
    return (number_of(name) or 0, *map(int, re.findall(r"\d{1,18}", name)))


def role_of(name: str) -> str:
    """A name but for the numbers of its moment: `model_#.rank_0.pth`."""
    return "".join(text if index % 2 else form_of(text) for index, text in enumerate(ROLE_NUMBER.split(name)))


def moment_of(name: str) -> tuple[int, ...]:
    """The numbers of a name but for those of a rank."""
    return tuple(map(int, numbers_in(name)))


def numbers_in(name: str) -> list[str]:
    """The same as they are written."""
    return re.findall(r"\d{1,18}", ROLE_NUMBER.sub("", name))


def counts_as(name: str, key: object) -> bool:
    """Whether a key of a checkpoint counts what the number in its name says."""
    found = [("step", name)] if name.isdecimal() else _NUMBERED.findall(name.lower())
    return any(found[-1:] and word in found[-1][0] and re.fullmatch(k, str(key)) for word, k in _COUNTED_AS.items())
