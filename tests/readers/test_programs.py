"""The pickles of a file: what is one, whatever it begins with, and what only looks like one."""

from __future__ import annotations

import zipfile

import torch

from ckpt_doctor.readers import open_checkpoint
from tests.readers.torch_files import rezip, save


def test_records_that_only_begin_like_a_pickle(tmp_path):
    """Text, word lists, source code and numbers beside the checkpoint say nothing of what loading runs."""
    texts = [b"class A:\n    pass\n", b"c\nd\ne\n", b"import os\nos.system('x')\n", b"(1, 2)\n", bytes(range(256)) * 40]
    path = rezip(save(tmp_path / "a", {"w": torch.zeros(2)}), tmp_path / "b")
    with zipfile.ZipFile(path, "a") as writer:
        for index, text in enumerate(texts):
            writer.writestr(f"a/extra/{index}", text)
    assert () == open_checkpoint(path).damage
