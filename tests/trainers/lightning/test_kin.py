"""What one file of a run has otherwise than all others."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor.types import FileReport
from tests.trainers.lightning.runs import BATCHES, judged, put, said, two, write

GROUP = ("optimizer_states", 0, "param_groups", 0)


def points(report: FileReport) -> set[str]:
    return {one.what for one in report.plan.open}


@pytest.mark.parametrize(
    ("keys", "value", "what"),
    [
        ((*GROUP, "weight_decay"), 0.3, "optimizer_states[0].param_groups[0].weight_decay"),
        ((*GROUP, "eps"), 0.5, "optimizer_states[0].param_groups[0].eps"),
        (("lr_schedulers", 0, "base_lrs"), [0.5], "lr_schedulers[0].base_lrs"),
        (("callbacks", "EMA"), {"decay": 0.9}, "callbacks.EMA"),
    ],
)
def test_what_one_file_between_others_has_otherwise_is_open(tmp_path, keys, value, what):
    """In a last file it may be a script that was changed on the way."""
    paths = write(tmp_path, 4)
    put(paths[1], keys, value)
    put(paths[3], keys, value)
    assert {"identical"} == {judged(path, shuffle=False).resume for path in paths}  # two files have it
    paths = write(tmp_path, 4)
    put(paths[1], keys, value)
    report = judged(paths[1], shuffle=False)
    assert ("open", {what}, set()) == (report.resume, points(report), set(said(report)))
    assert {"identical"} == {judged(path, shuffle=False).resume for path in paths if path != paths[1]}


def test_weights_of_another_type_than_in_the_other_files_are_open(tmp_path):
    path = write(tmp_path, 4)[2]
    value = torch.load(path, weights_only=False)["state_dict"]
    put(path, ["state_dict"], {key: tensor.half() for key, tensor in value.items()})
    assert {"the type of the weights"} == points(judged(path, shuffle=False))


def test_a_wrapper_in_one_file_alone_is_told_and_taken_off(tmp_path):
    """Lightning loads strictly; a model whose attribute is called `module` has it in all files."""
    paths = write(tmp_path, 4)
    models = [torch.load(path, weights_only=False)["state_dict"] for path in paths]
    wrapped = [{f"module.{key}": tensor for key, tensor in model.items()} for model in models]
    put(paths[1], ["state_dict"], wrapped[1])
    assert {"L304"} == said(judged(paths[1], shuffle=False)).keys()
    for path, model in zip(paths, wrapped, strict=True):
        put(path, ["state_dict"], model)
    assert {"identical"} == {judged(path, shuffle=False).resume for path in paths}


@pytest.mark.parametrize("key", ["state_dict", "optimizer_states"])
def test_what_another_file_has_byte_for_byte_is_open_in_both(tmp_path, key):
    """SGD counts no steps."""
    paths = write(tmp_path, 4, optimizer=lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9))
    put(paths[2], [key], torch.load(paths[1], weights_only=False)[key])
    found = {path: judged(path, shuffle=False) for path in paths}
    assert {paths[1], paths[2]} == {path for path, report in found.items() if points(report)}


def test_an_optimizer_that_rests_while_another_one_trains_is_its_own(tmp_path):
    paths = two(tmp_path, 4, schedules=False)
    for path in paths[1:]:
        put(path, ["optimizer_states", 0], torch.load(paths[0], weights_only=False)["optimizer_states"][0])
    assert not any("moments" in what for path in paths for what in points(judged(path, shuffle=False)))


@pytest.mark.parametrize("keys", [("callbacks", "EMA"), ("averaging_state",), ("Data",)])
@pytest.mark.parametrize("lag", [0, 7], ids=["from the start", "begun later"])
def test_a_count_of_a_callback_or_a_hook_keeps_pace_with_the_steps(tmp_path, keys, lag):
    """A tensor or a number; a setting keeps no pace, and is alike in all files."""
    paths = write(tmp_path, 6)
    for number, path in enumerate(paths, 1):
        count = BATCHES * number - lag if number > 1 or not lag else 0
        put(path, keys, {"count": torch.tensor(count) if lag else count, "decay": 0.9, "seldom": number // 2})
    assert {"identical"} == {judged(path, shuffle=False).resume for path in paths}
    put(paths[3], (*keys, "count"), 30 - lag)
    told = {f"{'.'.join(keys)}.count beside the number of steps"}
    assert [told if path == paths[3] else set() for path in paths] == [
        points(judged(path, shuffle=False)) for path in paths
    ]


def test_a_key_of_a_hook_that_one_file_lacks_is_open(tmp_path):
    paths = write(tmp_path, 4)
    for path in paths[::3] + paths[2:3]:
        put(path, ["averaging_state"], {"n_averaged": torch.tensor(0)})
    assert {"averaging_state"} == points(judged(paths[1], shuffle=False))
