"""The rules that are a loop's own, and those of everyone's files beside them."""

from __future__ import annotations

import pytest
import torch

from ckpt_doctor import scan
from tests.trainers.plain.plain_runs import LABEL, TOLD, changed, facts, judged, judged_among_siblings, run, serious


@pytest.mark.parametrize("label", [0, 1])
def test_without_the_script_the_reading_of_the_label_is_open(tmp_path, label):
    file = judged(run(tmp_path, "StepLR", label=label))
    (finding,) = [f for f in file.findings if f.code == "P412"]
    assert ("open", "ok", "info") == (file.resume, file.verdict, finding.severity)
    assert "--script" in (finding.fix or "")


def test_without_a_majority_both_are_named(tmp_path):
    """A label and Adam's steps alone: either may be wrong, or an earlier resume has trained an epoch twice."""
    folder = run(tmp_path, "none")
    for path in folder.glob("*.pt"):
        path.rename(folder / f"{'abcde'[int(path.stem[-1])]}.pt")
    file = judged_among_siblings(changed(folder / "d.pt", LABEL), **TOLD)
    assert [("P409", None)] == serious(file)
    assert file.resume == "differs"


def test_a_name_alone_changes_no_resume(tmp_path):
    folder = run(tmp_path, "StepLR")
    copy = folder / "checkpoint_9.pt"
    copy.write_bytes((folder / "checkpoint_1.pt").read_bytes())
    file = judged_among_siblings(copy, **TOLD)
    assert {"P401"} == {found.code for found in file.findings}
    assert file.resume == "identical"


def test_a_random_state_of_another_type_than_bytes_stops_set_rng_state(tmp_path):
    states = torch.get_rng_state()
    folder = run(tmp_path, "StepLR", rng_state={"torch": states, "python": (3, ())})
    assert {file.resume for file in scan([folder], facts=facts(**TOLD)).files} == {"identical"}
    changed(folder / "checkpoint_2.pt", lambda v, _: v["rng_state"].update(torch=states.float()))
    changed(folder / "checkpoint_3.pt", lambda v, _: v.update(rng_state=states.double()))
    files = {file.checkpoint.path.stem[-1]: file for file in scan([folder], facts=facts(**TOLD)).files}
    told = {number: [f.found for f in file.findings if f.code == "O707"] for number, file in files.items()}
    assert told == {"0": [], "1": [], "2": ["float32"], "3": ["float64"], "4": []}
