"""Time-LLM's facts answer what the rest of its package asks."""

from __future__ import annotations

import pytest

from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts, real_steps
from ckpt_doctor.trainers.time_llm.modes import IDLE, MODES
from ckpt_doctor.types import Choice, Evidence


def test_the_modes_that_may_be_given_are_those_whose_rates_are_known() -> None:
    (lradj,) = [fact for fact in TimeLLMFacts.table if fact.name == "lradj"]
    assert Choice(MODES) == lradj.kind


@pytest.mark.parametrize(
    ("facts", "mode", "modes"),
    [
        (TimeLLMFacts(), None, (None,)),
        (TimeLLMFacts(candidates={"lradj": IDLE}), None, IDLE),
        (TimeLLMFacts(lradj=Evidence("COS", "log"), candidates={"lradj": ("COS",)}), "COS", ("COS",)),
    ],
)
def test_a_mode_that_is_not_settled_leaves_its_candidates(
    facts: TimeLLMFacts, mode: str | None, modes: tuple[str | None, ...]
) -> None:
    assert (mode, modes) == (facts.mode, facts.modes)


@pytest.mark.parametrize(("length", "processes", "expected"), [(45, 1, 45), (45, 2, 22), (1, 4, 1)])
def test_processes_share_an_epochs_batches_evenly(length: int, processes: int, expected: int) -> None:
    facts = TimeLLMFacts(steps_per_epoch=Evidence(length, "log"), world_size=Evidence(processes, "log"))
    assert expected == facts.real_steps == real_steps(length, processes)
    assert TimeLLMFacts(world_size=Evidence(processes, "log")).real_steps is None


@pytest.mark.parametrize("generation", ["complete", "first-patch"])
def test_which_trainer_resumes_is_known_or_open(generation: str) -> None:
    facts = TimeLLMFacts(generation=Evidence(generation, "log"))
    assert {"complete": facts.is_complete, "first-patch": facts.is_first_patch}[generation]
    assert facts.is_complete is not facts.is_first_patch
    assert not TimeLLMFacts().is_complete
    assert not TimeLLMFacts().is_first_patch
