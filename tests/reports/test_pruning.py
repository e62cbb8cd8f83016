"""What pruning kept and removed, one line per folder, with the reason where one does not count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ckpt_doctor.reports.pruning import pruned
from ckpt_doctor.types import PruneResult, Spared, Uncounted
from tests.reports.report_samples import HOSTILE

RUN = Path("run")
DONE = PruneResult(
    kept=(RUN / "checkpoint_step_9", RUN / "checkpoint_step_8"),
    uncounted=(RUN / "checkpoint_step_7",),
    removed=(RUN / "checkpoint_step_1",),
    spared=(Spared(RUN / "checkpoint_step_2", "it is open in another process"),),
    freed=3 << 30,
    deep=True,
    reasons=(Uncounted(RUN / "checkpoint_step_7", ("F101", "F103")),),
)


def test_every_folder_has_its_line_and_the_end_says_what_it_comes_to() -> None:
    lines = pruned(DONE).splitlines()
    assert {"removed", "spared", "kept, not resumable", "kept"} == {line.strip().split("  ")[0] for line in lines[:-1]}
    assert any(line.endswith("checkpoint_step_2: it is open in another process") for line in lines)
    assert any(line.endswith("checkpoint_step_7: F101, F103") for line in lines)
    assert "1 checkpoint removed, 3.0 GiB freed; 2 resumable kept, read to the last byte." == lines[-1]


def test_a_dry_run_says_what_would_be_done() -> None:
    told = " ".join(pruned(replace(DONE, dry_run=True, deep=False)).split())
    assert "would be removed checkpoint_step_1" in told
    assert "would be freed" in told
    assert told.endswith("not read to the last byte.")
    nothing = pruned(replace(DONE, removed=(), deep=False))
    assert nothing.rstrip().endswith("2 resumable kept."), "what was not removed need not have been read"


def test_one_that_departs_does_not_count_and_the_preferred_one_is_marked() -> None:
    """Only where the newest is not the one that `latest` takes."""
    departing = replace(DONE, departing=(RUN / "checkpoint_step_10",), preferred=RUN / "checkpoint_step_8")
    told = pruned(departing)
    assert "kept, not identical" in told
    (marked,) = [line for line in told.splitlines() if "`latest` resumes from it" in line]
    assert "checkpoint_step_8:" in marked
    assert "`latest`" not in pruned(replace(departing, departing=()))


def test_no_name_acts_on_the_terminal() -> None:
    printed = pruned(replace(DONE, removed=(RUN / HOSTILE.replace("/", ""),), spared=(Spared(RUN / "a", HOSTILE),)))
    assert all(line.isprintable() for line in printed.splitlines())
