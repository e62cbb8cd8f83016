"""Each promised name is a field that exists, and another trainer's own name for it is told beside it."""

from __future__ import annotations

from ckpt_doctor.reports import promised
from ckpt_doctor.trainers import KNOWN
from ckpt_doctor.trainers.time_llm.layout import PLACES
from ckpt_doctor.types import ResumePlan, TrainingState
from tests.reports.report_samples import file


def test_every_promised_name_is_a_field() -> None:
    """A field that is renamed would be missing from the JSON of all versions."""
    assert set(promised.TRAINING) <= set(TrainingState.__dataclass_fields__)
    assert set(promised.PLAN) <= set(ResumePlan.__dataclass_fields__)
    facts = {fact.name for trainer in KNOWN for fact in trainer.facts}
    assert set(promised.RUN_FACTS) <= facts


def test_a_trainer_that_keeps_a_slot_under_another_name_has_its_own() -> None:
    places = {"best": ("trainer_state.json", "best_metric"), "patience": ("callbacks", "wait_count")}
    assert {"best_score": "best_metric", "counter": "wait_count"} == promised.own_names(
        file("checkpoint", places=places).member
    )


def test_the_trainer_whose_names_they_are_and_one_without_such_slots_have_none() -> None:
    assert {} == promised.own_names(file("checkpoint", places=PLACES).member)
    assert {} == promised.own_names(file("checkpoint", places={"model": ("net",)}).member)
