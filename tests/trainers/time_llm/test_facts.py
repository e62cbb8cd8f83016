"""What the training command was, told by the run's files: never guessed, each fact with its source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.trainers.time_llm.facts import infer_facts, possible_finished_epochs, written_keys
from ckpt_doctor.trainers.time_llm.log_facts import LogFacts
from ckpt_doctor.trainers.time_llm.modes import IDLE
from ckpt_doctor.types import Evidence, Member, MigrationRecord
from tests.trainers.time_llm.members import MAX_LR, best, scheduled, step_file


def run(mode: str, **more: Any) -> list[Member]:
    """A best file and two step files of epochs of 10 steps, as the complete trainer saves them."""
    at = {"TST": (20, 24, 34), "COS": (1, 2, 3)}.get(mode, (0, 0, 0))
    rate = MAX_LR / 25
    rates = (rate / 2, rate / 2, rate / 4) if mode == "type1" else (None, None, None)
    saved = {"best_score": -0.4, **more}
    files = [best(20, 2, **saved), step_file(25, 2, **saved), step_file(35, 3, **saved)]
    return [scheduled(*one) for one in zip(files, [mode] * 3, at, rates, strict=True)]


def given(**facts: Any) -> TimeLLMFacts:
    return TimeLLMFacts(**{name: Evidence(value, "given", given=True) for name, value in facts.items()})


@pytest.mark.parametrize("mode", ["TST", "COS", "type1"])
def test_the_files_of_a_run_tell_its_mode_length_processes_and_rate(mode: str) -> None:
    """Each with a source that a person can look up."""
    facts = infer_facts(run(mode), TimeLLMFacts())
    assert mode == facts.mode
    assert ("complete", 10) == (facts.generation.value, facts.steps_per_epoch.value)
    assert MAX_LR == facts.learning_rate.value
    assert () == facts.contradictions
    assert {} == dict(facts.disproved)
    if mode != "COS":  # whose schedule does not say how long it is
        assert 5 == facts.train_epochs.value
        assert "total_steps 50" in facts.train_epochs.source
    known = (facts.lradj, facts.generation, facts.steps_per_epoch, facts.learning_rate)
    assert all(fact.source and not fact.given for fact in known)


def test_what_nothing_tells_stays_open() -> None:
    facts = infer_facts([], TimeLLMFacts())
    assert (None, None, None, None) == (facts.mode, facts.generation, facts.steps_per_epoch, facts.train_epochs)
    young = infer_facts([scheduled(step_file(1, 0), "TST", 0)], TimeLLMFacts())
    assert ("TST", *IDLE) == young.modes, "after one step no mode has moved its schedule"


def test_a_given_fact_wins_and_one_that_the_files_contradict_is_told() -> None:
    facts = infer_facts(run("TST"), given(lradj="type1", steps_per_epoch=10, train_epochs=5))
    assert "type1" == facts.mode
    assert "lradj" in facts.disproved
    assert any("TST" in sentence for sentence in facts.contradictions)
    right = infer_facts(run("TST"), given(lradj="TST", steps_per_epoch=10, train_epochs=5))
    assert ("TST", {}, ()) == (right.mode, dict(right.disproved), right.contradictions)


def test_one_file_that_a_hand_has_changed_does_not_speak_for_all_others() -> None:
    """A schedule moved in one file of an idle run, or reset in one of TST."""
    idle, stepped = run("type1"), run("TST")
    moved = scheduled(step_file(45, 4), "TST", 44)
    reset = scheduled(step_file(45, 4), "TST", 0, stepped[1].state.lr)
    assert "type1" == infer_facts([*idle, moved], TimeLLMFacts()).mode
    assert "TST" == infer_facts([*stepped, reset], TimeLLMFacts()).mode


def test_keys_of_early_stopping_show_the_complete_trainer_unless_a_migration_wrote_them() -> None:
    edit = {"key": "best_score", "before": None, "after": "-0.4"}
    patched = [step_file(25, 2, best_score=-0.4, migrations=(MigrationRecord("", "", (edit,), 0),))]
    assert "best_score" not in written_keys(patched[0].checkpoint)
    assert "first-patch" == infer_facts(patched, TimeLLMFacts()).generation.value
    log = LogFacts(Path("train.log"), restores=True)
    assert "complete" == infer_facts(patched, TimeLLMFacts(), log).generation.value


def test_the_log_settles_what_the_files_leave_open() -> None:
    """The rates that it prints, the number of batches that it counts, the patience."""
    log = LogFacts(
        Path("train.log"),
        steps_per_epoch=Evidence(10, "train.log, line 3"),
        lradj_candidates=("COS",),
        patience=Evidence(7, "train.log, line 9"),
        resumed=False,
    )
    facts = infer_facts([step_file(25, 2)], TimeLLMFacts(), log)
    assert ("COS", 10, 7) == (facts.mode, facts.steps_per_epoch.value, facts.patience.value)
    assert "train.log" in facts.lradj.source
    assert Path("train.log") == facts.log.value


def test_the_processes_of_a_schedule_that_runs_ahead_are_told_or_open() -> None:
    twice = [scheduled(step_file(n, n // 10), "TST", 2 * (n - 1)) for n in (15, 19, 23)]
    assert 2 == infer_facts(twice, TimeLLMFacts()).world_size.value
    odd = [scheduled(step_file(15, 1), "TST", 22), scheduled(step_file(16, 1), "TST", 31)]
    facts = infer_facts(odd, TimeLLMFacts())
    assert (None, True) == (facts.world_size, facts.world_size_open)


def test_how_many_updates_of_the_rate_a_file_can_have_behind_it() -> None:
    """A best file is saved before the update of the epoch that it ends; a resume from it then lacks that one."""
    in_epoch, at_end = step_file(25, 2), best(20, 2)
    length = given(steps_per_epoch=10)
    assert (2,) == possible_finished_epochs(in_epoch, length, resumed=False)
    assert (2, 1) == possible_finished_epochs(in_epoch, length, resumed=True)
    assert (2, 1) == possible_finished_epochs(at_end, length, resumed=False)
    assert {2, 3} <= set(possible_finished_epochs(in_epoch, TimeLLMFacts(), resumed=False))
    assert () == possible_finished_epochs(
        replace(in_epoch, state=replace(in_epoch.state, epoch=-1)), length, resumed=True
    )
