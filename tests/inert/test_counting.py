"""An outline of a checkpoint counts what the checkpoint held, and holds nothing of it."""

from __future__ import annotations

from pathlib import Path

import torch

from ckpt_doctor.inert.counting import count_tensors, outline, parameters
from ckpt_doctor.readers import open_checkpoint


def test_an_outline_has_keys_and_counts_and_no_content(tmp_path: Path) -> None:
    weight = torch.ones(3, 2)
    saved = {"model": {"wte": weight, "lm_head": weight}, "optimizer": {"state": {0: torch.ones(5)}}, "epoch": 3}
    torch.save(saved, tmp_path / "a.pt")
    outlined = outline(open_checkpoint(tmp_path / "a.pt"))
    assert outlined.keys == ("model", "optimizer", "epoch")
    assert (count_tensors(outlined), parameters(outlined)) == (2, 6)
    assert outlined.root == {"model": None, "optimizer": None, "epoch": None}
    assert not (outlined.tensors or outlined.globals or outlined.checksums or outlined.program)
    assert outline(outlined) == outlined
