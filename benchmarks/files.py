"""Make the files that are measured. Where their content does not matter they are sparse: tensor bytes take no disk."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from pathlib import Path
from unittest import mock

TENSORS = 300
GIB = 1 << 30


def weights(path: Path, form: str, size: int, tensors: int = TENSORS) -> None:
    """A state_dict of about `size` bytes in a form: zip, legacy, safetensors. All but the legacy one are sparse."""
    length = max(1, size // 4 // tensors)
    names = [f"layers.{number}.weight" for number in range(tensors)]
    if form == "safetensors":
        _safetensors(path, dict.fromkeys(names, (length,)))
        return
    import torch

    if form == "zip":
        with torch.serialization.skip_data():
            torch.save({name: torch.empty(length) for name in names}, path)
    else:
        zeros = {name: torch.zeros(length) for name in names}
        torch.save(zeros, path, _use_new_zipfile_serialization=False)


def _safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        start, size = end, 4
        for side in shape:
            size *= side
        end += size
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def filled(path: Path, size: int, tensors: int = TENSORS) -> None:
    """The same as a zip with numbers in it: for what reads every byte."""
    import torch

    block = torch.randn(max(1, size // 4 // tensors))
    torch.save({f"layers.{number}.weight": block.roll(number) for number in range(tensors)}, path)


def small_files(folder: Path, count: int) -> None:
    """A tree of small training checkpoints, ten to a folder: a linear layer and Adam."""
    import torch

    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    for number in range(count):
        epoch, state = number % 10 + 1, optimizer.state_dict()
        for moments in state["state"].values():
            moments["step"] = torch.tensor(100.0 * epoch)
        inside = folder / f"run_{number // 10:04d}"
        inside.mkdir(parents=True, exist_ok=True)
        kept = {"model": model.state_dict(), "optimizer": state, "epoch": epoch, "global_step": 100 * epoch}
        torch.save(kept | {"args": {"lr": 1e-3, "seed": number}}, inside / f"ckpt_{epoch}.pt")


def shards(folder: Path, count: int) -> None:
    """A set of safetensors shards, 20 tensors and 128 MiB each, with its index."""
    folder.mkdir()
    places: dict[str, str] = {}
    for number in range(1, count + 1):
        name = f"model-{number:05d}-of-{count:05d}.safetensors"
        keys = {f"layers.{number}.{i}.weight": (1280, 1310) for i in range(20)}
        _safetensors(folder / name, keys)
        places |= dict.fromkeys(keys, name)
    index = {"metadata": {"total_size": count * 20 * 4 * 1280 * 1310}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def hf_run(folder: Path, count: int, size: int, parameters: int = 150) -> None:
    """A run of the Hugging Face Trainer: checkpoint folders whose optimizer.pt is of `size` bytes."""
    import torch

    from tests.trainers.hf_trainer import runs

    folder.mkdir()
    with mock.patch.multiple(runs, LENGTH=250, TOTAL=1000):  # four epochs, as its arguments say
        runs.Writer(folder).write(*range(1000 // count, 1000 + 1, 1000 // count))
    shape = (max(1, size // 2 // 4 // parameters // 512), 512)
    for checkpoint in folder.iterdir():
        _safetensors(checkpoint / "model.safetensors", {f"h.{i}.weight": shape for i in range(parameters)})
        path = checkpoint / "optimizer.pt"
        state = torch.load(path)
        step = state["state"][0]["step"]
        state["state"] = {
            i: {"step": step.clone(), "exp_avg": torch.empty(shape), "exp_avg_sq": torch.empty(shape)}
            for i in range(parameters)
        }
        decaying, others = state["param_groups"]
        decaying["params"], others["params"] = list(range(parameters // 2)), list(range(parameters // 2, parameters))
        with torch.serialization.skip_data():
            torch.save(state, path)
        _fill_scalars(path, struct.pack("<f", step.item()))


def _fill_scalars(path: Path, value: bytes) -> None:
    """Write the same bytes into every record of their length."""
    with zipfile.ZipFile(path) as archive:
        places = [record.header_offset for record in archive.infolist() if record.file_size == len(value)]
    with path.open("r+b") as file:
        for place in places:
            file.seek(place + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            file.seek(name + extra, os.SEEK_CUR)
            file.write(value)


def repairable(path: Path, size: int) -> None:
    """A training checkpoint of about `size` bytes that lacks its best score: weights, Adam, OneCycleLR."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    piece = min(8 << 20, size // 16)
    block = torch.randn(piece)
    model = {f"layer.{i}.weight": block.roll(i) for i in range(size // (4 * piece))}
    parameter = torch.nn.Parameter(torch.zeros(1000))
    optimizer = torch.optim.Adam([parameter], lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=225)
    parameter.grad = torch.ones(1000)
    optimizer.step()
    states = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save({"model": model, **states, "epoch": 2, "global_step": 90}, path)


def sized(number: int) -> str:
    """`64 MiB`."""
    return f"{number // GIB} GiB" if number >= GIB else f"{number / (1 << 20):g} MiB"
