"""Sets of files are recognised by their names, and what one lacks is told with what calls for it (F114)."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.readers.sets import marked, set_of
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
        ("last_checkpoint", "yesterday", "epoch_2.pth", "last_checkpoint"),
        ("last_checkpoint", "yesterday", "notes", None),
        ("latest", "", "global_step10", "latest"),
        ("latest", "global_step10\n\x1b[2J", "global_step10", "latest"),
        ("latest", "x" * 5_000, "global_step10", "latest"),
        ("latest", "step20", "step10", "step20"),
        ("latest", "", "step10", None),
        ("latest.txt", "step20", "step10", "step20"),
        ("latest.txt", "2026-11-30", "step10", None),
        ("latest_checkpointed_iteration.txt", "20", "iter_0000020", None),
        ("latest_checkpointed_iteration.txt", "20", "global_step_20", None),
        ("latest_checkpointed_iteration.txt", "30", "iter_0000020", "iter_0000030"),
        ("latest_checkpointed_iteration.txt", "release", "iter_0000020", "release"),
        ("latest_checkpointed_iteration.txt", "soon", "iter_0000020", "latest_checkpointed_iteration.txt"),
        ("latest_checkpointed_iteration.txt", "-5", "iter_0000020", "latest_checkpointed_iteration.txt"),
        ("latest.txt", "20", "20", None),
        ("latest.txt", "30", "20", "30"),
        ("latest_universal", "global_step10_universal", "global_step9_universal", "global_step10_universal"),
        ("last_checkpoint.rank_0", "model_0009.rank_0.pth", "model_0004.rank_0.pth", "model_0009.rank_0.pth"),
        ("latest-rank0.pt.symlink", "ep0-ba2-rank0.pt", "ep0-ba1-rank0.pt", "ep0-ba2-rank0.pt"),
        ("latest-rank0.pt.symlink", "run/ep0-ba1-rank0.pt", "ep0-ba1-rank0.pt", None),
        ("latest-rank0.pt.symlink", "run/ep0-ba2-rank0.pt", "ep0-ba1-rank0.pt", None),
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


def test_a_checkpoint_may_have_the_name_of_a_marker(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "latest")
    write_ranks(tmp_path / "global_step10")
    assert [] == set_of(tmp_path, ["latest", "global_step10"])
    assert ["w"] == [tensor.name for tensor in open_unit(tmp_path / "latest").tensors]


def test_a_link_to_the_last_checkpoint_that_leads_nowhere_is_told(tmp_path):
    """One that leads somewhere is that checkpoint's other name, and nothing by itself."""
    link = tmp_path / "latest-rank0.pt"
    link.symlink_to("ep0-ba2-rank0.pt")
    assert [link] == [one.path for one in set_of(tmp_path, [link.name])]
    assert ["ep0-ba2-rank0.pt"] == told(open_unit(link))
    torch.save({"w": torch.ones(1)}, tmp_path / "ep0-ba2-rank0.pt")
    assert [] == set_of(tmp_path, [link.name, "ep0-ba2-rank0.pt"])


def test_a_marker_may_be_a_link_itself(tmp_path):
    """To its text in a cache, or to a checkpoint in another run's folder."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "4f2a").write_text("global_step10")
    (tmp_path / "other" / "step20").mkdir(parents=True)
    (tmp_path / "run" / "global_step10").mkdir(parents=True)
    link = tmp_path / "run" / "latest"
    link.symlink_to("../blobs/4f2a")
    assert [] == set_of(link.parent, ["latest", "global_step10"])
    assert {"latest": "global_step10"} == marked(link.parent)
    link.unlink()
    link.symlink_to("../other/step20")
    assert [] == set_of(link.parent, ["latest", "global_step10"])
    assert {} == marked(link.parent)


def test_the_checkpoint_that_a_marker_names_is_known(tmp_path):
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("10")
    (tmp_path / "iter_0000010").mkdir()
    (tmp_path / "latest").symlink_to("step20")
    assert {"latest_checkpointed_iteration.txt": "iter_0000010"} == marked(tmp_path)
    (tmp_path / "step20").mkdir()
    assert "step20" == marked(tmp_path)["latest"]


def test_sets_side_by_side_share_no_file(tmp_path):
    write_sharded(tmp_path)
    write_sharded(tmp_path, name="pytorch_model-{i:05d}-of-{n:05d}.bin", index="pytorch_model.bin.index.json")
    write_ranks(tmp_path)
    torch.save({}, tmp_path / "other.pt")
    sets = set_of(tmp_path, [path.name for path in tmp_path.iterdir()])
    files = [name for one in sets for name in one.files]
    assert (3, len(set(files))) == (len(sets), len(files))
    assert {path.name for path in tmp_path.iterdir()} - {"other.pt"} == set(files)
