"""`--to-cpu`: device tags, not bytes."""

import itertools
from unittest import mock

import pytest
import torch
from sample_runs import differences, load, repaired, untouched

from ckpt_doctor.readers import open_checkpoint


def save(held: object, path, tags: list[str], **options) -> None:
    """`torch.save` as on a machine with these devices: the storages get the tags in turn."""
    known: dict[int, str] = {}
    turn = itertools.cycle(tags)

    def tag(storage) -> str:
        return known.setdefault(storage.data_ptr(), next(turn))

    with mock.patch.object(torch.serialization, "location_tag", tag):
        torch.save(held, path, **options)


def nested() -> dict:
    """Tensors in every place where one can be, some on the same storage."""
    base = torch.arange(24.0)
    return {
        "model": {"whole": base.view(4, 6), "part": base[6:12], "transposed": base.view(4, 6).t()},
        "list": [torch.ones(3, dtype=torch.bfloat16), (torch.zeros(2, dtype=torch.int64), {"deep": base[::2]})],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "empty": torch.empty(0),
        "number": torch.tensor(7),
        "sparse": torch.eye(3).to_sparse(),
        "text": "cuda:0",
    }


@pytest.mark.parametrize("stream", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("tags", [["cuda:0"], ["cuda:0", "cuda:3", "cpu"], ["mps", "xpu:1", "cuda"]], ids="-".join)
def test_every_storage_is_then_on_the_cpu(tags, stream, tmp_path):
    """torch loads it without map_location on a machine without any of these; sharing and bytes are the same."""
    path = tmp_path / "model.pt"
    save(nested(), path, tags, _use_new_zipfile_serialization=not stream)
    devices = {tensor.device for tensor in open_checkpoint(path).tensors}
    assert devices & {"cuda:0", "mps"}
    expected = load(path)
    assert "migrated" == repaired(path, "to-cpu").status
    held = torch.load(path, weights_only=False)
    assert {} == differences({**expected, "sparse": 0}, {**held, "sparse": 0})
    assert torch.equal(expected["sparse"].to_dense(), held["sparse"].to_dense())
    pointers = {held["model"][name].untyped_storage().data_ptr() for name in ("whole", "part", "transposed")}
    assert {held["list"][1][1]["deep"].untyped_storage().data_ptr()} == pointers
    assert "unchanged" == untouched(path, "to-cpu").status


def test_a_file_of_the_cpu_is_left_alone(tmp_path):
    """Nothing to do, though a text in it says cuda:0."""
    path = tmp_path / "model.pt"
    torch.save(nested(), path)
    assert "unchanged" == untouched(path, "to-cpu").status


def test_a_tensor_without_data_stays_meta(tmp_path):
    """`meta` is no place where bytes are."""
    path = tmp_path / "model.pt"
    save({"real": torch.ones(2), "meta": torch.empty(3, device="meta")}, path, ["cuda:0"])
    assert "migrated" == repaired(path, "to-cpu").status
    assert ["cpu", "meta"] == [tensor.device.type for tensor in torch.load(path).values()]
