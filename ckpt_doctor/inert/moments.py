"""Names of what holds one moment of a run: `iter_0000500`, `step-1000`, `ep0-ba100-rank0.pt`, and of parts in it."""

from __future__ import annotations

import re

_COUNT = r"(?:global_?)?(?:step|iter(?:ation)?|epoch|checkpoint|ckpt|ep|ba)"
_NUMBERED = re.compile(rf"(?:^|[-_.=])({_COUNT})[-_=]?(\d{{1,18}})(?!\d)", re.IGNORECASE)
WHOLE = re.compile(rf"{_COUNT}[-_=]?\d{{1,18}}", re.IGNORECASE)
"""A name that says a moment and nothing else."""
UNNUMBERED = ("release", "final")
"""The last moment's folder of a converted model (Megatron-LM), and of a finished run (litgpt)."""
RANKS = re.compile(r"mp_rank_\d{2,}(_\d{3})*|tp_rank_\d+_pp_rank_\d+")
"""Megatron-LM's folder of one rank (megatron/training/checkpointing.py, `get_checkpoint_name`)."""
PARTS = re.compile(
    r"model(ing)?|optim(izer)?|model_and_optim|train(er)?(_state)?|weights|context|actor|critic|random", re.IGNORECASE
)
"""Folders of what one moment consists of: of OLMo, NeMo, ColossalAI, nanotron and verl."""
_COUNTED_AS = {"iter": r"iter(ation)?", "step": r"(global_)?step"}
"""Word before a number -> the keys that count the same. DeepSpeed's tags may be of another count than its own."""


def number_of(name: str) -> int | None:
    """The step, or else the epoch, that a name says; None where it says neither."""
    found = _NUMBERED.findall(name)
    return int(found[-1][1]) if found else None


def form_of(name: str) -> str:
    """A name but for its numbers, which those of one run share."""
    return re.sub(r"\d+", "#", name)


def counts_as(name: str, key: object) -> bool:
    """Whether a key of a checkpoint counts what the number in its name says."""
    found = _NUMBERED.findall(name.lower())
    return any(found[-1:] and word in found[-1][0] and re.fullmatch(k, str(key)) for word, k in _COUNTED_AS.items())
