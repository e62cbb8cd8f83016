"""Salvage brings back every complete tensor bit for bit, and nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.distributed.checkpoint
from torch.testing._internal.two_tensor import TwoTensor

from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.repair.salvage import salvage
from tests.readers.torch_equal import bits
from tests.readers.torch_files import load, rezip, save, tensors_of, training


def at(value, path):
    """The value at a key path."""
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("zipped", [True, False])
def test_every_complete_tensor_bit_for_bit(tmp_path, zipped):
    """Cut at many lengths: what is complete comes back as it was, in a file that weights_only loading opens."""
    raw = save(tmp_path / "whole", training(), zipped).read_bytes()
    original = load(tmp_path / "whole")
    cut = tmp_path / "cut"
    recovered = []
    for number, length in enumerate(range(len(raw) // 3, len(raw), 149)):
        cut.write_bytes(raw[:length])
        expected = [t for t in open_checkpoint(cut).tensors if t.storage.offset is not None]
        if not expected:
            with pytest.raises(WriteRefused):
                salvage(cut, tmp_path / f"out{number}")
            continue
        result = salvage(cut, tmp_path / f"out{number}")
        loaded = torch.load(result.output, weights_only=True)
        mapped = torch.load(result.output, weights_only=True, mmap=True)
        assert [tensor.name for tensor in expected] == list(result.recovered)
        assert 19 == len(result.recovered) + len(result.lost)
        for tensor in expected:
            assert bits(at(original, tensor.path)) == bits(at(loaded, tensor.path)) == bits(at(mapped, tensor.path))
        assert 3 == loaded["epoch"]
        recovered.append(len(expected))
        assert raw[:length] == cut.read_bytes()
    assert sorted(recovered) == recovered
    assert recovered[-1] > recovered[0]


def test_what_it_is_good_for(tmp_path):
    """All there: resume. The model's tensors there: weights. Less: parts."""
    raw = save(tmp_path / "a", training()).read_bytes()
    places = {t.name: t.storage.offset for t in open_checkpoint(tmp_path / "a").tensors}
    cases = {
        "resume": len(raw) - 5,
        "weights": places["optimizer.state.1.exp_avg"],
        "parts": places["model.1.running_var"],
    }
    for expected, length in cases.items():
        (tmp_path / "cut").write_bytes(raw[:length])
        assert expected == salvage(tmp_path / "cut", tmp_path / expected).good_for


def test_corrupt_and_missing_records_stay_behind(tmp_path):
    """A record with a flipped bit is not recovered as if it were good; nor one of the wrong length."""
    source = save(tmp_path / "a", {"x": torch.ones(8), "y": torch.ones(9), "z": torch.ones(10)})
    broken = rezip(source, tmp_path / "b", lambda name, data: data[:-4] if name == "data/1" else data)
    raw = bytearray(broken.read_bytes())
    raw[open_checkpoint(broken).tensors[0].storage.offset] ^= 1
    broken.write_bytes(raw)
    result = salvage(broken, tmp_path / "out")
    assert (("z",), ("x", "y")) == (result.recovered, result.lost)


def test_sharing_modules_and_devices(tmp_path):
    """Tied weights stay one storage, Parameters stay Parameters, a module gives its tensors, devices become the CPU."""
    base = torch.randn(10)
    value = {
        "a": base[:5],
        "b": base[5:],
        "p": torch.nn.Parameter(torch.ones(2)),
        "net": torch.nn.Linear(2, 2),
        "f8": torch.ones(3, dtype=torch.float8_e5m2),
        "rng": __import__("numpy").arange(3),
    }
    raw = save(tmp_path / "a", value).read_bytes().replace(b"\x03\x00\x00\x00cpu", b"\x03\x00\x00\x00mps")
    (tmp_path / "cut").write_bytes(raw[:-9])
    result = salvage(tmp_path / "cut", tmp_path / "out")
    loaded = torch.load(result.output, weights_only=True)
    assert loaded["a"].untyped_storage().data_ptr() == loaded["b"].untyped_storage().data_ptr()
    assert isinstance(loaded["p"], torch.nn.Parameter)
    assert {"weight", "bias"} == set(loaded["net"])
    assert torch.equal(value["f8"].view(torch.uint8), loaded["f8"].view(torch.uint8))
    assert ("rng",) == result.left_out
    assert {"cpu"} == {str(tensor.device) for tensor in tensors_of(loaded)}


def test_refusals(tmp_path):
    """Never over a file that exists, the input included; never an empty result."""
    path = save(tmp_path / "a", {"w": torch.ones(3)})
    before = path.read_bytes()
    for target in (path, save(tmp_path / "b", {})):
        with pytest.raises(WriteRefused):
            salvage(path, target)
    assert before == path.read_bytes()
    (tmp_path / "text").write_text("hello")
    with pytest.raises(WriteRefused):
        salvage(tmp_path / "text", tmp_path / "out")
    assert {"a", "b", "text"} == {p.name for p in tmp_path.iterdir()}
    torch.distributed.checkpoint.save({"w": torch.ones(3)}, checkpoint_id=tmp_path / "step", no_dist=True)
    with pytest.raises(WriteRefused, match="distributed"):
        salvage(tmp_path / "step" / "__0_0.distcp", tmp_path / "out.pt")


def test_many_corrupt_records_all_stay_behind(tmp_path):
    """More than a report lists, and under a file name that a report cuts."""
    many = {f"w{i}": torch.full((4,), float(i)) for i in range(150)}
    source = save(tmp_path / ("n" * 210 + ".pt"), many)
    raw = bytearray(source.read_bytes())
    for tensor in open_checkpoint(source).tensors[1:]:
        raw[tensor.storage.offset] ^= 1
    source.write_bytes(raw)
    result = salvage(source, tmp_path / "out")
    assert (("w0",), 149) == (result.recovered, len(result.lost))
    assert {"w0"} == set(torch.load(result.output, weights_only=True))


def composed():
    """Tensors that one storage does not hold."""
    with_attribute = torch.ones(3)
    with_attribute.extra = torch.full((3,), 5.0)
    return {
        "sparse": torch.sparse_coo_tensor([[0, 1], [1, 0]], [3.0, 4.0], (3, 3)),
        "csr": torch.eye(3).to_sparse_csr(),
        "quantized": torch._make_per_channel_quantized_tensor(
            torch.tensor([[1, 2]], dtype=torch.int8), torch.tensor([0.5]), torch.tensor([0]), 0
        ),
        "nested": torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(4, 3)]),
        "wrapper": TwoTensor(torch.full((2,), 7.0), torch.full((2,), 8.0)),
        "attribute": with_attribute,
        "plain": torch.ones(2),
    }


def test_composed_tensors_give_their_parts(tmp_path):
    """And are not called whole: what stands in the file is named."""
    raw = save(tmp_path / "whole", composed()).read_bytes()
    (tmp_path / "cut").write_bytes(raw[:-30])
    result = salvage(tmp_path / "cut", tmp_path / "out")
    loaded = torch.load(result.output, weights_only=True)
    assert ("sparse", "csr", "quantized", "nested", "wrapper") == result.taken_apart
    assert ("parts", ()) == (result.good_for, result.lost)
    assert [[0, 1], [1, 0]] == loaded["sparse"]["indices"].tolist()
    assert [3.0, 4.0] == loaded["sparse"]["values"].tolist()
    assert [0, 1, 2, 3] == loaded["csr"]["compressed_indices"].tolist()
    assert [[1, 2]] == loaded["quantized"]["int_repr"].tolist()
    assert 18 == loaded["nested"]["0"].numel()
    assert {(7.0, 7.0), (8.0, 8.0)} == {tuple(part.tolist()) for part in loaded["wrapper"].values()}
    assert [1.0, 1.0] == loaded["plain"].tolist()


def test_what_a_composed_tensor_is_made_of_may_be_lost(tmp_path):
    source = save(tmp_path / "whole", composed())
    raw = bytearray(source.read_bytes())
    (part,) = (t for t in open_checkpoint(source).inner if t.name == "wrapper.b")
    raw[part.storage.offset] ^= 1
    source.write_bytes(raw)
    result = salvage(source, tmp_path / "out")
    assert (("wrapper.b",), "parts") == (result.lost, result.good_for)
    assert ["a"] == list(torch.load(result.output, weights_only=True)["wrapper"])
