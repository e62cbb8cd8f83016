"""Which log, and which part of it, belongs to which run: by what stands in it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor.trainers.time_llm.attempts import attempts_of
from ckpt_doctor.trainers.time_llm.history import History, match, read_history
from ckpt_doctor.trainers.time_llm.log import events
from ckpt_doctor.trainers.time_llm.near_logs import unread_logs
from ckpt_doctor.types import Checkpoint, EarlyStoppingState, Evidence, Member, MigrationRecord, TrainingState
from tests.trainers.time_llm.log_writer import RUN, Trainer

LOSSES = [0.5, 0.4, 0.45]


def trained(run=RUN, losses=LOSSES, *, save_steps=5, kill_after=None, folder="/content/drive/MyDrive/checkpoints"):
    trainer = Trainer(losses, run=run, save_steps=save_steps, folder=folder)
    trainer.launch(kill_after=kill_after)
    return trainer


def attempts(*trainers, log="train_x_20260126_120000.log"):
    return attempts_of(events([trainer.text for trainer in trainers]), Path(log))


NAMELESS = 1000
"""A save interval that is never reached: no line has a path."""


def test_paths_of_another_machine_are_matched_by_the_run_folders_name():
    """Colab's /content/drive and a Windows disk hold the same run."""
    for folder in ("/content/drive/MyDrive/T-L/checkpoints", "D:\\data\\checkpoints", "./checkpoints"):
        found = match(attempts(trained(folder=folder)), RUN, [10, 15])
        assert found.confirmed
        assert [5, 10, 15, 20] == [save.step for attempt in found.attempts for save in attempt.saves]


def test_of_several_experiments_in_one_log_only_the_runs_own_attempts_count():
    """Two model comments, one log: each run gets its own."""
    log = attempts(trained("exp_0-A"), trained("exp_0-B", [0.9, 0.8, 0.7]))
    for run, losses in (("exp_0-A", LOSSES), ("exp_0-B", [0.9, 0.8, 0.7])):
        own = match(log, run, [10]).attempts
        assert losses == [epoch.result.vali_loss for attempt in own for epoch in attempt.epochs]


def test_a_log_of_another_run_is_refused_with_its_name():
    """However near it lies, and however well its steps fit."""
    found = match(attempts(trained("exp_0-Other")), RUN, [10])
    assert not found.attempts
    assert "exp_0-Other" in found.reason


def test_a_person_who_names_a_log_may_have_renamed_the_folder_or_copied_a_file():
    """The log of one other name is taken then, and the old name is told."""
    log = attempts(trained("old-name"))
    for found in (match(log, RUN, [10], given=True), match(log, RUN, [], [-0.4], given=True)):
        assert found.confirmed
        assert "old-name" in found.reason
        assert {RUN} == {attempt.run for attempt in found.attempts}


@pytest.mark.parametrize(("steps", "scores"), [([12, 18], []), ([10], [-0.77])])
def test_a_named_log_that_what_is_on_disk_contradicts_is_refused(steps, scores):
    """Steps that it did not save, scores that it did not measure; or it is of several other runs."""
    assert not match(attempts(trained("old-name")), RUN, steps, scores, given=True).attempts
    assert not match(attempts(trained("A"), trained("B")), RUN, [10], given=True).attempts


def test_nameless_attempts_belong_to_the_only_run_of_their_log():
    """An attempt that was killed before its first save names no folder; the next one in the log does."""
    early = trained(kill_after=2, save_steps=NAMELESS)
    late = trained(save_steps=8)
    both = attempts(early, late)
    assert ["", RUN] == [attempt.run for attempt in both]
    assert [RUN, RUN] == [attempt.run for attempt in match(both, RUN).attempts]
    # Where two runs are named, whose it was stays open.
    assert 1 == len(match(attempts(early, late, trained("other-run")), RUN).attempts)


def test_steps_on_disk_that_no_attempt_saved_make_it_another_training_of_that_name():
    """A finished log tells all its saves; that of a killed run may end before them."""
    finished, killed = trained(), trained(kill_after=9)
    assert "saved none" in match(attempts(finished), RUN, [12, 18]).reason
    assert match(attempts(killed), RUN, [12, 18]).confirmed
    # One renamed folder does not part a run from its log.
    assert match(attempts(finished), RUN, [12, 15]).confirmed


def test_two_runs_that_write_at_the_same_time_cannot_be_told_apart():
    """Their epoch lines carry no name."""
    a, b = trained("run-A", kill_after=3), trained("run-B", kill_after=3)
    mixed = [line for pair in zip(trained("run-A").lines, trained("run-B").lines, strict=True) for line in pair]
    found = match(attempts_of(events(["\n".join(mixed).encode() + b"\n"]), Path("x.log")), "run-A", [5])
    assert not found.attempts
    assert "at the same time" in found.reason
    # One after the other they can.
    assert match(attempts(a, b), "run-A", [5]).confirmed


# --- logs without any path -------------------------------------------------------------------------------------------


def test_a_nameless_log_is_taken_for_its_name_a_score_or_a_persons_word():
    """`train_<comment>_...` beside a folder `...-<comment>`; a loss that is a best_score; `--log`."""
    run = "long_term_forecast_0-My-Legacy"
    quiet = trained(save_steps=NAMELESS)
    named, other = attempts(quiet, log="train_my-legacy_20260126_120000.log"), attempts(quiet)
    assert "model comment" in match(named, run).reason
    assert match(other, run, [], [-0.4]).confirmed
    assert match(other, run, given=True).confirmed
    for found in (match(named, run), match(other, run, [], [-0.4]), match(other, run, given=True)):
        assert (
            EarlyStoppingState(-0.4, 0.4, 0)
            == History(run, found.attempts, found.confirmed, "").last_best().uninterrupted
        )


def test_a_nameless_log_that_nothing_ties_to_the_run_gives_no_value():
    """It is the only candidate, so it is kept to be asked about, but nothing is taken from it."""
    found = match(attempts(trained(save_steps=NAMELESS)), RUN)
    assert found.attempts
    assert not found.confirmed
    history = History(RUN, found.attempts, found.confirmed, found.reason)
    assert "no line of the log names" in history.early_stopping(global_step=7, finished_epochs=1, best=True).reason
    assert "no line of the log names" in history.last_best().reason


def test_a_nameless_log_is_not_of_a_run_with_step_checkpoints():
    """Saving them prints lines."""
    assert "step checkpoints" in match(attempts(trained(save_steps=NAMELESS)), RUN, [10]).reason


def test_several_nameless_logs_are_ambiguous():
    """Neither is taken."""
    quiet = trained(save_steps=NAMELESS)
    found = match([*attempts(quiet, log="a.log"), *attempts(quiet, log="b.log")], RUN)
    assert not found.attempts
    assert "several logs" in found.reason


def test_an_empty_log_says_so():
    """No line of the trainer at all."""
    assert "nothing of a training" in match([], RUN).reason


# --- files -----------------------------------------------------------------------------------------------------------


def member(path, step=None, score=None, migrations=()):
    checkpoint = Checkpoint(path, 0, "torch-zip", "training", {}, migrations=migrations)
    return Member(checkpoint, TrainingState(best_score=score), "step" if step else "best", step)


@pytest.fixture
def project(tmp_path):
    """`checkpoints/<run>` and `logs/` beside it, as the training script leaves them."""
    run = tmp_path / "checkpoints" / RUN
    run.mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    return run


def write_log(run, name, trainer):
    log = run.parents[1] / "logs" / name
    log.write_bytes(trainer.text)
    return log


def test_the_history_is_found_beside_the_run_among_logs_of_others(project):
    """One log per launch: the second resumes what the first saved, and logs of other runs lie there too."""
    first = trained(kill_after=9)
    second = Trainer(LOSSES, files=first.files)
    second.launch("checkpoint_step_10")
    write_log(project, "train_a_20260127_090000.log", second)
    write_log(project, "train_z_20260126_120000.log", first)
    write_log(project, "train_b_20260125_120000.log", trained("other-run"))
    history, facts, doubts = read_history(project, [member(project / "checkpoint")])
    assert ["fresh", "resumed"] == [attempt.start for attempt in history.attempts]
    state = history.early_stopping(global_step=20, finished_epochs=2)
    assert Evidence(EarlyStoppingState(-0.4, 0.4, 0), state.source) == state
    assert "train_z_20260126_120000.log" in state.source
    assert "train_a_20260127_090000.log" in state.source
    assert 7 == facts.real_steps.value
    assert not doubts


def test_without_any_log_there_is_no_history_and_no_doubt(project):
    """Nothing found is not a finding."""
    nothing = (None, None, ())
    assert nothing == read_history(project, [member(project / "checkpoint")])


def test_a_log_that_a_person_named_in_vain_is_reported(project, tmp_path):
    """It is of another run, or cannot be read."""
    wrong = write_log(project, "wrong.log", trained("other-run"))
    history, facts, doubts = read_history(project, [member(project / "checkpoint_step_11", 11)], [wrong])
    assert history is None
    assert facts is None
    assert "wrong.log" in doubts[0]
    folder = tmp_path / "folder.log"
    folder.mkdir()
    *_, doubts = read_history(project, [], [folder])
    assert "could not be read" in doubts[0]


def test_a_migrated_score_is_no_proof_of_a_log(project):
    """What this tool wrote came from a log itself."""
    write_log(project, "train_x_20260126_120000.log", trained(save_steps=NAMELESS))
    migrated = member(project / "checkpoint", score=-0.4, migrations=(MigrationRecord("", "", (), 0),))
    assert not read_history(project, [migrated])[0].confirmed
    assert read_history(project, [replace(migrated, checkpoint=replace(migrated.checkpoint, migrations=()))])[
        0
    ].confirmed


def test_a_huge_log_that_nobody_named_is_not_read_and_said_so(tmp_path):
    """A sparse file takes no disk, and hours to read; pipes and devices are no logs at all."""
    project = tmp_path / RUN
    project.mkdir()
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "logs" / "pipe.log")
    (tmp_path / "logs" / "zero.log").symlink_to("/dev/zero")
    assert (None, None, ()) == read_history(project, [])
    large = tmp_path / "logs" / "train.log"
    with large.open("wb") as file:
        file.truncate(6 << 30)
    assert (None, None, ()) == read_history(project, [])
    (unread,) = unread_logs(project)
    assert ("the log train.log", f"--log {large}") == (unread.what, unread.settle)
    (tmp_path / "logs" / "small.log").write_bytes(trained().text)
    assert read_history(project, [])[0].confirmed
