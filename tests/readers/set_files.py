"""Checkpoints of several files: a sharded model, the ranks of DeepSpeed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from ckpt_doctor.types import Checkpoint

INDEX = "model.safetensors.index.json"


WEIGHTS = {f"layer.{i}.weight": torch.full((4, 4), float(i)) for i in range(6)}


def write_sharded(
    folder: Path, count: int = 3, *, name: str = "model-{i:05d}-of-{n:05d}.safetensors", index: str = INDEX
) -> list[Path]:
    """`WEIGHTS` in so many files, with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    items, placed = list(WEIGHTS.items()), {}
    for i in range(count):
        file = name.format(i=i + 1, n=count)
        part = dict(items[i * len(items) // count : (i + 1) * len(items) // count])
        save = save_file if file.endswith(".safetensors") else torch.save
        save(part, folder / file)
        placed |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in WEIGHTS.values())
    (folder / index).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": placed}))
    return sorted(folder / file for file in set(placed.values()))


def change_index(folder: Path, change: Callable[[dict], object], index: str = INDEX) -> None:
    """Edit an index in place."""
    content = json.loads((folder / index).read_text())
    change(content)
    (folder / index).write_text(json.dumps(content))


def told(unit: Checkpoint, kind: str = "missing-part") -> list[str]:
    """The places that damage of a kind names."""
    return sorted(damage.where for damage in unit.damage if damage.kind == kind)


def write_ranks(folder: Path, data: int = 2, model: int = 1, prefix: str = "", stage3: bool = False, **more) -> None:
    """The files of all ranks."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {"module": {"w": torch.ones(1)}, "optimizer": None, "param_shapes": [{"w": torch.Size([1])}]}
    state |= {"dp_world_size": data, "mp_world_size": model, **more}
    for m in range(model):
        for d in range(data):
            name = f"zero_pp_rank_{d}_mp_rank_{m:02d}"
            torch.save({"optimizer_state_dict": {}}, folder / f"{prefix}{name}_optim_states.pt")
            if stage3:
                torch.save(state, folder / f"{name}_model_states.pt")
        if not stage3:
            torch.save(state, folder / f"mp_rank_{m:02d}_model_states.pt")


PARTS = ["model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"]


def names(unit: Checkpoint) -> list[str]:
    """The parts that were read."""
    assert isinstance(unit.root, dict)
    return sorted(unit.root)
