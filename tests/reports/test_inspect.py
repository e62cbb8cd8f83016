"""What one file holds, without building any of it."""

from __future__ import annotations

import json
import re
from collections import OrderedDict

import pytest

from ckpt_doctor.reports.inspect import MOST_CHILDREN, MOST_TENSORS, describe, inspected, overview, tree
from ckpt_doctor.types import Global, InertDict, NumpyScalar, Opaque, StorageInfo, TensorRef
from tests.reports.report_samples import HOSTILE, RUN, file, hostile, tensor

STORAGE = StorageInfo("0", "float32", "cuda:0", 12, 48)
REF = TensorRef(STORAGE, "float32", (3, 4), (4, 1), 0, False, Opaque(Global("torch._utils", "_rebuild_tensor_v2"), ()))
ARRAY = Opaque(
    Global("numpy._core.multiarray", "_reconstruct"),
    (),
    states=[(1, (3,), Opaque(Global("numpy", "dtype"), ("u4", False, True)), False, bytes(12))],
)
ORDERED = Opaque(Global("collections", "OrderedDict"), ())


def training(**root: object):
    return file(RUN / "checkpoint", root=root, tensors=(tensor("model", "w"),))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (REF, "float32 [3, 4] on cuda:0"),
        (NumpyScalar(-0.5, "float64", ORDERED), "-0.5 (numpy float64)"),
        (InertDict(ORDERED), "OrderedDict of 0 keys"),
        ({"a": 1}, "dict of 1 key"),
        ([1, 2], "[1, 2]"),
        ([1] * 9, "list of 9"),
        ((REF, REF), "tuple of 2"),
        (ARRAY, "numpy array uint32 [3]"),
        (Opaque(Global("os", "system"), ("id",)), "os.system(...), not built"),
        ("text", "'text'"),
        (None, "None"),
        (OrderedDict(), "dict of 0 keys"),
    ],
)
def test_a_value_is_described_on_one_line(value: object, expected: str) -> None:
    assert describe(value) == expected


def test_the_overview_has_keys_state_and_tensors() -> None:
    printed = " ".join(overview(training(model={"w": REF}, epoch=2)).split())
    assert "model dict of 1 key: 1 tensor, 48 B, float32, cpu" in printed
    assert "global_step 17000" in printed
    assert "model.w float32 3 x 4 cpu 48 B" in printed


def test_of_many_tensors_the_overview_lists_some_and_says_so() -> None:
    many = tuple(tensor("model", f"w{i}") for i in range(MOST_TENSORS + 7))
    assert "... and 7 more" in overview(file(RUN / "checkpoint", tensors=many))


def test_the_tree_nests_down_to_the_asked_depth() -> None:
    nested = training(a={"b": {"c": [1, {"d": 2}]}}).checkpoint
    assert "        └── c: [1, a dict of 1 key]" in tree(nested, depth=3).splitlines()
    assert "d: 2" not in tree(nested, depth=3)
    assert "d: 2" in tree(nested, depth=6)


def test_a_module_shows_what_it_holds_and_a_short_list_is_not_told_twice() -> None:
    state = {"training": True, "_parameters": {"weight": REF}, "_hooks": {}, "bias": None}
    net = Opaque(Global("torch.nn", "Linear"), (), states=[state])
    lines = tree(training(net=net, betas=[0.9, 0.999], numbers=ARRAY).checkpoint).splitlines()[1:]
    assert lines == [
        "├── net: torch.nn.Linear(...), not built",
        "│   ├── training: True",
        "│   └── _parameters: dict of 1 key",
        "│       └── weight: float32 [3, 4] on cuda:0",
        "├── betas: [0.9, 0.999]",
        "└── numbers: numpy array uint32 [3]",
    ]


def test_a_structure_that_holds_itself_ends() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert len(tree(training(a=endless).checkpoint).splitlines()) < 20


def test_a_huge_list_is_cut_and_the_rest_counted() -> None:
    huge = training(a=list(range(MOST_CHILDREN + 5))).checkpoint
    assert tree(huge).splitlines()[-1].endswith("... and 5 more")


def test_the_json_has_every_tensor_and_the_names_of_the_pickle() -> None:
    document = json.loads(
        inspected(file(RUN / "c", tensors=(tensor("model", "w"),), globals=(Global("os", "system"),)), "json")
    )
    assert document["globals"] == ["os.system"]
    assert document["tensors"][0]["name"] == "model.w"
    assert document["tensors"][0]["shape"] == [3, 4]
    assert document["file"]["tensors"] == 1


def test_nothing_from_a_file_acts_on_the_terminal() -> None:
    bad = hostile().files[0]
    for printed in (overview(bad), tree(bad.checkpoint)):
        assert HOSTILE not in printed
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", printed)
