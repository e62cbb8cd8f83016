"""A safetensors file written in pieces is one that the package reads as it was meant."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open

from ckpt_doctor.errors import VerificationFailed
from ckpt_doctor.writer.safetensors_file import Part, verify_safetensors, write_safetensors


def test_what_the_package_refuses_or_reads_otherwise_is_discarded(tmp_path):
    parts = [Part("w", "F32", (2,), 8, [b"\0" * 8])]
    with (tmp_path / "a").open("wb") as file:
        write_safetensors(file, parts, {})
    verify_safetensors(tmp_path / "a", parts)
    with pytest.raises(VerificationFailed, match="other tensors"):
        verify_safetensors(tmp_path / "a", [Part("w", "F32", (2, 1), 8, [])])
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes()[:-1])
    with pytest.raises(VerificationFailed, match="refuses"):
        verify_safetensors(tmp_path / "b", parts)


def test_the_package_reads_names_types_shapes_bytes_and_metadata(tmp_path):
    """Content may come in any pieces; a scalar and an empty tensor are tensors too."""
    bytes_of = {"é": np.arange(6, dtype=np.float32).reshape(2, 3), "one": np.array(5, np.int64)}
    bytes_of["none"] = np.zeros((0, 4), np.float16)
    spelled = {"float32": "F32", "int64": "I64", "float16": "F16"}
    parts = [
        Part(name, spelled[array.dtype.name], array.shape, array.nbytes, [array.tobytes()[:3], array.tobytes()[3:]])
        for name, array in bytes_of.items()
    ]
    with (tmp_path / "a").open("wb") as file:
        write_safetensors(file, parts, {"format": "pt"})
    verify_safetensors(tmp_path / "a", parts)
    with safe_open(tmp_path / "a", framework="np") as opened:
        assert {"format": "pt"} == opened.metadata()
        for name, array in bytes_of.items():
            assert np.array_equal(array, opened.get_tensor(name))
            assert array.dtype == opened.get_tensor(name).dtype
    header = int.from_bytes((tmp_path / "a").read_bytes()[:8], "little")
    assert 0 == header % 8, "the tensors are aligned"
