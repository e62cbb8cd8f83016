"""`diff` data: what differs, by path, and nothing else."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ckpt_doctor.audit.compare import compare
from ckpt_doctor.inert.dtypes import item_size
from ckpt_doctor.readers import open_checkpoint
from tests.readers.torch_files import rezip, save, training


def compared(tmp_path, left, right, deep=True):
    """The comparison of two values as files."""
    return compare(open_checkpoint(save(tmp_path / "a", left)), open_checkpoint(save(tmp_path / "b", right)), deep=deep)


def test_a_copy_is_the_same(tmp_path):
    """Same values in another file, in another container."""
    value = training()
    assert compared(tmp_path, value, copy.deepcopy(value)).same
    legacy = open_checkpoint(save(tmp_path / "legacy", value, False))
    result = compare(open_checkpoint(tmp_path / "a"), legacy, deep=True)
    assert result.same
    assert 19 == result.unchanged_tensors
    assert () == result.not_compared


def test_each_kind_of_difference(tmp_path):
    """Values, keys, types, shapes, bytes."""
    left = {"w": torch.zeros(3), "x": torch.zeros(2), "y": torch.zeros(2), "z": torch.zeros(4), "epoch": 1, "old": 1}
    right = {
        "w": torch.zeros(3),
        "x": torch.zeros(2).half(),
        "y": torch.zeros(3),
        "z": torch.tensor([0, 0, 1.0, 0]),
        "epoch": 2,
        "new": [1],
        "nan": float("nan"),
    }
    result = compared(tmp_path, left, right)
    assert [("x", "dtype"), ("y", "shape"), ("z", "bytes")] == [(d.name, d.kind) for d in result.tensors]
    expected = [("epoch", "changed"), ("old", "removed"), ("new", "added"), ("nan", "added")]
    assert expected == [(d.name, d.kind) for d in result.values]
    assert 1 == result.unchanged_tensors
    assert compared(tmp_path, left, {**left, "z": right["z"]}, deep=False).same


def test_numpy_values(tmp_path):
    """A numpy number equals the same Python number; a changed numpy array is seen; NaN equals NaN."""
    left = {"s": np.float64(0.5), "n": float("nan"), "r": np.arange(4)}
    assert compared(tmp_path, left, {"s": 0.5, "n": float("nan"), "r": np.arange(4)}).same
    assert ["r"] == [d.name for d in compared(tmp_path, left, {**left, "r": np.arange(1, 5)}).values]


def test_arrays_of_two_numpys(tmp_path):
    """The same array, saved by numpy 1 under `numpy.core` and by numpy 2 under `numpy._core`, is the same."""
    new = save(tmp_path / "a", {"rng": np.arange(4)})
    old = rezip(new, tmp_path / "b", lambda _, data: data.replace(b"numpy._core", b"numpy.core"))
    assert ["numpy.core.multiarray._reconstruct"] == [str(name) for name in open_checkpoint(old).globals][:1]
    assert compare(open_checkpoint(new), open_checkpoint(old), deep=True).same


def test_what_only_one_side_has_is_one_difference(tmp_path):
    """A random state of six hundred numbers takes one line; a single value is shown."""
    base = {"model": {"w": torch.ones(2)}, "epoch": 1}
    torch.save(base, tmp_path / "a")
    torch.save({**base, "rng": {"python": tuple(range(600)), "deep": {"x": [1]}}, "score": -0.5}, tmp_path / "b")
    found = compare(open_checkpoint(tmp_path / "a"), open_checkpoint(tmp_path / "b")).values
    assert [("rng", "added", "601 values"), ("score", "added", -0.5)] == [(d.name, d.kind, d.right) for d in found]
    back = compare(open_checkpoint(tmp_path / "b"), open_checkpoint(tmp_path / "a")).values
    assert [("rng", "removed", "601 values"), ("score", "removed", -0.5)] == [(d.name, d.kind, d.left) for d in back]


def names_of(result):
    return [(d.name, d.kind) for d in result.values]


def test_objects_and_sets_are_looked_into(tmp_path):
    """Of what was saved as an object, the attribute that changed is named."""
    from argparse import Namespace
    from collections import deque

    left = {"args": Namespace(lr=0.1, opt=["a"]), "last": deque([1, 2]), "s": {1, 2}, "b": bytearray(b"x")}
    right = {"args": Namespace(lr=0.2, opt=["a"]), "last": deque([1, 3]), "s": {1, 3}, "b": bytearray(b"y")}
    assert compared(tmp_path, left, copy.deepcopy(left)).same
    expected = [("args.lr", "changed"), ("last.1", "changed"), ("s", "changed"), ("b.args.0", "changed")]
    assert expected == names_of(compared(tmp_path, left, right))


@pytest.mark.long
def test_sharing_is_no_difference(tmp_path):
    """Two param groups with one `betas` object say the same as two with a copy each."""
    betas = (0.9, 0.95)
    shared = {"groups": [{"betas": [betas]}, {"betas": [betas]}]}
    assert compared(tmp_path, shared, {"groups": [{"betas": [(0.9, 0.95)]}, {"betas": [(0.9, 0.95)]}]}).same
    knot: list = [1]
    knot.append(knot)
    assert compared(tmp_path, knot, knot).same
    bomb: list = [1]
    for _ in range(60):
        bomb = [bomb, bomb]
    assert compared(tmp_path, bomb, bomb).same


def test_bytes_are_compared_whatever_the_layout(tmp_path):
    """A transposed, a sliced and an expanded tensor: element by element."""
    square = torch.arange(12.0).reshape(3, 4)
    left = {"t": square, "s": torch.arange(10.0)[::2], "e": torch.ones(1).expand(5), "sparse": torch.eye(3).to_sparse()}
    right = {**left, "t": square.t().contiguous().t(), "s": torch.arange(10.0)[::2].clone()}
    result = compared(tmp_path, left, right)
    assert result.same
    assert 4 == result.unchanged_tensors
    right["t"][1, 1] = -5.0
    assert [("t", "1 of 48 bytes differ")] == [(d.name, d.left) for d in compared(tmp_path, left, right).tensors]


def test_a_tensor_that_cannot_be_read_is_not_called_the_same(tmp_path):
    whole = save(tmp_path / "a", {"x": torch.ones(8), "y": torch.ones(9)})
    cut = rezip(whole, tmp_path / "b", lambda name, data: data[:-4] if name == "data/1" else data)
    result = compare(open_checkpoint(whole), open_checkpoint(cut), deep=True)
    assert (("y",), 1, False) == (result.not_compared, result.unchanged_tensors, result.same)


def test_composed_tensors_differ_where_a_part_does(tmp_path):
    """A sparse tensor's indices, a quantized one's scale, an attribute."""

    def value(x: float) -> dict:
        hung = torch.ones(3)
        hung.extra = torch.full((3,), x)
        return {
            "sparse": torch.sparse_coo_tensor([[0, int(x)], [1, 0]], [1.0, 1.0], (4, 4)),
            "quantized": torch.quantize_per_tensor(torch.ones(2), x, 0, torch.qint8),
            "hung": hung,
            "plain": torch.ones(2),
        }

    assert compared(tmp_path, value(1.0), value(1.0)).same
    result = compared(tmp_path, value(1.0), value(2.0))
    assert (
        {"sparse.indices", "hung.extra", "quantized"}
        >= {d.name for d in result.tensors}
        >= {"sparse.indices", "hung.extra"}
    )
    assert 1.0 in [d.left for d in result.values]


def test_a_small_file_asks_for_no_memory(tmp_path):
    """A tensor that repeats one number a trillion times."""
    huge = {"x": torch.ones(1).expand(1 << 20, 1 << 20)}
    assert compared(tmp_path, huge, huge).same
    assert ["x"] == [d.name for d in compared(tmp_path, huge, {"x": torch.zeros(1).expand(1 << 20, 1 << 20)}).tensors]


def test_long_lists(tmp_path):
    """Compared at one go, and the element is named."""
    numbers = list(range(100_000))
    assert compared(tmp_path, {"l": numbers}, {"l": list(numbers)}).same
    changed = [*numbers[:70_000], -1, *numbers[70_001:]]
    assert [("l.70000", "changed")] == names_of(compared(tmp_path, {"l": numbers}, {"l": changed}))


DTYPES = [
    torch.float64,
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.complex128,
    torch.complex64,
    torch.int64,
    torch.int16,
    torch.uint8,
    torch.bool,
    torch.float8_e5m2,
]


def big_endian(source, target):
    """The archive as a big-endian machine writes it; torch.load turns each storage by its type."""
    units = {}
    for tensor in open_checkpoint(source).tensors:
        units[f"data/{tensor.storage.key}"] = item_size(tensor.storage.dtype) // (2 if "complex" in tensor.dtype else 1)

    def change(name, data):
        if name == "byteorder":
            return b"big"
        return np.frombuffer(data, "u1").reshape(-1, units[name])[:, ::-1].tobytes() if name in units else data

    return rezip(source, target, change)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_values_of_both_byte_orders_are_equal(tmp_path, dtype):
    """Plain, transposed, with an offset, with gaps, expanded; torch.load is the judge. One changed bit shows."""
    base = (torch.arange(24) % 7).to(dtype).reshape(4, 6)
    value = {"plain": base, "t": base.t(), "part": base[1:3], "gaps": base[:, ::2], "one": base[:1, :1].expand(3, 3)}
    little = save(tmp_path / "little", value)
    big = big_endian(little, tmp_path / "big")
    loaded = torch.load(big, weights_only=True)
    assert all(
        torch.equal(tensor.float(), loaded[name].float()) for name, tensor in value.items() if dtype.is_floating_point
    )
    result = compare(open_checkpoint(little), open_checkpoint(big), deep=True)
    assert (True, 5) == (result.same, result.unchanged_tensors)
    assert compare(open_checkpoint(big), open_checkpoint(big), deep=True).same
    raw = bytearray(big.read_bytes())
    raw[open_checkpoint(big).tensors[0].storage.offset] ^= 1
    big.write_bytes(raw)
    result = compare(open_checkpoint(little), open_checkpoint(big), deep=True)
    assert {"plain", "t", "gaps", "one"} == {d.name for d in result.tensors}
    assert {1} == {int(d.left.split()[0]) for d in result.tensors}


def test_a_safetensors_file_is_little_endian_whatever_it_says_of_itself(tmp_path):
    save_file({"w": torch.arange(4.0)}, tmp_path / "a.safetensors", {"byteorder": "big"})
    torch.save({"w": torch.arange(4.0)}, tmp_path / "a.pt")
    assert compare(open_checkpoint(tmp_path / "a.safetensors"), open_checkpoint(tmp_path / "a.pt"), deep=True).same


def test_equal_arrays_in_another_order_are_equal(tmp_path):
    """numpy arrays of the other byte order, and by columns."""
    for array in (np.arange(6.0).reshape(2, 3), np.arange(6).reshape(3, 2), np.array([1 + 2j, 3j])):
        swapped = array.astype(array.dtype.newbyteorder(">"))
        assert compared(tmp_path, {"a": array}, {"a": swapped}).same
        assert compared(tmp_path, {"a": array}, {"a": np.asfortranarray(array)}).same
        assert ["a"] == [d.name for d in compared(tmp_path, {"a": array}, {"a": swapped + 1}).values]


def test_what_lies_at_the_root_has_a_name_and_counts(tmp_path):
    """A file that is one tensor, one number, one sparse tensor."""
    result = compared(tmp_path, torch.zeros(3), torch.ones(3))
    assert (["(root)"], 0) == ([d.name for d in result.tensors], result.unchanged_tensors)
    assert 1 == compared(tmp_path, torch.zeros(3), torch.zeros(3)).unchanged_tensors
    assert ["(root)"] == [d.name for d in compared(tmp_path, 1, 2).values]
    assert compared(tmp_path, torch.zeros(3), {"w": torch.zeros(3)}).tensors
    assert ["(root)"] == [
        d.name for d in compared(tmp_path, torch.eye(2).to_sparse(), 2 * torch.eye(2).to_sparse()).tensors
    ]


def test_a_view_that_is_still_to_be_conjugated_is_another_value(tmp_path):
    """The bytes are the same; the bit that torch.load sets is not."""
    number = torch.tensor([1 + 2j])
    assert torch.load(save(tmp_path / "c", number.conj())).is_conj()
    result = compared(
        tmp_path, {"c": number, "n": [torch.ones(1)]}, {"c": number.conj(), "n": [torch._neg_view(torch.ones(1))]}
    )
    assert {("c", "conj view"), ("n", "neg view")} == {(d.name, d.right) for d in result.values}


@pytest.mark.parametrize(("left", "right"), [(1, 1.0), (True, 1), ([1, 2], [1, 2.0]), ((0,), (False,))])
def test_equal_numbers_of_two_types_differ(tmp_path, left, right):
    """A trainer that wants an integer does not take the other for it."""
    assert not compared(tmp_path, {"x": left}, {"x": right}).same


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (torch.tensor([0x7FC00000]).int().view(torch.float32), torch.tensor([0x7FC00001]).int().view(torch.float32)),
        (torch.tensor([0.0]), torch.tensor([-0.0])),
        (torch.tensor([1], dtype=torch.uint8).view(torch.bool), torch.tensor([2], dtype=torch.uint8).view(torch.bool)),
    ],
)
def test_other_bits_are_other_bytes(tmp_path, left, right):
    """NaN with another payload, minus zero, a bool of 2: deep compares bytes, and says so."""
    assert ["1 of"] == [d.left[:4] for d in compared(tmp_path, {"w": left}, {"w": right}).tensors]
