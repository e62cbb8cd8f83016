"""Zeros that nobody saved are told from those that somebody did, where no checksum does."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from ckpt_doctor.readers.unwritten import BLOCK
from tests.readers.torch_files import LEGACY, save

NAMES = ("a", "b", "c")


def weights(path, **changed):
    """Three tensors of five blocks or so, the first of which does not begin with a row's multiple."""
    tensors = {"0": torch.ones(3)} | {name: 1 + torch.rand(5 * BLOCK // 4 + 9) for name in NAMES}
    save_file(tensors | changed, path)
    first, *rest = open_checkpoint(path).tensors
    assert (first.name, [tensor.name for tensor in rest]) == ("0", list(NAMES))
    return path, {tensor.name: tensor.storage for tensor in rest}


def damage(path):
    """What a deep check says is missing, by place, and what it would not save."""
    deep = deep_check(open_checkpoint(path)).deep
    assert {"missing-record"} >= {one.kind for one in deep.damage}
    return [one.where for one in deep.damage], deep.lost


def blank(path, first, last):
    """Write zeros from the first block that begins behind a byte up to the last that ends before another."""
    begin, end = -(-first // BLOCK) * BLOCK, last // BLOCK * BLOCK if last else path.stat().st_size
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(bytes(end - begin))


def test_what_was_never_written(tmp_path):
    """A hole in one tensor, one over two, and a tail."""
    for begin, end, lost in (("b", "b", "b"), ("a", "b", "ab"), ("b", "", "bc"), ("c", "", "c")):
        path, storages = weights(tmp_path / "model.safetensors")
        last = storages[end].offset + storages[end].nbytes - 9 if end else 0
        blank(path, storages[begin].offset + 9, last)
        assert ([begin], frozenset(lost)) == damage(path)


@pytest.mark.parametrize("zeros", [slice(0, None), slice(1500, 4000), slice(1500, None), slice(0, 4000)])
def test_zeros_that_were_saved(tmp_path, zeros):
    """Whole tensors, rows of one and the last of a file, wherever they are."""
    for name in NAMES:
        tensor = 1 + torch.rand(5 * BLOCK // 4 + 9)
        tensor[zeros] = 0
        path, _ = weights(tmp_path / "model.safetensors", **{name: tensor})
        assert ([], frozenset()) == damage(path)


def test_rows_of_zeros_that_begin_with_a_block(tmp_path):
    """Where the file is so laid out that rows and blocks coincide, their edges tell nothing."""
    rows = torch.ones(9, BLOCK // 4)
    rows[3:5] = rows[7] = 0
    offset = 0
    for pad in (0, 1):
        path = tmp_path / "model.safetensors"
        save_file({"rows": rows}, path, {"pad": "x" * (pad and -offset % BLOCK)})
        offset = open_checkpoint(path).tensors[0].storage.offset
    assert 0 == offset % BLOCK
    assert ([], frozenset()) == damage(path)


def test_a_stream_names_the_tensor(tmp_path):
    """Its storages have numbers."""
    path = save(tmp_path / "a", {"weights": torch.rand(5 * BLOCK)}, LEGACY)
    offset = open_checkpoint(path).tensors[0].storage.offset
    blank(path, offset + BLOCK, offset + 3 * BLOCK)
    assert ["weights"] == damage(path)[0]
