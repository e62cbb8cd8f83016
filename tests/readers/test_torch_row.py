"""The files of a distributed checkpoint: archives in a row, each of which torch would unpickle."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.torch_row import UNNAMED, archives, named
from tests.readers.attacks import COMMAND, call


def test_distributed_checkpoints_are_looked_into(tmp_path):
    """The hidden description, and every archive of a shard; torch.distributed.checkpoint.load unpickles them all."""
    from torch.distributed import checkpoint as dcp

    class Payload:
        def __reduce__(self):
            import os

            return os.getcwd, ()

    for folder, value in (("good", {"note": "text"}), ("evil", Payload())):
        values = {"a": 1, "extra": value, "b": 2, "v": torch.zeros(2)}  # archives of one size before and behind it
        dcp.save(values, checkpoint_id=tmp_path / folder, no_dist=True)
    good = {path.name: open_checkpoint(path) for path in (tmp_path / "good").iterdir()}
    assert {".metadata", "__0_0.distcp"} == set(good)
    assert not any(checkpoint.is_damaged() for checkpoint in good.values() if checkpoint.container != "pickle")
    assert not any(checkpoint.is_damaged("dangerous-global") for checkpoint in good.values())
    assert ["the names of the values"] == [note.what for note in good["__0_0.distcp"].not_checked]
    assert open_checkpoint(tmp_path / "evil" / "__0_0.distcp").is_damaged("dangerous-global")
    metadata = tmp_path / "good" / ".metadata"
    metadata.write_bytes(b"\x80\x04" + call("posix", "system", COMMAND) + b"0" + metadata.read_bytes()[2:])
    assert open_checkpoint(metadata).is_damaged("dangerous-global")


def row(path: Path, *values: object) -> list[int]:
    """Write archives of these values one behind the other; returns where each begins."""
    data, begins = b"", []
    for value in values:
        torch.save(value, buffer := io.BytesIO())
        begins.append(len(data))
        data += buffer.getvalue()
    path.write_bytes(data)
    return begins


def test_each_value_is_known_by_the_byte_at_which_it_begins(tmp_path):
    """Storages of two values have one name in their archives, and are two."""
    begins = row(tmp_path / "__0_0.distcp", torch.ones(2), {"lr": 0.1}, torch.zeros(3))
    with FileView(tmp_path / "__0_0.distcp") as view:
        found, first = archives(view)
    assert (begins, 0) == ([archive.begin for archive in found], first)
    checkpoint = open_checkpoint(tmp_path / "__0_0.distcp")
    assert isinstance(checkpoint.root, dict) and begins == list(checkpoint.root)
    assert {f"{begins[0]}/0", f"{begins[2]}/0"} == {tensor.storage.key for tensor in checkpoint.tensors}
    assert (UNNAMED,) == checkpoint.not_checked


def test_names_from_the_metadata_take_the_place_of_the_bytes(tmp_path):
    begins = row(tmp_path / "__0_0.distcp", torch.ones(2), torch.zeros(3))
    part = named(open_checkpoint(tmp_path / "__0_0.distcp"), {begins[0]: "model.w"})
    assert ["model.w", str(begins[1])] == [tensor.name for tensor in part.tensors]
    assert () == part.not_checked


def test_what_stands_before_the_first_archive_is_said_to_be_unknown(tmp_path):
    path = tmp_path / "__0_0.distcp"
    (begin, _) = row(path, torch.ones(2), torch.zeros(3))
    path.write_bytes(b"something" + path.read_bytes())
    with FileView(path) as view:
        found, first = archives(view)
    assert ([9, begin + 9 + found[0].source.size], 9) == ([archive.begin for archive in found], first)
