"""Numbers of numpy in a checkpoint's metadata: every place that has one, and the plain value that says the same."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.numpy_values import (
    MOST_ELEMENTS,
    array_bytes,
    array_shown,
    numpy_values,
    plain_array,
    uint32_array,
)
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.types import Global, NumpyScalar, Opaque

RECORDS = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])


def number(value: float) -> NumpyScalar:
    return NumpyScalar(value, "float64", Opaque(Global("numpy", "scalar"), ()))


def test_numbers_of_numpy_are_found_in_each_place_that_shares_them():
    """A tuple of two param groups: replaced in one only, the other would still have it."""
    betas = (number(0.9), 0.999)
    found = list(numpy_values([{"betas": betas}, {"betas": betas}]))
    assert [(0, "betas", 0), (1, "betas", 0)] == [value.path for value in found]


def test_a_key_that_no_path_can_name_leads_nowhere():
    """None, as a key, is not the same as no key."""
    assert not list(numpy_values({None: number(1.0), (1, 2): [number(2.0)]}))


def test_shared_containers_do_not_multiply(monkeypatch):
    """Thirty lists of two references each to the next one have a billion places, and take no time."""
    monkeypatch.setattr(limits, "MAX_SHARED", 1000)
    value: list[object] = [number(1.0)]
    for _ in range(30):
        value = [value, value]
    assert 0 < len(list(numpy_values(value))) < 2000


SCALARS = [np.float32(0.1), np.float64("-inf"), np.float16(1.5), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True)]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("scalar", [*SCALARS, np.complex64(1 - 2j)], ids=lambda scalar: scalar.dtype.name)
def test_a_number_of_numpy_is_read_with_its_type(scalar, protocol):
    value = read(pickle.dumps(scalar, protocol)).root
    assert isinstance(value, NumpyScalar)
    assert (scalar.dtype.name, scalar.item()) == (value.dtype, value.value)


def test_a_number_in_the_other_byte_order_is_the_same_number():
    call = read(pickle.dumps({"a": np.array([258], ">u4"), "b": np.array(0.1, ">f8")}, 2)).root
    assert [258] == uint32_array(call["a"])
    assert 0.1 == plain_array(call["b"])


ARRAYS = [
    np.arange(6, dtype="i8").reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
    np.asfortranarray(np.arange(6, dtype="<u2").reshape(3, 2)),
    np.array([[0.1, np.inf]], "f4"),
    np.array([True, False]),
    np.array([], "u1"),
    np.array(3.5),
]


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_an_array_becomes_the_numbers_that_numpy_itself_lists(array, protocol):
    call = read(pickle.dumps(array, protocol)).root
    assert repr(array.tolist()) == repr(plain_array(call))
    name = f"numpy array {array.dtype.newbyteorder('=').name} [{', '.join(map(str, array.shape))}]"
    assert name == array_shown(call)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_bytes_of_an_array_are_in_row_major_little_endian_order(array):
    """So two files that hold the same numbers have the same bytes."""
    plain = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
    assert plain.tobytes() == array_bytes(read(pickle.dumps(array, 4)).root)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(MOST_ELEMENTS + 1, "u1"),
        np.zeros((0, 3)),
        np.zeros((1,) * 9),
        np.array(["text"]),
        np.array([None], object),
        np.zeros(1, "c16"),
        np.array("2020", "M8[D]"),
    ],
    ids=["long", "empty in two dimensions", "deep", "text", "objects", "complex", "dates"],
)
def test_an_array_that_plain_numbers_cannot_stand_for_has_none(array):
    assert plain_array(read(pickle.dumps(array, 4)).root) is None


def test_a_state_that_numpy_would_not_take_is_no_array():
    """Bytes too few, sizes that are no sizes, no type."""
    good = read(pickle.dumps(np.arange(3, dtype="u4"), 4)).root
    assert [0, 1, 2] == uint32_array(good)
    version, _, dtype, order, data = good.states[0]
    for shape, kind, raw in [((4,), dtype, data), ((-3,), dtype, data), ((3,), "u4", data), ((3,), dtype, None)]:
        good.states[0] = version, shape, kind, order, raw
        assert uint32_array(good) is None and plain_array(good) is None


@pytest.mark.parametrize("protocol", [2, 4])
def test_an_array_of_another_length_than_its_shape_says(protocol):
    """numpy refuses it, and with it the file."""
    arrays = [np.arange(5.0), np.zeros((0, 3)), np.array(True), np.arange(6).reshape(2, 3).T, np.array(["a"]), RECORDS]
    assert [] == [damage for array in arrays for damage in read(pickle.dumps(array, protocol)).damage]
    broken = pickle.dumps(arrays[0], protocol).replace(b"K\x05\x85", b"K\x06\x85")
    with pytest.raises(ValueError, match="buffer"):
        pickle.loads(broken)
    assert ["malformed-pickle"] == [damage.kind for damage in read(broken).damage]
