"""Where the script resumes from a file, where its uninterrupted run was, and what of both is open."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor import facts, migrate
from tests.trainers.plain.plain_runs import codes, judged, resumed, run, same, straight

READINGS = [
    # label added, what is told, resume, start, cured epoch
    (0, {"resume_epoch": "label+1"}, "identical", 2, None),
    (0, {"resume_epoch": "label"}, "differs", 1, 2),
    (1, {"resume_epoch": "label"}, "identical", 2, None),
    (1, {"resume_epoch": "label+1"}, "open", None, None),  # a loop that counts from 1 is right
    (1, {"resume_epoch": "label+1", "epoch_label": "next"}, "differs", 3, 1),
    (1, {"resume_epoch": "label+1", "epoch_label": "finished"}, "identical", 3, None),
    (1, {"resume_epoch": "label", "epoch_label": "finished"}, "differs", 2, 3),
]


@pytest.mark.parametrize(("label", "told", "resume", "start", "cured"), READINGS)
def test_what_is_told_settles_it(tmp_path, label, told, resume, start, cured):
    """And a label that is wrong is set right; the run's other files are not touched by that."""
    folder = run(tmp_path, "StepLR", label=label)
    file = judged(folder, shuffle=False, **told)
    assert resume == file.resume
    assert start == (file.plan.start_epoch if file.plan else None)
    assert ({"P402"} if cured is not None else set()) == codes(file)
    path = folder / "checkpoint_1.pt"
    results = migrate([path], facts=facts(shuffle=False, **told))
    assert ["migrated" if cured is not None else "unchanged"] == [result.status for result in results]
    epoch = torch.load(path, weights_only=False)["epoch"]
    assert (1 + label if cured is None else cured) == epoch
    again = judged(folder, shuffle=False, **told)
    assert ("identical" if cured is not None else resume, set()) == (again.resume, codes(again))
    assert "unchanged" == migrate([path], facts=facts(shuffle=False, **told))[0].status


def test_a_cured_label_makes_the_resume_identical(tmp_path):
    folder = run(tmp_path, "CosineAnnealingLR")
    path, whole = folder / "checkpoint_1.pt", straight("CosineAnnealingLR")
    assert not same(whole, resumed(path, "CosineAnnealingLR", plus=0))
    migrate([path], facts=facts(resume_epoch="label"))
    assert same(whole, resumed(path, "CosineAnnealingLR", plus=0))


@pytest.mark.parametrize(
    ("more", "told", "resume"),
    [
        ({}, {}, "open"),
        ({}, {"shuffle": True}, "differs"),
        ({}, {"shuffle": False}, "identical"),
        ({"rng_state": torch.get_rng_state()}, {"shuffle": True}, "identical"),
        ({"torch_rng_state": torch.get_rng_state()}, {}, "identical"),
    ],
)
def test_the_order_of_the_batches_is_known_or_open(tmp_path, more, told, resume):
    assert resume == judged(run(tmp_path, "StepLR", **more), resume_epoch="label+1", **told).resume
