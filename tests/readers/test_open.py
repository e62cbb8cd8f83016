"""What `open_checkpoint` says of a file is what `torch.load` makes of it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.tensor_bytes import read_scalars
from ckpt_doctor.types import InertDict, NumpyScalar, TensorRef
from tests.readers.strategies import State, values
from tests.readers.torch_equal import says
from tests.readers.torch_files import LEGACY, ZIP, load, save, tensors_of, training


@settings(max_examples=80)
@given(values, st.booleans())
def test_says_what_torch_loads(tmp_path_factory, value, zipped):
    """Any value, in either format: the inert tree describes each loaded object, and each tensor is listed once."""
    path = tmp_path_factory.mktemp("any") / "file"
    try:
        save(path, value, zipped)
        loaded = load(path)
    except (RuntimeError, KeyError, AttributeError):  # the legacy format cannot hold every type of tensor
        return
    checkpoint = open_checkpoint(path)
    assert ("torch-zip" if zipped else "torch-legacy") == checkpoint.container
    notes = [d for d in checkpoint.damage if d.kind in ("not-weights-only", "unknown-global")]
    own = [d for d in checkpoint.damage if (d.kind, d.where) == ("foreign-call", State.__module__)]
    assert [] == [d for d in checkpoint.damage if d not in notes + own]
    assert says(checkpoint.root, loaded)
    if not any(isinstance(key, tuple) for key in (loaded if isinstance(loaded, dict) else ())):
        assert len(tensors_of(loaded)) == len(checkpoint.tensors)


@pytest.mark.parametrize("zipped", [ZIP, LEGACY])
def test_facts_of_a_training_checkpoint(tmp_path, zipped):
    """Layout, keys, numbers, tensors with their names, scalars of the optimizer."""
    checkpoint = open_checkpoint(save(tmp_path / "checkpoint", training(), zipped))
    assert "training" == checkpoint.layout
    assert ("model", "optimizer", "epoch", "global_step", "best_score") == checkpoint.keys
    assert -0.5 == checkpoint.get("best_score")
    assert 17 == checkpoint.get("global_step")
    assert isinstance(checkpoint.root["best_score"], NumpyScalar)
    assert isinstance(checkpoint.root["model"], InertDict)
    assert 7 + 12 == len(checkpoint.tensors)
    assert "model.0.weight" == checkpoint.tensors[0].name
    assert (3, 4) == checkpoint.tensors[0].shape
    step = checkpoint.get("optimizer", "state", 0, "step")
    assert isinstance(step, TensorRef)
    assert [1.0] == read_scalars(checkpoint, [step])


def test_no_numpy_no_torch(tmp_path):
    """Reading the metadata imports neither torch nor numpy."""
    path = save(tmp_path / "f", training())
    code = (
        "import sys; from ckpt_doctor.readers import open_checkpoint; "
        f"c = open_checkpoint({str(path)!r}); assert c.tensors; print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False False" == done.stdout.strip()
