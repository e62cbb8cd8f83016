"""A checkpoint of DeepSpeed: a file of each model-parallel rank, and with ZeRO one of each rank's optimizer.

Source: deepspeed/runtime/engine.py, `_get_ckpt_name`, `_get_zero_ckpt_prefix`, `_get_all_zero_checkpoint_names` (which
asks for the files of all `dp_world_size` ranks of the save), `_save_checkpoint` (what a model file holds).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.readers.parts import Findings, Parts, missing_part
from ckpt_doctor.types import Checkpoint, Damage, NotChecked
from ckpt_doctor.types.record import record

_FILE = re.compile(
    r"(?P<prefix>(?:bf16_|fp16_)?zero_pp_rank_(?P<rank>\d{1,6})_)?mp_rank_(?P<model_rank>\d{1,6})"
    r"_?(?P<kind>model|optim)_states\.pt"
)
_LAYER = re.compile(r"(layer_.+|expp_rank_\d+_mp_rank_\d+)[-_](model|optim)_states\.pt")
"""Files of pipeline stages and experts. No file says how many there should be."""
_MOST_FILES = 100_000


def belongs(name: str) -> bool:
    """Whether DeepSpeed gives a file this name."""
    return _FILE.fullmatch(name) is not None or _LAYER.fullmatch(name) is not None


@record(frozen=True)
class _Name:
    """What a file's name says."""

    kind: str
    rank: int | None
    """Of data parallelism; None in the files that all of its ranks share."""
    model_rank: int


def examine(parts: Parts, folder: str, names: Collection[str]) -> Findings:
    """Whether the files of all ranks are there. `folder` ends with a slash."""
    found = Findings()
    there = {_read(match): name for name in sorted(names) if (match := _FILE.fullmatch(name))}
    models = [key for key in there if key.kind == "model"]
    described = parts.open(folder + there[models[0]]) if models else None
    told = folder + there[models[0]] if models else "the names of the others"
    data, model = _world(described, "dp_world_size"), _world(described, "mp_world_size")
    piped = any(_LAYER.fullmatch(name) for name in names)
    model_ranks = range(max([key.model_rank + 1 for key in there] + ([model] if model and not piped else [1])))
    if described is None and not piped:
        message = f"{shown(folder)}mp_rank_00_model_states.pt is not there: no model, only its optimizer's partitions"
        found.damage.append(Damage("missing-part", message, f"{shown(folder)}mp_rank_00_model_states.pt"))
    elif data is None:
        why = "no file says with how many processes it was saved (dp_world_size)"
        found.not_checked.append(NotChecked("whether the files of all ranks are there", why, "their number"))
    if piped:
        why = "nothing says how many there should be"
        found.not_checked.append(
            NotChecked("whether the files of all stages and experts are there", why, "their number")
        )
    for kind in ("model",) if _is_universal(parts, folder) else ("model", "optim"):
        ranks = _ranks(there, kind, data, described)
        many = len(ranks) * len(model_ranks)
        if many > _MOST_FILES:
            why = f"their names and numbers speak of {many:,}"
            found.not_checked.append(NotChecked("whether the files of all ranks are there", why, "a look at them"))
            continue
        wanted = (_Name(kind, rank, at) for rank in ranks for at in model_ranks)
        lost = ((key, _spelled(_prefix(names), key)) for key in wanted if key not in there)
        found.lacks(missing_part(folder + name, _why(data, key.rank), told) for key, name in lost)
    return found


def _is_universal(parts: Parts, folder: str) -> bool:
    """Whether the optimizer lies in a folder for each parameter (deepspeed/checkpoint/ds_to_universal.py)."""
    return (parts.folder / folder / "zero").is_dir()


def _read(match: re.Match[str]) -> _Name:
    rank = match["rank"]
    return _Name(match["kind"], int(rank) if rank else None, int(match["model_rank"]))


def _world(described: Checkpoint | None, key: str) -> int | None:
    value = described.get(key) if described is not None else None
    return value if type(value) is int and 0 < value <= _MOST_FILES else None


def _ranks(there: Iterable[_Name], kind: str, data: int | None, described: Checkpoint | None) -> Sequence[int | None]:
    """The ranks that must have a file of this kind; None where all of them share one."""
    seen = [key.rank for key in there if key.kind == kind and key.rank is not None]
    if seen:
        return range(max(data or 0, max(seen) + 1))
    if described is None:
        return ()
    if kind == "optim" and described.get("param_shapes"):  # kept by ZeRO only, whose optimizer has files of its own
        return range(data or 1)
    return (None,) if kind == "model" else ()


def _why(data: int | None, rank: int | None) -> str:
    return "is not there" if data is None or rank is None else f"is not there (dp_world_size is {data:,})"


def _prefix(names: Iterable[str]) -> str:
    """`bf16_` where the optimizer's files are named so."""
    found = (match["prefix"] for match in map(_FILE.fullmatch, names) if match and match["kind"] == "optim")
    return next((prefix.partition("zero")[0] for prefix in found if prefix), "")


def _spelled(prefix: str, key: _Name) -> str:
    name = f"mp_rank_{key.model_rank:02d}_{key.kind}_states.pt"
    if key.rank is None:
        return name
    return f"{prefix if key.kind == 'optim' else ''}zero_pp_rank_{key.rank}_{name}"
