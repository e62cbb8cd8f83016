"""What is wrong with a run in as many lines as there is room for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ckpt_doctor.reports.paragraphs import folded_findings
from ckpt_doctor.reports.view import view
from ckpt_doctor.types import FileReport, Finding
from tests.reports.many_findings import faults
from tests.reports.report_samples import RUN, advised, file, report


def folded(*files: FileReport, room: int, width: int = 80) -> list[str]:
    return folded_findings(view(report(*files).runs[0], [RUN]), width, False, room)


def test_a_rule_that_speaks_of_many_files_has_a_line_with_their_number_and_epochs() -> None:
    sound = file(RUN / "checkpoint", epoch=9)
    [line] = folded(*faults(7), sound, room=1)
    assert line.startswith("  R501 rule-0 (7 of 8 files, epochs 0 to 3): a sentence of which")
    assert line.endswith("...")
    assert len(line) <= 80


def test_a_rule_is_told_once_whatever_it_says_of_its_files() -> None:
    sentences = {"first": "the rate lags", "a": "batches come twice", "b": "batches come twice or never"}
    files = [file(RUN / name, Finding("R510", "late-rng-state", "warning", told)) for name, told in sentences.items()]
    assert ["  R510 late-rng-state (3 files; here first): the rate lags"] == folded(*files, room=1)
    assert 3 == len(folded(*files, room=3))


def test_a_sentence_that_is_too_long_fills_the_lines_that_are_left() -> None:
    long = Finding("R501", "scheduler-behind", "warning", "late " * 60)
    for room in (-2, 1, 2, 3):
        lines = folded(file(RUN / "a", long), room=room)
        assert (max(1, room), True) == (len(lines), lines[-1].endswith("late..."))
        assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("room", range(3, 12))
def test_findings_fill_the_room_that_they_have(room: int) -> None:
    lines = folded(*faults(3, of=5), room=room)
    assert len(lines) == min(room, 10), "two lines for each of five rules"
    assert ("(-v)" in lines[-1]) == (room < 5)


def test_sentences_about_the_advised_checkpoint_come_first() -> None:
    run = view(advised().runs[0], [RUN])
    late = Finding("Z999", "late", "warning", "the rate lags")
    other = replace(run.serious[0], rule="A1 other", names=("another",))
    about = replace(run.serious[0], rule=f"{late.code} {late.name}", names=(run.advised,))
    lines = folded_findings(replace(run, serious=(other, about)), 80, False, 20)
    assert [1, 0] == [next(i for i, line in enumerate(lines) if rule in line) > 0 for rule in ("A1 ", "Z999 ")]
