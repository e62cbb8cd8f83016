"""What a wrong position in the schedule means for the rates after a resume."""

from __future__ import annotations

from ckpt_doctor import facts
from ckpt_doctor.audit import check, scan
from ckpt_doctor.types import Finding
from tests.trainers.plain.plain_runs import run
from tests.validators.healthy_runs import INITIAL, healthy, place, write
from tests.validators.spoiling import STEP, both, put


def about_the_position(findings: object) -> list[Finding]:
    return [finding for finding in findings if finding.code in ("R501", "R502")]


def test_a_schedule_that_nobody_steps_changes_no_rate(tmp_path):
    """The trainer sets the rates of its idle modes itself: the resume is what it is without the finding."""
    resumes = []
    for name, position in (("as saved", 0), ("stepped", 3)):
        spoiled = healthy("type1")
        both(put("scheduler", "last_epoch", position), put("scheduler", "_step_count", position + 1))(spoiled)
        file = place(write(spoiled, tmp_path / name), STEP)
        judged = check(file, facts=facts(learning_rate=INITIAL)).files[0]
        resumes.append(judged.resume)
    [ahead] = about_the_position(judged.findings)
    assert ("R502", "info") == (ahead.code, ahead.severity)
    assert "early" not in ahead.message
    assert "takes no rate from it, so the resume is the same" in ahead.message
    assert resumes[0] == resumes[1]


def test_a_rate_that_is_right_for_now_is_not_called_late(tmp_path):
    """StepLR between two of its steps: the next rate is the same at both positions, the one after is not."""
    folder = run(tmp_path, "StepLR", before_step=True)
    told = [about_the_position(file.findings)[0].message for file in scan([folder]).files]
    assert "the next rate is the right one, but each later change of it comes 1 epoch late" in told[0]
    assert "rates come 1 epoch late (next 0.01, uninterrupted 0.005)" in told[1]
