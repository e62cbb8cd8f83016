"""A part of one file that is of another moment, by its siblings: which part it is, and what that means."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor import facts, migrate, scan
from tests.trainers.plain.plain_runs import (
    LABEL,
    TOLD,
    Change,
    changed,
    judged_among_siblings,
    resumed,
    run,
    same,
    serious,
    straight,
)


def take(key: str) -> Change:
    return lambda value, other: value.update({key: other[key]})


OPTIMIZER, SCHEDULE = take("optimizer_state_dict"), take("scheduler_state_dict")


@pytest.mark.parametrize("told", [{}, TOLD], ids=["open", "told"])
@pytest.mark.parametrize(
    ("schedule", "optimizer", "change", "expected"),
    [
        ("StepLR", "AdamW", LABEL, [("P402", "fix-epoch")]),
        ("none", "AdamW", LABEL, [("P402", "fix-epoch")]),
        ("StepLR", "SGD", LABEL, [("P402", "fix-epoch")]),
        ("ExponentialLR", "AdamW", OPTIMIZER, [("P409", None)]),
        ("OneCycleLR", "AdamW", OPTIMIZER, [("P409", None)]),
        ("none", "AdamW", OPTIMIZER, [("P409", None)]),
        ("CosineAnnealingLR", "AdamW", SCHEDULE, [("R501", "sync-scheduler")]),
        ("CosineAnnealingLR", "SGD", SCHEDULE, [("R501", "sync-scheduler")]),
        ("OneCycleLR", "SGD", SCHEDULE, [("R501", "sync-scheduler")]),
    ],
)
def test_the_part_that_departs_from_the_rest_is_named(tmp_path, schedule, optimizer, change, expected, told):
    """And its siblings stay without a word. The rate of another epoch's optimizer is a consequence."""
    folder = run(tmp_path, schedule, optimizer)
    path = changed(folder / "checkpoint_3.pt", change, folder / "checkpoint_1.pt")
    found = serious(judged_among_siblings(path, **told))
    assert expected == [one for one in found if one[0] != "R504"]
    assert (
        judged_among_siblings(path, **told).resume
        == ("differs" if told else judged_among_siblings(path).resume)
        != "identical"
    )
    assert [] == [
        f for file in sorted(folder.glob("*_[0124].pt")) for f in serious(judged_among_siblings(file, **told))
    ]


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
@pytest.mark.parametrize("change", [LABEL, SCHEDULE])
def test_cured_by_its_siblings_it_resumes_identically(tmp_path, optimizer, change):
    """Whatever the script does with the label: siblings show what theirs is."""
    folder = run(tmp_path, "CosineAnnealingLR", optimizer)
    path = changed(folder / "checkpoint_3.pt", change, folder / "checkpoint_2.pt")
    assert not same(resumed(path, "CosineAnnealingLR", optimizer), straight("CosineAnnealingLR", optimizer))
    (result,) = [result for result in migrate([folder]) if result.path == path]
    assert result.status == "migrated"
    assert same(resumed(path, "CosineAnnealingLR", optimizer), straight("CosineAnnealingLR", optimizer))
    assert serious(judged_among_siblings(path)) == []


def test_a_file_from_within_an_epoch_is_of_no_other_moment(tmp_path):
    """The label is that of the epoch that was interrupted."""
    folder = run(tmp_path, "none")
    last = torch.load(folder / "checkpoint_4.pt", weights_only=False)
    for entry in last["optimizer_state_dict"]["state"].values():
        entry["step"] -= 2
    torch.save(last, folder / "interrupted.pt")
    assert serious(judged_among_siblings(folder / "interrupted.pt")) == []


def test_two_files_that_disagree_leave_the_position_open(tmp_path):
    """Two of three prove no line."""
    folder = run(tmp_path, "none", epochs=3)
    changed(folder / "checkpoint_2.pt", OPTIMIZER, folder / "checkpoint_0.pt")
    assert {"open"} == {file.resume for file in scan([folder], facts=facts(**TOLD)).files}
