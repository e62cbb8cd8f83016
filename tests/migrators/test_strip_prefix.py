"""`--strip-prefix`: the wrapper's name off every key of the model, and nothing else."""

from collections import OrderedDict

import pytest
import torch

from ckpt_doctor.errors import EditRefused
from ckpt_doctor.inert import edits
from ckpt_doctor.types import Edit
from tests.migrators.sample_runs import differences, edit, load, repaired, untouched


class Net(torch.nn.Module):
    """Two layers that share a weight, and a buffer: as a state_dict, with `_metadata`."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Linear(4, 4, bias=False)
        self.head = torch.nn.Linear(4, 4)
        self.head.weight = self.embedding.weight
        self.norm = torch.nn.BatchNorm1d(4)


def wrapped(prefix: str) -> torch.nn.Module:
    """The model as DataParallel or torch.compile hold it."""
    model: torch.nn.Module = Net()
    for name in reversed(prefix.split(".")[:-1]):
        outer = torch.nn.Module()
        outer.add_module(name, model)
        model = outer
    return model


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("layout", ["training", "state-dict"])
def test_a_bare_model_then_loads_it_strictly(prefix, layout, sample, tmp_path):
    """Whichever wrappers there were, however deep; values, order, sharing and `_metadata` are the bare model's."""
    inside = wrapped(prefix)
    if layout == "training":
        path = sample("first-patch-type1").step(140)
        edit(path, lambda held: held.update(model=inside.state_dict()))
    else:
        path = tmp_path / "model.pt"
        torch.save(inside.state_dict(), path)
    before = load(path)
    assert "migrated" == repaired(path, "strip-prefix").status
    held = load(path)
    model = held["model"] if layout == "training" else held
    bare = Net()
    bare.load_state_dict(model)
    assert list(bare.state_dict()) == list(model)
    assert dict(bare.state_dict()._metadata) == dict(model._metadata)
    assert model["embedding.weight"].data_ptr() == model["head.weight"].data_ptr()
    old = before["model"] if layout == "training" else before
    assert {} == differences({key.removeprefix(prefix): value for key, value in old.items()}, dict(model))
    assert "unchanged" == untouched(path, "strip-prefix").status


@pytest.mark.parametrize(
    "keys",
    [
        ["module.a", "b"],
        ["module.a", "a"],
        ["modules.a", "modules.b"],
        ["module", "module.a"],
        ["a"],
        [],
    ],
)
def test_a_prefix_that_not_every_key_has_is_a_name_of_the_model(keys, sample):
    """A submodule that happens to be called `module`; keys that would become one; no prefix at all."""
    path = sample("first-patch-type1").step(140)
    edit(path, lambda held: held.update(model=OrderedDict((key, torch.ones(1)) for key in keys)))
    assert "unchanged" == untouched(path, "strip-prefix").status


def test_every_model_of_a_file_that_nobody_owns_is_bare_then(tmp_path):
    """Under any key and in lists; asked for by name only, because a script may load into the wrapped model."""
    path, inside, bare = tmp_path / "model_last.pth.tar", wrapped("module.").state_dict(), Net().state_dict()
    held = {"state_dict": inside, "nets": [dict(inside), bare], "ema": {"shadow": inside}, "arch": "net", "epoch": 3}
    torch.save(held, path)
    assert "unchanged" == untouched(path).status
    assert "migrated" == repaired(path, "strip-prefix").status
    after = load(path)
    for model in (after["state_dict"], *after["nets"], after["ema"]["shadow"]):
        assert list(bare) == list(model)
    assert ("net", 3) == (after["arch"], after["epoch"])


def test_keys_that_would_collide_are_refused_by_the_editor_itself():
    """Whatever a migration asks for, no tensor is ever lost under another's name."""
    tree = {"model": {"module.a": 1, "a": 2}}
    with pytest.raises(EditRefused, match="two keys would be the same"):
        edits.apply(tree, [Edit(("model",), "module.", "", "", "strip")])
    assert {"model": {"module.a": 1, "a": 2}} == tree
