"""How Time-LLM's checkpoints are judged: bare weights by their upgrade, training checkpoints by their resume point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ckpt_doctor.trainers.time_llm.command import facts_of
from ckpt_doctor.trainers.time_llm.judging import JUDGING
from ckpt_doctor.trainers.trainer import ByHand
from ckpt_doctor.types import EarlyStoppingState, Evidence, Run
from tests.trainers.time_llm.log_writer import RUN, Trainer
from tests.trainers.time_llm.members import best, run_of, scheduled, step_file


def test_a_run_is_understood_by_its_files_its_log_and_what_a_person_gives(tmp_path: Path) -> None:
    """A named log that is of another run is told, and nothing is taken from it."""
    trainer = Trainer([0.5, 0.4, 0.45], steps=10)
    trainer.launch()
    log = tmp_path / "train.log"
    log.write_bytes(trainer.text)
    run = Run(tmp_path / RUN, "time-llm", (scheduled(step_file(15, 1, best_score=-0.5), "TST", 14),))
    understood = JUDGING.understand(run, {"patience": Evidence(10, "given", given=True)}, [log])
    facts = facts_of(understood)
    assert ("TST", 10, 10) == (facts.mode, facts.steps_per_epoch.value, facts.patience.value)
    assert understood.history is not None
    log.write_bytes(trainer.text.replace(RUN.encode(), b"other"))
    step = replace(run.members[0], named_step=13)
    other = JUDGING.understand(replace(run, members=(step,)), {}, [log])
    assert other.history is None
    assert any("train.log" in doubt for doubt in facts_of(other).contradictions)


def test_a_training_checkpoint_has_a_resume_point_a_plan_and_a_schedule() -> None:
    member = scheduled(step_file(25, 2), "TST", 24)
    case = JUDGING.case(member, run_of(member, lradj="TST", steps_per_epoch=10), ByHand())
    assert (2, 5, 25) == (case.resume.start_epoch, case.resume.skip_batches, case.resume.last_epoch)
    assert case.plan is not None
    assert case.upgrade is None
    assert "TST" in case.schedule.evidence
    assert ("global_step",) in case.reads


def test_what_a_person_gives_of_early_stopping_takes_the_place_of_what_is_known() -> None:
    member = scheduled(step_file(25, 2, best_score=-0.4), "TST", 24)
    given = Evidence(EarlyStoppingState(-0.3, 0.3, 1), "given by hand", given=True)
    case = JUDGING.case(member, run_of(member, lradj="TST", steps_per_epoch=10), ByHand(given))
    assert given == case.resume.early_stopping


def test_bare_weights_have_an_upgrade_and_no_place_in_the_run() -> None:
    member = best(20, 2)
    weights = replace(member, checkpoint=replace(member.checkpoint, layout="state-dict", root={"w": 0}))
    case = JUDGING.case(weights, run_of(steps_per_epoch=10), ByHand(epoch=2))
    assert case.upgrade is not None
    assert 20 == case.upgrade.values["global_step"].value
    assert (None, None) == (case.plan, case.resume.start_epoch)
