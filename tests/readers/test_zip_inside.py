"""Archives of torch.save inside other files: the same tensors, at their places in the whole, and every damage."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from ckpt_doctor.readers.assemble import Content
from ckpt_doctor.readers.payloads import file_programs
from ckpt_doctor.readers.views import open_view
from ckpt_doctor.readers.zip_inside import archive_inside, take_tree


def inside(path: Path, archive: bytes) -> Content:
    """What is found of an archive between other bytes."""
    path.write_bytes(b"before" + archive + b"behind")
    content = Content("nemo-tar")
    with open_view(path) as view:
        take_tree(content, archive_inside(view, 6, len(archive), "net", content, file_programs()))
    return content


def test_tensors_are_where_they_are_and_a_changed_description_is_told(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.tensor([1.0, 2.0])}, buffer)
    whole = buffer.getvalue()
    (tensor,) = (found := inside(tmp_path / "a", whole)).tensors
    assert ([], "net/0", {"net/0"}) == (found.damage, tensor.storage.key, found.checksums.keys())
    at = tensor.storage.offset or 0
    assert torch.tensor([1.0, 2.0]).numpy().tobytes() == (tmp_path / "a").read_bytes()[at : at + 8]
    assert ["corrupt-record"] == [one.kind for one in inside(tmp_path / "a", whole.replace(b"cpuq", b"gpuq")).damage]
    for broken in (whole[:99], b"", whole.replace(b"data.pkl", b"data.pkx")):
        assert ["missing-record"] == [one.kind for one in inside(tmp_path / "a", broken).damage]
