"""What `latest` says beside the path that it prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ckpt_doctor.reports.latest import choices, notes
from ckpt_doctor.types import Advice, Latest
from tests.reports.report_samples import NO_BEST_SCORE, RATE_JUMP, file


def test_each_finding_of_the_chosen_one_that_the_answer_does_not_cure_is_told() -> None:
    incurable = replace(RATE_JUMP, code="R510", name="random-state", fix=None)
    accepted = replace(NO_BEST_SCORE, code="L305", severity="info")
    chosen = file("checkpoint", NO_BEST_SCORE, RATE_JUMP, incurable, accepted)
    said = list(notes(Latest(Path("my run"), chosen, ((Path("newer"), "F101 truncated-archive"),)), 80))
    assert said[0] == "passed over newer: F101 truncated-archive"
    assert said[1].endswith(f"R506 rate-jump: {RATE_JUMP.fix}")
    assert said[2].endswith("R510 random-state: no edit of the file cures that")
    assert len(said) == 3


def test_what_to_do_comes_first() -> None:
    run = Path("my run")
    command = ("ckpt-doctor", "migrate", "--all", "my run/a")
    advice = Advice("repair", run, run / "a", "a", "step 5 of 9", command)
    told = list(notes(Latest(run, None, (), advice), 80))
    assert told[0] == "resume from a (step 5 of 9) after: ckpt-doctor migrate --all 'my run/a'"
    assert told[-1] == "no checkpoint in my run is safe to resume from as it is"


def test_of_several_runs_each_has_its_command() -> None:
    told = list(choices(Path("top"), [Path("top/a b"), Path("top/c")]))
    assert ["ckpt-doctor latest 'top/a b'", "ckpt-doctor latest top/c"] == [line.strip() for line in told[1:]]
