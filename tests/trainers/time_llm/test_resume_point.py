"""Where a resume must land, and where the trainer lands by its own formulas."""

from __future__ import annotations

import pytest

from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.trainers.time_llm.resume_point import Position, plan, positions, resume_point, trainer_start, true_step
from ckpt_doctor.types import Evidence, Member
from tests.trainers.time_llm.members import best, run_of, step_file


def facts(**known: object) -> TimeLLMFacts:
    found = run_of(**known).facts
    assert isinstance(found, TimeLLMFacts)
    return found


@pytest.mark.parametrize(
    ("member", "step"),
    [
        (step_file(15, 1), 15),
        (step_file(-1, 1, optimizer_step=15), 15),
        (step_file(15, 1, optimizer_step=None), 15),
        (step_file(15, 1, optimizer_step=14), None),
        (best(17, 1, optimizer_step=14, root={"scaler": {"scale": 1.0}}), 17),
    ],
    ids=["agree", "no-count", "no-adam", "contradict", "scaler"],
)
def test_the_step_is_what_global_step_and_adam_agree_on(member: Member, step: int | None) -> None:
    """Of a file that contradicts itself nothing is known; under AMP Adam skips steps and says nothing."""
    found = true_step(member, facts())
    assert (found.value if found else None) == step


def test_the_folder_s_name_settles_which_count_is_right() -> None:
    """Its number is the step at which it was saved: here 99, and Adam's step agrees with it."""
    found = true_step(step_file(99, 1, global_step=15), facts())
    assert found is not None
    assert (99, True) == (found.value, "name" in found.source)


def test_a_known_length_places_a_file_exactly() -> None:
    assert positions(step_file(25, 0), facts(steps_per_epoch=10)) == (Position(2, 5),)
    assert positions(step_file(25, 0), facts(steps_per_epoch=20, world_size=2)) == (Position(2, 5),)


def test_without_a_length_each_possible_place_is_named() -> None:
    """A step file may be inside its epoch or at its end; the older patch's best file ends this epoch or the next."""
    assert positions(step_file(24, 1), facts()) == (Position(1, None), Position(2, 0))
    assert positions(step_file(25, 1), facts()) == (Position(1, None),)
    assert positions(best(20, 2), facts(generation="complete")) == (Position(2, 0),)
    assert positions(best(30, 2), facts(generation="first-patch")) == (Position(2, 0), Position(3, 0))


@pytest.mark.parametrize(("mode", "last_epoch"), [("TST", 25), ("COS", 2), ("type1", 0)])
def test_the_schedule_is_where_the_mode_steps_it(mode: str, last_epoch: int) -> None:
    """Step 25 of epochs of 10: TST has stepped 25 times, COS twice, the idle modes never."""
    member = step_file(25, 2)
    point = resume_point(member, run_of(member, lradj=mode, steps_per_epoch=10))
    assert (2, 5, 25, last_epoch) == (point.start_epoch, point.skip_batches, point.global_step, point.last_epoch)


def test_on_several_processes_global_step_is_shifted_so_that_the_skip_is_right() -> None:
    """Two processes make 5 steps of 10 batches: the first patch skips `global_step % 10` batches, of 13 that is 3."""
    member = step_file(8, 1)
    point = resume_point(member, run_of(member, lradj="TST", steps_per_epoch=10, world_size=2))
    assert (1, 3, 13, 16) == (point.start_epoch, point.skip_batches, point.global_step, point.last_epoch)


def test_what_the_facts_leave_open_is_unsettled_and_names_its_option() -> None:
    """Where the candidates agree, the field is set all the same."""
    member = step_file(25, 2)
    point = resume_point(member, run_of(member, candidates={"lradj": ("TST", "COS")}, steps_per_epoch=10))
    assert (2, 5, None) == (point.start_epoch, point.skip_batches, point.last_epoch)
    assert point.unsettled["last_epoch"] == "--lradj"
    unplaced = resume_point(step_file(24, 1), run_of(lradj="COS"))
    assert unplaced.start_epoch is None
    assert unplaced.unsettled["start_epoch"] == "--steps-per-epoch"
    crowd = resume_point(member, run_of(member, world_size_open=True))
    assert {"--world-size"} == set(crowd.unsettled.values())


def test_before_the_first_validation_early_stopping_knows_nothing() -> None:
    member = step_file(5, 0)
    point = resume_point(member, run_of(member, lradj="TST", steps_per_epoch=10))
    assert point.early_stopping is not None
    assert (None, 0) == (point.early_stopping.value.best_score, point.early_stopping.value.counter)


@pytest.mark.parametrize(
    ("epoch", "generation", "start"),
    [
        (2, "first-patch", (2, 5)),
        (1, "first-patch", (1, 5)),
        (1, "complete", (2, 5)),
        (3, "complete", (3, 0)),
    ],
)
def test_the_trainer_starts_by_its_own_formulas(epoch: int, generation: str, start: tuple[int, int]) -> None:
    """At step 25 of epochs of 10: the first patch believes `epoch`, the complete trainer the later of the two."""
    found = trainer_start(step_file(25, epoch), facts(steps_per_epoch=10, generation=generation))
    assert Position(*start) == found


def test_the_plan_counts_the_steps_that_are_left() -> None:
    member = step_file(25, 2)
    run = run_of(member, lradj="TST", steps_per_epoch=10, train_epochs=4)
    told = plan(member, run, resume_point(member, run))
    assert told is not None
    assert (2, 5, 15) == (told.start_epoch, told.skip_batches, told.steps_left)


def test_the_plan_says_that_a_shuffling_loader_needs_the_random_state() -> None:
    member = step_file(25, 2)
    run = run_of(member, lradj="TST", steps_per_epoch=10)
    orderly = run_of(member, lradj="TST", steps_per_epoch=10, shuffle=Evidence(False, "given"))
    shuffled, in_order = (plan(member, r, resume_point(member, r)) for r in (run, orderly))
    assert shuffled is not None
    assert in_order is not None
    assert any("rng_state" in why for why in shuffled.why_not_exact)
    assert () == in_order.why_not_exact
