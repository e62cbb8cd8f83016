"""The pickles of a file: what is one, whatever it begins with, and what only looks like one."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch

from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.programs import BEHIND, Programs, growing, read_disguised, read_program, refused_opcodes
from tests.readers.attacks import CALL, CALLS
from tests.readers.torch_files import rezip, save


def test_records_that_only_begin_like_a_pickle(tmp_path):
    """Text, word lists, source code and numbers beside the checkpoint say nothing of what loading runs."""
    texts = [b"class A:\n    pass\n", b"c\nd\ne\n", b"import os\nos.system('x')\n", b"(1, 2)\n", bytes(range(256)) * 40]
    path = rezip(save(tmp_path / "a", {"w": torch.zeros(2)}), tmp_path / "b")
    with zipfile.ZipFile(path, "a") as writer:
        for index, text in enumerate(texts):
            writer.writestr(f"a/extra/{index}", text)
    assert () == open_checkpoint(path).damage


def disguised(data: bytes) -> list[str]:
    """The names that read_disguised takes up."""
    programs = Programs()
    assert 0 <= read_disguised(programs, lambda count: data[:count]) <= len(data)
    return list(map(str, programs.globals.values()))


def test_pickles_behind_the_first_are_read_as_well():
    """A loader that reads on would run them; numbers and padding behind a pickle are nothing."""
    first = pickle.dumps({"a": 1}, 2)
    for behind, told in ((CALL, ["dangerous"]), (pickle.dumps({"b": 2}, 2), []), (bytes(9), []), (b"", [])):
        programs = Programs()
        assert {"a": 1} == read_program(programs, first + behind, 0, None, "data.pkl").root
        assert bool(told) == (BEHIND in [damage.message for damage in programs.damage])
        assert bool(told) == (("posix", "system") in programs.globals)
    alone = Programs()
    read_program(alone, first + CALL, 0, None, "data.pkl", trailing=False)
    assert {} == alone.globals


def test_only_as_much_is_read_as_a_pickle_needs():
    asked: list[int] = []

    def head(count: int) -> bytes:
        asked.append(count)
        return bytes(1000)[:count]

    assert [10, 80, 640, 1000] == [len(data) for data in growing(head, 10)]
    assert [10, 80, 640, 5120] == asked


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (CALL, ["posix.system"]),
        (CALLS["stack global"], ["posix.system"]),
        (CALL[:-1], ["posix.system"]),
        (b"N0" * 9000 + CALL, ["posix.system"]),
        (b"N." + CALL, ["posix.system"]),
        (b"cos.path\nof a file\nmore text\n", []),
        (b"cmy_models\nNet\n.", []),
        (b"\x80\x02cmy_models\nNet\n.", ["my_models.Net"]),
        (b"\x80\x02cmy_models\nNet\n", []),
        (b"3\n", []),
        (b"", []),
    ],
)
def test_bytes_of_any_kind_are_taken_for_a_pickle_where_they_can_be_one(data, names):
    """Of what is no whole, marked pickle only what is dangerous counts, and only if it looks like a name."""
    assert names == disguised(data)


@pytest.mark.parametrize(
    ("value", "protocol", "word"),
    [
        ({"w": [1, 2.5, (None, True)]}, 2, ""),
        (OrderedDict(a=1), 2, ""),
        ({"w": 1}, 4, "protocol 4"),
        ({"w": 1}, 0, "DICT"),
        (b"ab", 3, "SHORT_BINBYTES"),
    ],
)
def test_opcodes_that_weights_only_loading_refuses_are_named(value, protocol, word):
    assert word in refused_opcodes(read(pickle.dumps(value, protocol)))
    assert bool(word) == bool(refused_opcodes(read(pickle.dumps(value, protocol))))
