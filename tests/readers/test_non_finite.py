"""NaN and infinite numbers in raw bytes, for every floating-point type."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.readers.test_deep import deep
from tests.readers.torch_files import rezip, save

FLOATS = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.complex128,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
]


@pytest.mark.parametrize("dtype", FLOATS)
@settings(max_examples=40)
@given(raw=st.binary(min_size=32, max_size=400), data=st.data())
def test_non_finite_counts_are_torchs(tmp_path_factory, dtype, raw, data):
    """For every float type, any bytes, views and transpositions: the counts of `torch.isfinite`."""
    size = torch.empty((), dtype=dtype).element_size()
    flat = torch.frombuffer(bytearray(raw), dtype=torch.uint8)[: len(raw) // size * size].clone().view(dtype)
    rows = data.draw(st.integers(1, max(1, flat.numel() // 2)))
    columns = flat.numel() // rows
    matrix = flat[: rows * columns].reshape(rows, columns)
    value = {
        "whole": flat,
        "matrix": matrix,
        "turned": matrix.t(),
        "part": matrix[:, : max(1, columns // 2)],
        "skipped": flat[::2],
    }
    path = save(tmp_path_factory.mktemp("nan") / "f", value)
    expected = {}
    for name, tensor in value.items():
        wide = torch.complex128 if dtype.is_complex else torch.float64
        count = int((~torch.isfinite(tensor.to(wide))).sum())
        if count:
            expected[name] = count
    assert expected == deep(path).non_finite


def test_large_finite_numbers_are_no_nan(tmp_path):
    """A sum that overflows is not taken for an infinity."""
    big = torch.full((1000,), 3e38)
    assert (
        {}
        == deep(
            save(tmp_path / "a", {"w": big, "d": big.double() * 1e269, "h": torch.full((99,), 65504.0).half()})
        ).non_finite
    )


def test_big_endian_numbers(tmp_path):
    """Numbers are judged in the file's byte order."""

    def swapped(name, data):
        if name == "byteorder":
            return b"big"
        return np.frombuffer(data, "<f4").astype(">f4").tobytes() if name.startswith("data/") else data

    values = torch.tensor([1.0, float("inf"), 2.0, float("-inf"), 7e-39])
    assert {"w": 2} == deep(rezip(save(tmp_path / "a", {"w": values}), tmp_path / "b", swapped)).non_finite
