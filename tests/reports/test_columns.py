"""What a table shows of each checkpoint: what matters in it, and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ckpt_doctor.reports import columns
from ckpt_doctor.reports import judged as table
from ckpt_doctor.reports.view import view
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.types import EarlyStoppingState, Evidence
from tests.reports.report_samples import FOREIGN, NO_BEST_SCORE, RUN, file, report


def test_best_scores_are_missing_or_not_there_yet_or_shown() -> None:
    before_any = file(RUN / "checkpoint_step_10/checkpoint.pt", early_stopping=Evidence(EarlyStoppingState(), "log"))
    known = file(RUN / "checkpoint_step_20/checkpoint.pt", best_score=-0.2919713)
    missing = file(RUN / "checkpoint_step_30/checkpoint.pt", NO_BEST_SCORE)
    printed = table(report(before_any, known, missing))
    assert "none yet" in printed
    assert "-0.2919713" in printed
    assert "missing " in printed


def test_files_of_no_known_trainer_get_columns_that_fit_them() -> None:
    foreign = file("models/a.safetensors", container="safetensors", layout="state-dict", role=None, not_checked=())
    foreign_report = report(foreign, path=Path("models"), facts=TimeLLMFacts())
    run = replace(foreign_report.runs[0], run=replace(foreign_report.runs[0].run, trainer=""))
    printed = table(replace(foreign_report, runs=(run,)))
    assert "safetensors" in printed
    assert "best score" not in printed


def test_a_file_that_no_known_trainer_wrote_has_its_format_and_no_step() -> None:
    titles = [column.title for column in view(FOREIGN, ()).columns]
    assert "format" in titles
    assert "step" not in titles


def test_the_step_is_the_files_own_or_adams_where_its_trainer_keeps_none() -> None:
    own = file(RUN / "checkpoint", global_step=90, optimizer_step=80, places={"step": ("global_step",)})
    adam = file(RUN / "checkpoint", global_step=90, optimizer_step=80, places={})
    assert ("90", "80") == (columns.step(own), columns.step(adam))


def test_a_schedule_that_an_uninterrupted_run_never_steps_is_idle() -> None:
    """Not one that lags at its beginning, nor one of a file from before the first step."""
    idle = file(RUN / "checkpoint", global_step=90)
    lags = replace(idle, resume_point=replace(idle.resume_point, last_epoch=90))
    begun = file(RUN / "checkpoint", global_step=0)
    assert ("idle", "0", "0") == tuple(map(columns.schedule, (idle, lags, begun)))


def test_a_file_is_called_by_its_path_or_its_folder_where_each_has_one() -> None:
    step = file(RUN / "checkpoint_step_9/checkpoint.pt")
    assert "checkpoint_step_9" == columns.label(step, RUN)
    assert "checkpoint_step_9/checkpoint.pt" == columns.label(file(step.checkpoint.path, role=None), RUN)
    assert "step_9.pt" == columns.label(file(RUN / "step_9.pt", role="step"), RUN)
    assert "elsewhere/a.pt" == columns.label(file("elsewhere/a.pt", role=None), RUN)
    assert Path.cwd().name == columns.label(file(".", role=None), Path())
    assert "a\\nb.pt" == columns.label(file(RUN / "a\nb.pt", role=None), RUN)


def test_who_saved_a_file_is_said_in_its_trainers_words_else_by_its_format() -> None:
    run = report(file(RUN / "checkpoint")).runs[0]
    assert columns.about(file(RUN / "checkpoint", role="step"), run).startswith("saved by save_steps at step 17,000, ")
    told = columns.about(file("a.safetensors", role=None, container="safetensors", global_step=None), run)
    assert told.startswith("safetensors, training, ")


def test_what_comes_of_the_files_of_nobody_is_no_resume() -> None:
    assert ["resume", "verdict"] == [column.title for column in columns.outcomes(report().runs[0])]
    assert ["verdict"] == [column.title for column in columns.outcomes(FOREIGN)]
