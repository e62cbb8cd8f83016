"""A pickle is followed to its end without running it: what it names is seen wherever it hides."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
import types

import numpy as np
import pytest

from ckpt_doctor.readers import open_checkpoint
from tests.readers.attacks import CALLS, dangerous, with_program


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_seen_wherever_it_hides(tmp_path, name):
    """In `data.pkl`, in a bare pickle, in the magic number of a legacy stream: the name is reported."""
    program = CALLS[name]
    assert dangerous(with_program(tmp_path / "zip", program))
    bare = tmp_path / "bare.pkl"
    bare.write_bytes(b"\x80\x04" + program)
    assert dangerous(bare)


class ArrayPickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes arrays as joblib's NumpyPickler does: a wrapper, and the elements raw in the middle of the pickle."""

    def save(self, obj, *rest):
        if not isinstance(obj, np.ndarray):
            super().save(obj, *rest)
            return
        wrapper = sys.modules["joblib.numpy_pickle"].NumpyArrayWrapper()
        wrapper.shape, wrapper.dtype, wrapper.numpy_array_alignment_bytes = obj.shape, obj.dtype, 16
        super().save(wrapper)
        self.write(b"\x03...")
        self.write(obj.tobytes())


def test_arrays_in_the_middle_of_a_pickle_are_passed_over(tmp_path, monkeypatch):
    """Whatever their bytes say; what stands behind them is judged."""
    module = types.ModuleType("joblib.numpy_pickle")
    wrapper = type("NumpyArrayWrapper", (), {"__module__": module.__name__, "__qualname__": "NumpyArrayWrapper"})
    module.NumpyArrayWrapper = wrapper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "joblib", types.ModuleType("joblib"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    raw = np.frombuffer(b"cos\nsystem\n(S'x'\ntR." * 2, "u1")  # a payload, if it were read as opcodes

    def written(value):
        with (tmp_path / "scaler.pkl").open("wb") as file:
            ArrayPickler(file, 3).dump(value)
        return open_checkpoint(tmp_path / "scaler.pkl")

    healthy = written({"mean": np.arange(10.0), "raw": raw, "n": 3})
    assert ["unknown-global"] == [damage.kind for damage in healthy.damage]
    assert 3 == healthy.get("n")
    attacked = written({"mean": np.arange(10.0), "x": os.system})
    assert "dangerous-global" in [damage.kind for damage in attacked.damage]


def test_pickles_in_a_row_are_no_damage(tmp_path):
    """`pickle.dump` twice into one file; a dangerous one among them is."""
    many = pickle.dumps({"a": 1}) + pickle.dumps(argparse.Namespace(b=2))
    (tmp_path / "many.pkl").write_bytes(many)
    assert () == open_checkpoint(tmp_path / "many.pkl").damage
    (tmp_path / "many.pkl").write_bytes(many + b"\x80\x02cos\nsystem\n.")
    assert ["dangerous-global"] == [damage.kind for damage in open_checkpoint(tmp_path / "many.pkl").damage]
