"""The files of a distributed checkpoint: archives in a row, each of which torch would unpickle."""

from __future__ import annotations

import torch

from ckpt_doctor.readers import open_checkpoint
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
