"""The options that a person gives become facts of the run."""

from __future__ import annotations

from dataclasses import fields

from ckpt_doctor.trainers.accelerate.command import TABLE, AccelerateFacts, facts_of
from ckpt_doctor.types import Evidence, Run
from tests.trainers.accelerate.values import RUN


def test_each_option_is_a_fact_of_a_run() -> None:
    assert {fact.name for fact in TABLE} <= {field.name for field in fields(AccelerateFacts)}
    given = AccelerateFacts(**{fact.name: Evidence(1, "given", given=True) for fact in TABLE})
    assert given is facts_of(Run(RUN, "accelerate", (), facts=given))
