"""Checkpoints that several processes save together with torch: whole ones are silent, each file is missed."""

from __future__ import annotations

import os
import random
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import distributed, nn
from torch.distributed import checkpoint as dcp

from ckpt_doctor import audit, scan
from ckpt_doctor.readers.folders import open_unit

pytestmark = pytest.mark.long

WORLD = 3


def save(rank: int, folder: Path, port: int) -> None:
    """One process of a sharded training: three steps, saved in each way that torch has."""
    from torch.distributed.checkpoint.state_dict import get_state_dict
    from torch.distributed.fsdp import fully_shard

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(WORLD))
    distributed.init_process_group("gloo", rank=rank, world_size=WORLD)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))
    fully_shard(model, mesh=distributed.device_mesh.init_device_mesh("cpu", (WORLD,)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        model(torch.rand(4, 8)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    weights, moments = get_state_dict(model, optimizer)
    state = {"model": weights, "optimizer": moments, "step": 3}
    dcp.save(state, checkpoint_id=folder / "together")
    dcp.async_save(state, checkpoint_id=folder / "asynchronous").result()
    model(torch.rand(4, 8)).sum().backward()
    optimizer.step()
    weights_later, moments_later = get_state_dict(model, optimizer)
    dcp.save({"model": weights_later, "optimizer": moments_later, "step": 4}, checkpoint_id=folder / "later")
    apart = dcp.FileSystemWriter(folder / "a file a tensor", single_file_per_rank=False)
    dcp.save(state, storage_writer=apart)
    dcp.save(state, storage_writer=dcp.FileSystemWriter(folder / "each its own"), use_collectives=False)
    dcp.save({"model": weights}, checkpoint_id=folder / "step_3/pytorch_model_fsdp_0")
    dcp.save({"optimizer": moments}, checkpoint_id=folder / "step_3/optimizer_0")
    random_states = {
        "step": 3,
        "random_state": random.getstate(),
        "numpy_random_seed": np.random.get_state(),
        "torch_manual_seed": torch.get_rng_state(),
    }
    torch.save(random_states, folder / f"step_3/random_states_{rank}.pkl")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all of them; `step_3` is as Accelerate saves a model under FSDP."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(save, args=(folder, port), nprocs=WORLD)
    return folder


WAYS = ("together", "later", "asynchronous", "a file a tensor", "each its own", "step_3")


def test_whole_ones_are_silent(saved: Path) -> None:
    report = scan([saved], deep=True)
    assert [] == [(f.code, f.message) for f in report.findings if f.severity != "info"]
    assert {*WAYS} == {file.checkpoint.path.name for file in report.files}


@pytest.mark.parametrize("way", WAYS)
def test_each_file_is_missed_and_each_cut_is_seen(saved: Path, tmp_path: Path, way: str) -> None:
    unit = tmp_path / way
    shutil.copytree(saved / way, unit)
    files = sorted(path for path in unit.rglob("*") if path.suffix == ".distcp" or path.name.endswith(".metadata"))
    for file in [*files[:4], *files[-3:]]:
        whole = file.read_bytes()
        file.unlink()
        assert file.relative_to(unit).as_posix() in {damage.where for damage in open_unit(unit).damage}
        file.write_bytes(whole[: len(whole) // 2])
        assert "broken" == audit.check(unit).files[0].verdict
        file.write_bytes(whole)
    assert () == open_unit(unit).damage


def test_a_save_over_an_older_one_that_was_cut_off_is_told(saved: Path, tmp_path: Path) -> None:
    """The lengths are the same, so the older description fits the files of both."""
    unit = tmp_path / "unit"
    shutil.copytree(saved / "together", unit)
    later = next(part for part in open_unit(saved / "later").parts if part.path.name == "__1_0.distcp")
    shutil.copy(later.path, unit / later.path.name)
    (file,) = scan([unit]).files
    assert ["P409"] == [f.code for f in file.findings], file.findings
    assert () == open_unit(unit).damage


def test_a_flipped_bit_is_found_with_its_tensor(saved: Path, tmp_path: Path) -> None:
    unit = tmp_path / "unit"
    shutil.copytree(saved / "together", unit)
    part = next(part for part in open_unit(unit).parts if part.path.name == "__1_0.distcp")
    tensor = part.tensors[0]
    assert tensor.storage.offset is not None
    whole = bytearray(part.path.read_bytes())
    whole[tensor.storage.offset] ^= 0x40
    part.path.write_bytes(whole)
    (found,) = scan([unit], deep=True).findings
    assert "F102" == found.code and tensor.name in found.message
