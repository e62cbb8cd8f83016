"""Safetensors files in which each process saved its pieces of the tensors (torch's HuggingFaceStorageWriter)."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file

from ckpt_doctor import scan


def write(folder: Path, *begins: tuple[int, int], piece: tuple[int, int] = (2, 3)) -> Path:
    """A file of each process, whose piece of `a.weight` begins there; the first has `a.bias` as well."""
    folder.mkdir(exist_ok=True)
    for rank, begin in enumerate(begins, 1):
        tensors = {"a.weight": torch.full(piece, float(rank))} | ({"a.bias": torch.ones(3)} if rank == 1 else {})
        said = {"a.weight": {"saved_offsets": begin}, "a.bias": {"saved_offsets": [0]}}
        places = {"DCP_SHARDING_INFO": json.dumps({name: said[name] for name in tensors}), "DCP_VERSION": "1.0"}
        save_file(tensors, folder / f"shard-{rank:05}-model-00001-of-00001.safetensors", places)
    return folder


def test_the_files_of_all_processes_are_one_checkpoint(tmp_path: Path) -> None:
    report = scan([write(tmp_path / "run", (0, 0), (2, 0), (4, 0))])
    [file] = report.files
    assert ["shard"] * 3 == [part.path.name[:5] for part in file.checkpoint.parts]
    assert "F114" not in {finding.code for finding in report.findings}
    assert any("no file says how many processes" in point.why for point in file.not_checked)


def test_a_hole_between_pieces_is_a_missing_part(tmp_path: Path) -> None:
    run = write(tmp_path / "run", (0, 0), (0, 3), (2, 0), (2, 3))
    assert "F114" not in {finding.code for finding in scan([run]).findings}
    (run / "shard-00002-model-00001-of-00001.safetensors").unlink()
    [lost] = [finding for finding in scan([run]).findings if finding.code == "F114"]
    assert "a.weight" in lost.message
    assert "a.bias" not in lost.message


def test_places_that_are_none_are_taken_for_the_beginning(tmp_path: Path) -> None:
    run = write(tmp_path / "run", (0, 0))
    for places in ("{", "[]", '{"a.weight": {"saved_offsets": [-1, "x"]}}', "[" * 9999):
        path = run / "shard-00001-model-00001-of-00001.safetensors"
        save_file({"a.weight": torch.ones(2, 3)}, path, {"DCP_SHARDING_INFO": places})
        assert "F114" not in {finding.code for finding in scan([run]).findings}


def test_what_torch_writes_is_one_checkpoint(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

        writer = HuggingFaceStorageWriter(
            path=str(tmp_path / "run"), save_distributed=True, fqn_to_index_mapping={"a": 1, "b": 2}
        )
        dcp.save({"a": torch.ones(3), "b": torch.ones(2, 2)}, storage_writer=writer, no_dist=True)
    [file] = scan([tmp_path / "run"]).files
    assert 2 == len(file.checkpoint.parts)
    assert not file.serious
