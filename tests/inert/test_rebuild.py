"""What recorded calls stand for: tensors of every kind, dict subclasses, numpy's numbers."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor.inert.rebuild import HANDLERS, contiguous, dims, does_not_take, dtype_name
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.types import Global, Opaque, StorageInfo
from tests.readers.strategies import State
from tests.readers.torch_files import save


def test_dict_subclasses(tmp_path):
    """A dict subclass of some package is looked into as a dict: keys, layout, values."""
    weights = State(w=torch.zeros(2), b=torch.ones(1))
    checkpoint = open_checkpoint(save(tmp_path / "f", State(model=weights, epoch=3, optimizer=State(lr=0.5))))
    assert "training" == checkpoint.layout
    assert ("model", "epoch", "optimizer") == checkpoint.keys
    assert (3, 0.5) == (checkpoint.get("epoch"), checkpoint.get("optimizer", "lr"))
    assert ["model.w", "model.b"] == [tensor.name for tensor in checkpoint.tensors]
    assert "state-dict" == open_checkpoint(save(tmp_path / "g", weights)).layout


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantized_sparse_and_meta(tmp_path):
    """Tensors that are no plain view of a storage are still described."""
    value = {
        "q": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8),
        "s": torch.eye(3).to_sparse(),
        "m": torch.empty(2, 3, device="meta"),
        "c": torch.eye(3).to_sparse_csr(),
    }
    checkpoint = open_checkpoint(save(tmp_path / "f", value))
    described = {tensor.name: (tensor.dtype, tensor.shape) for tensor in checkpoint.tensors}
    assert {
        "q": ("qint8", (4,)),
        "s": ("float32", (3, 3)),
        "m": ("float32", (2, 3)),
        "c": ("float32", (3, 3)),
    } == described
    assert "meta" == next(t.device for t in checkpoint.tensors if t.name == "m")


STORAGE = StorageInfo("0", "float32", "cpu", 6, 24, 0)
TENSOR = (STORAGE, 0, (2, 3), (3, 1), False, None)
REBUILD = "_rebuild_tensor_v2"


def made(name: str, *args: object) -> Opaque:
    module, _, inner = name.rpartition(".")
    return Opaque(Global(module, inner), args)


@pytest.mark.parametrize("args", [(3,), ("x", {}, -1, None, "float32", [], b"", ()), ((),) * 8, ([[1, 2, 3]],), None])
def test_a_call_that_is_not_understood_stays_a_call(args):
    """Never an exception, whatever a file hands to a function: the call itself is always a right answer."""
    for name, handler in HANDLERS.items():
        call = made(name)
        call.args = args
        lazy = name.startswith("torch.nn.parameter.Uninitialized")  # has no shape yet, whatever it is made of
        assert handler(call) is call or lazy or name == "collections.defaultdict", name


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4), (2, 0, 3), (1, 5)])
def test_strides_of_c_order_are_torchs(shape):
    assert torch.empty(shape).stride() == contiguous(shape)


def test_sizes_are_whole_numbers_of_a_tensor_that_can_be():
    assert (2, 3) == dims((2, 3)) == dims([2, 3]) == dims(made("torch.Size", (2, 3)))
    assert {None} == {dims(sizes) for sizes in ((-1,), (True,), (2.0,), (1 << 63,), (1,) * 65, "23", None)}


def test_a_type_is_named_by_torch_and_nobody_else():
    names = ("float16", "half", "long", "bits8", "load")
    assert ["float16", "float16", "int64", "bits8", None] == [dtype_name(Global("torch", name)) for name in names]
    assert dtype_name(Global("numpy", "float16")) is None


@pytest.mark.parametrize(
    ("name", "args", "raises"),
    [
        (REBUILD, TENSOR, False),
        (REBUILD, TENSOR[:4], True),
        (REBUILD, (*TENSOR, {}, None), True),
        (REBUILD, (STORAGE, 0, (2, -3), *TENSOR[3:]), True),
        (REBUILD, (STORAGE, "0", *TENSOR[2:]), True),
        (REBUILD, ("0", *TENSOR[1:]), True),
        (REBUILD, (Opaque(None, ()), *TENSOR[1:]), False),
        ("OrderedDict", (), False),
        ("OrderedDict", ([], []), True),
        ("anything", (1, 2, 3), False),
    ],
)
def test_what_torch_would_not_take_is_known(name, args, raises):
    """By the number of arguments, or a geometry that no tensor has; what another call returns may be anything."""
    call = made(f"torch._utils.{name}", *args)
    value = HANDLERS.get(str(call.callee), lambda call: call)(call)
    assert raises == does_not_take(name, args, value)


def test_items_given_to_a_constructor_are_those_of_the_result():
    """Python 2 wrote an OrderedDict's pairs as its argument; a key that is dear to hash leaves the call as it is."""
    mapping = HANDLERS["collections.OrderedDict"](made("collections.OrderedDict", [["a", 1], ("b", 2)]))
    assert {"a": 1, "b": 2} == mapping
    dear = made("collections.OrderedDict", [[(1, 2), 1]])
    assert HANDLERS["collections.OrderedDict"](dear) is dear
