"""Pickles written from an inert tree load as the original does."""

from __future__ import annotations

import io
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.inert.pickle_writer import dump
from ckpt_doctor.inert.tree import same, transform
from ckpt_doctor.types import InertDict, NumpyScalar, StorageInfo
from tests.readers.strategies import values
from tests.readers.torch_equal import equal


def saved(value) -> bytes:
    """The bytes of `torch.save(value)`."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def pickle_of(file: bytes) -> bytes:
    """The `data.pkl` of an archive."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        return archive.read("archive/data.pkl")


def with_pickle(file: bytes, program: bytes) -> io.BytesIO:
    """The archive with another `data.pkl`."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as archive, zipfile.ZipFile(target, "w") as out:
        for info in archive.infolist():
            out.writestr(info.filename, program if info.filename == "archive/data.pkl" else archive.read(info))
    target.seek(0)
    return target


def load(file, weights_only=False):
    """`torch.load`, without its warnings about unusual tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(file, weights_only=weights_only)


def weights_only_accepts(file) -> bool:
    """Whether the restricted unpickler takes it."""
    try:
        load(file, weights_only=True)
    except Exception:
        return False
    return True


@settings(max_examples=60)
@given(values)
def test_written_again_loads_equal(value):
    """A checkpoint whose pickle was read inertly and written again loads bit for bit as before, as safely."""
    original = saved(value)
    tree = read(pickle_of(original)).root
    program = dump(tree)
    again = with_pickle(original, program)
    assert equal(load(io.BytesIO(original)), load(again))
    assert same(tree, read(program).root) is None
    if weights_only_accepts(io.BytesIO(original)):
        again.seek(0)
        assert weights_only_accepts(again)


def test_values_of_all_kinds():
    """Numbers of every size, bytes, sets, a tensor, a numpy number: written and read back as the same tree."""
    value = {"a": [1, -1, 2**40, 1.5], "b": {b"x"}, "c": torch.zeros(2), "d": np.float64(2), "e": b"\xff" * 300}
    tree = read(pickle_of(saved(value))).root
    assert same(tree, read(dump(tree)).root) is None


def test_sharing_survives():
    """Two references to one list, and views of one storage, stay that."""
    base = torch.arange(6.0)
    value = {"x": base[:3], "y": base[3:], "l": (shared := [1]), "m": shared}
    file = saved(value)
    loaded = load(with_pickle(file, dump(read(pickle_of(file)).root)))
    assert loaded["l"] is loaded["m"]
    assert loaded["x"].untyped_storage().data_ptr() == loaded["y"].untyped_storage().data_ptr()


def test_cycles_survive():
    """A list that holds a tuple that holds the list."""
    ring: list = []
    ring.append((ring, ring))
    tree = read(dump(ring)).root
    assert tree[0][0] is tree and tree[0][1] is tree
    assert same(ring, tree) is None


def test_depth_is_no_limit():
    """Nesting far beyond Python's recursion limit is written, compared and copied."""
    deep: list = []
    for _ in range(5_000):
        deep = [(deep,)]
    again = read(dump(deep)).root
    assert same(deep, again) is None
    assert same(deep, transform(deep, lambda value: value)) is None


def test_locations_change_with_the_storages():
    """Moving every storage to the CPU changes the devices that the new pickle names, and nothing else."""
    data = pickle_of(saved({"w": torch.ones(3), "v": torch.ones(2)}))
    tree = read(data.replace(b"\x03\x00\x00\x00cpu", b"\x06\x00\x00\x00cuda:1")).root
    assert {"cuda:1"} == {storage.location for storage in read(dump(tree)).storages.values()}
    moved = transform(tree, lambda v: replace(v, location="cpu") if isinstance(v, StorageInfo) else v)
    assert same(read(data).root, read(dump(moved)).root) is None
    assert "cuda:1" == tree["w"].storage.location


def test_numpy_scalars_become_plain():
    """A tree without numpy scalars writes a file that weights_only accepts."""
    file = saved({"best_score": np.float64(-0.25), "w": torch.ones(2)})
    tree = read(pickle_of(file)).root
    plain = transform(tree, lambda v: v.value if isinstance(v, NumpyScalar) else v)
    assert not weights_only_accepts(io.BytesIO(file))
    assert -0.25 == load(with_pickle(file, dump(plain)), weights_only=True)["best_score"]


def test_renamed_keys():
    """An OrderedDict with other keys keeps its tensors, order and `_metadata`."""
    state = torch.nn.DataParallel(torch.nn.Linear(2, 2)).state_dict()
    file = saved(state)

    def rename(value):
        if not isinstance(value, InertDict) or "module.weight" not in value:
            return value
        renamed = InertDict(value.source)
        renamed.update({key.removeprefix("module."): item for key, item in value.items()})
        return renamed

    loaded = load(with_pickle(file, dump(transform(read(pickle_of(file)).root, rename))), weights_only=True)
    assert ["weight", "bias"] == list(loaded)
    assert state._metadata == loaded._metadata
    assert torch.equal(state["module.weight"], loaded["weight"])


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x80\x04\x8c\x02os\x8c\x03str\x8c\x06system\x85R\x93.",  # STACK_GLOBAL on the result of a call
        b"\x80\x02}]K\x01s.",  # a list as key
    ],
)
def test_what_cannot_be_said_again_is_refused(hostile):
    """A name that only running the pickle would tell is not written."""
    with pytest.raises(WriteRefused):
        dump(read(hostile).root)
