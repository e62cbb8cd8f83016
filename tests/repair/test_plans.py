"""A plan is a value: what it says of each file before anything is written, and what the writes will cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ckpt_doctor import repair
from ckpt_doctor.trainers import fix_names
from ckpt_doctor.types import Refusal
from tests.repair.repairs import SAMPLES


def test_what_the_writes_will_cost_is_part_of_the_plan(run, tmp_path):
    """Elsewhere each result takes its file's size as well; where nothing is written there is nothing to tell."""
    here, there = (repair.plan([run], **mode).costs for mode in ({"in_place": True}, {"output": tmp_path / "there"}))
    files = [path for path in run.rglob("checkpoint*") if path.is_file()]
    assert len(files) == len(here) == len(there)
    assert all(
        near.after + min(path.stat().st_size for path in files) <= far.after
        for near, far in zip(here, there, strict=True)
    )
    assert [] == repair.plan([run], fixes=["upgrade"]).costs


def test_what_a_dry_run_says_of_a_file_depends_on_what_would_be_written(run: Path, step: Path) -> None:
    """Planned where there are edits, refused where only evidence is missing, unchanged where nothing is called for."""
    planned = repair.plan([step], fixes=["sync-scheduler"])
    (file,) = planned.files
    edits = len(file.edits)
    assert edits > 1 and f"{edits} edits" == file.counted
    assert ("planned", True) == (file.result.status, f"{edits} edits" in file.result.message)
    one = replace(file, edits=file.edits[:1])
    assert "1 edit" == one.counted
    refused = replace(file, edits=(), refusals=(Refusal("sync-scheduler", "no mode", "give it"),))
    assert ("refused", "") == (refused.result.status, refused.result.message)
    idle = replace(file, edits=(), reason="nothing to do")
    assert ("unchanged", "nothing to do") == (idle.result.status, idle.result.message)
    assert idle.result.before == idle.result.after == file.before.findings


def test_accepted_findings_and_notes_call_for_nothing(step: Path) -> None:
    planned = repair.plan([step], fixes=["sync-scheduler"])
    (file,) = planned.files
    counting = planned.request.counting(file.before)
    assert counting and "info" not in {finding.severity for finding in counting}
    accepting = replace(planned.request, ignore=[finding.code for finding in counting])
    assert [] == accepting.counting(file.before)
    assert [] == replace(planned, request=accepting).called_for


def test_what_is_called_for_is_named_once_in_the_order_of_the_fixes() -> None:
    """Whichever fix was asked for, and however many files call for it."""
    called = repair.plan([SAMPLES], fixes=["to-cpu"]).called_for
    assert {"sync-scheduler", "add-best-score", "upgrade"} <= set(called)
    assert called == [name for name in fix_names() if name in called]
