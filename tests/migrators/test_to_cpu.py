"""`--to-cpu`: device tags, not bytes."""

import itertools
import pickle
from unittest import mock

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ckpt_doctor.audit import scan
from ckpt_doctor.readers import open_checkpoint
from tests.migrators.sample_runs import changed, differences, edit, load, repaired, untouched
from tests.sampled import sampled


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


# --- resumed on a GPU ------------------------------------------------------------------------------------------------

ADAM = {
    "plain": {},
    "foreach": {"foreach": True},
    "amsgrad": {"amsgrad": True},
    "capturable": {"capturable": True},
    "fused": {"fused": True},
}
"""Options of Adam that decide where its state lies."""


def hosted(options: dict) -> bool:
    """Whether Adam keeps `step` on the CPU (torch/optim/adam.py, note "special device hosting for step")."""
    return not (options.get("capturable") or options.get("fused"))


def on_gpu(path, options: dict) -> None:
    """Save the file anew as a run on a GPU with these options of Adam does."""
    held = load(path)
    held["optimizer"]["param_groups"][0].update(options)
    there = list(held["model"].values())
    for moments in held["optimizer"]["state"].values():
        if options.get("amsgrad"):
            moments["max_exp_avg_sq"] = moments["exp_avg_sq"].clone()
        there += [moments[name] for name in moments if name != "step" or not hosted(options)]
    places = {tensor.untyped_storage().data_ptr() for tensor in there}
    tag = lambda storage: "cuda:0" if storage.data_ptr() in places else "cpu"  # noqa: E731
    with mock.patch.object(torch.serialization, "location_tag", tag):
        torch.save(held, path)


def devices_asked_for(path) -> dict[str, str]:
    """Tensor -> the device to which `torch.load` without map_location would bring it."""
    asked: list[str] = []
    torch.load(path, weights_only=False, map_location=lambda storage, device: asked.append(device) or storage)
    held = {tensor.storage.key: tensor.name for tensor in open_checkpoint(path).tensors}
    return dict(zip(held.values(), asked, strict=True))


def resumed(path, options: dict) -> dict[str, torch.Tensor]:
    """Adam's state of the first parameter once the file is loaded, with map_location, into CUDA objects.

    Fake ones: devices are as on a GPU, and torch's own checks of them run, without numbers. The first step is taken
    where its number is not asked for on the CPU.
    """
    state = torch.load(path, map_location="cpu", weights_only=False)["optimizer"]
    with FakeTensorMode(allow_non_fake_inputs=True):
        shapes = [moments["exp_avg"].shape for moments in state["state"].values()]
        parameters = [torch.nn.Parameter(torch.empty(shape, device="cuda:0")) for shape in shapes]
        optimizer = torch.optim.Adam(parameters, **options)
        optimizer.load_state_dict(state)
        loaded = dict(optimizer.state[parameters[0]])
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        if not hosted(options):
            optimizer.step()
    return loaded


@pytest.mark.parametrize("fixes", [["to-cpu"], ["add-best-score", "sync-scheduler", "plain-scalars"]], ids="+".join)
@pytest.mark.parametrize("options", sampled(ADAM.values(), ADAM["plain"], ADAM["capturable"], ids=True))
def test_adam_has_its_step_where_it_wants_it_after_a_resume_on_a_gpu(fixes, options, sample):
    """The CPU for the 0-d tensor that it was; the parameter's device with `capturable` or `fused`, which check that."""
    path = sample("complete-TST").step(140)
    edit(path, lambda held: held.update(best_score=None))
    on_gpu(path, options)
    before = resumed(path, options)
    changed(path, *fixes)
    after = resumed(path, options)
    described = [{n: (str(t.device), t.dtype, t.shape) for n, t in state.items()} for state in (before, after)]
    assert described[0] == described[1]
    assert ("cpu" if hosted(options) else "cuda:0", torch.float32, ()) == described[1]["step"]
    assert {"cuda:0"} == {device for name, (device, *_) in described[1].items() if name != "step"}
    assert not hosted(options) or 140 == load(path)["optimizer"]["state"][0]["step"]


@pytest.mark.parametrize("options", [ADAM["plain"], ADAM["capturable"]], ids=["plain", "capturable"])
def test_no_other_repair_moves_a_tensor(options, sample):
    """What asked for a GPU still does, and Adam's `step` and the generator states of CUDA for the CPU."""
    path = sample("complete-TST").step(140)
    edit(path, lambda held: held.update(best_score=None))
    on_gpu(path, options)
    before = devices_asked_for(path)
    assert "cpu" == before["rng_state.cuda.0"]
    assert ("cpu" if hosted(options) else "cuda:0") == before["optimizer.state.0.step"]
    changed(path, "add-best-score", "sync-scheduler", "plain-scalars")
    assert before == devices_asked_for(path)
    assert {} == changed(path, "to-cpu")
    assert {"cpu"} == set(devices_asked_for(path).values())
    states = load(path)["rng_state"]["cuda"]
    assert [(torch.uint8, "cpu")] == [(state.dtype, state.device.type) for state in states]


def test_a_step_that_a_load_onto_the_gpu_had_moved_comes_back(sample):
    """`torch.load(map_location="cuda")` and a save tag Adam's `step` and all generator states with the GPU, too."""
    path = sample("complete-TST").step(140)
    save(load(path), path, ["cuda:0"])
    assert {"cuda:0"} == set(devices_asked_for(path).values())
    assert {} == changed(path, "to-cpu")
    assert {"cpu"} == set(devices_asked_for(path).values())
    assert "cpu" == resumed(path, {})["step"].device.type


def test_tags_among_the_bytes_are_refused_and_no_cure_is_promised(tmp_path):
    """In a plain pickle each storage is a stream of its own, tag and all."""
    path = tmp_path / "model.pkl"
    with mock.patch.object(torch.serialization, "location_tag", lambda storage: "cuda:0"):
        path.write_bytes(pickle.dumps(nested()["model"]))
    assert {"cuda:0"} == {tensor.device for tensor in open_checkpoint(path).tensors}
    (finding,) = [finding for finding in scan([path]).findings if finding.code == "L305"]
    assert finding.fix is None and "map_location" in finding.message
    assert "refused" == untouched(path, "to-cpu").status
