"""What is known of a training command is said with its source, and given again as options."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckpt_doctor.reports import judged as table
from ckpt_doctor.reports.facts import given_options, given_words, known_facts, nearest
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.types import Evidence
from tests.reports.report_samples import RUN, example, file, flat, report


def test_facts_are_printed_with_their_sources() -> None:
    printed = flat(table(example()))
    assert "lradj type1 scheduler never stepped" in printed
    assert "8,640 steps per epoch checkpoint: 17,280 steps at epoch 2" in printed


def test_an_open_schedule_mode_is_said_to_be_open() -> None:
    facts = TimeLLMFacts(candidates={"lradj": ("TST", "type1")})
    assert "lradj not settled  TST or type1" in table(report(file(RUN / "checkpoint"), facts=facts))


def test_a_fact_given_on_the_command_line_names_the_option() -> None:
    facts = TimeLLMFacts(patience=Evidence(10, "--patience", given=True))
    assert "patience 10  --patience" in table(report(file(RUN / "checkpoint"), facts=facts))


def test_a_fact_is_given_again_as_it_was_given_and_one_of_the_settings_is_not() -> None:
    given = {
        "patience": Evidence(10, "--patience"),
        "shuffle": Evidence(False, "--no-shuffle"),
        "lradj": Evidence("TST", "pyproject.toml"),
    }
    assert ["--patience", "10", "--no-shuffle"] == given_words(TimeLLMFacts(), given)


def test_what_was_inferred_is_not_given_again() -> None:
    known = {"lradj": Evidence("TST", "files"), "pct_start": Evidence(0.3, "--pct-start", given=True)}
    assert ["--pct-start", "0.3"] == given_options(TimeLLMFacts(**known))


def test_a_value_that_everyone_expects_is_not_said() -> None:
    assert () == known_facts(TimeLLMFacts(world_size=Evidence(1, "files")))
    assert (("4 processes", "files"),) == known_facts(TimeLLMFacts(world_size=Evidence(4, "files")))


def test_a_path_is_shown_as_seen_from_the_working_folder_where_that_is_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep/er")
    assert "a.log" == nearest(tmp_path / "deep/er/a.log")
    assert "/a.log" == nearest(Path("/a.log"))
