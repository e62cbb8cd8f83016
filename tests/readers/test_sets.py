"""Sets of files are recognised by their names, and what one lacks is told with what calls for it (F114)."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.readers.sets import set_of
from tests.readers.set_files import told, write_ranks, write_sharded


@pytest.mark.parametrize(
    ("marker", "text", "beside", "lost"),
    [
        ("latest", "global_step10", "global_step10", None),
        ("latest", "global_step10", "global_step20", "global_step10"),
        ("latest", "my-tag", "zero_to_fp32.py", "my-tag"),
        ("latest", "v1.2", "global", None),
        ("latest", "../global_step10", "zero_to_fp32.py", "../global_step10"),
        ("last_checkpoint", "model_0009.pth", "model_0009.pth", None),
        ("last_checkpoint", "model_0009.pth", "model_0004.pth", "model_0009.pth"),
        ("last_checkpoint", "/runs/a/epoch_3.pth", "epoch_3.pth", None),
        ("last_checkpoint", "/runs/a/epoch_3.pth", "epoch_2.pth", "/runs/a/epoch_3.pth"),
        ("last_checkpoint", "yesterday", "epoch_2.pth", None),
    ],
)
def test_a_marker_that_names_nothing_is_told(tmp_path, marker, text, beside, lost):
    (tmp_path / marker).write_text(text)
    if "." in beside:
        torch.save({"w": torch.ones(1)}, tmp_path / beside)
    else:
        write_ranks(tmp_path / beside)
    found = [one.path for one in set_of(tmp_path, [marker, beside])]
    assert ([tmp_path / marker] if lost else []) == found
    assert ([lost] if lost else []) == told(open_unit(tmp_path / marker))
    assert ([lost] if lost else []) == told(open_unit(tmp_path))


def test_sets_side_by_side_share_no_file(tmp_path):
    write_sharded(tmp_path)
    write_sharded(tmp_path, name="pytorch_model-{i:05d}-of-{n:05d}.bin", index="pytorch_model.bin.index.json")
    write_ranks(tmp_path)
    torch.save({}, tmp_path / "other.pt")
    sets = set_of(tmp_path, [path.name for path in tmp_path.iterdir()])
    files = [name for one in sets for name in one.files]
    assert (3, len(set(files))) == (len(sets), len(files))
    assert {path.name for path in tmp_path.iterdir()} - {"other.pt"} == set(files)
