"""A log of many launches is divided into attempts, each with what it loaded, trained and saved."""

import pytest

from ckpt_doctor.trainers.time_llm.attempts import run_name, step_in
from ckpt_doctor.trainers.time_llm.history import match
from tests.trainers.time_llm.log_writer import RUN, history, read, result, saved


@pytest.mark.parametrize(
    ("lines", "starts"),
    [
        ([result(1, 0.5), result(2, 0.4), result(1, 0.5)], ["fresh", "fresh"]),
        ([saved(5), saved(10), saved(5)], ["fresh", "fresh"]),
        ([saved(5), saved(5), saved(10)], ["fresh"]),
        (["\titers: 200, epoch: 1 | loss: 0.4000000", "\titers: 100, epoch: 1 | loss: 0.4000000"], ["fresh", "fresh"]),
        ([result(1, 0.5), "Early stopping", "Checkpoints saved at: ./c", saved(5)], ["fresh", "fresh"]),
        ([saved(5), "Loading checkpoint: /c/r/checkpoint", "Resumed at epoch 0, global_step 5"], ["fresh", "resumed"]),
        (["Resumed at epoch 0, global_step 5", saved(10)], ["resumed"]),
        ([result(1, 0.5), "Namespace(lradj='COS')", saved(5)], ["fresh", "fresh"]),
        ([saved(5, "A"), saved(10, "B")], ["fresh", "fresh"]),
        ([result(4, 0.5)], ["unknown"]),
        (["\r45it [00:03, 12.54it/s]"], []),
    ],
)
def test_an_attempt_begins_where_what_follows_cannot_continue_what_was(lines, starts):
    """Loads, commands, epochs and steps that go back, other folders, anything after the end."""
    assert starts == [attempt.start for attempt in read(*lines)]


def test_the_run_is_the_folder_that_holds_the_checkpoints():
    """On any machine, with either separator, for step folders and files."""
    assert ["r", "r", "r", "r", ""] == [
        run_name(path)
        for path in (
            "/a/r/checkpoint_step_5",
            "C:\\a\\r\\checkpoint_step_5\\checkpoint.pt",
            "./r/checkpoint",
            "/a/r/x.pt",
            "x",
        )
    ]
    assert [5, None] == [step_in(path) for path in ("/a/r/checkpoint_step_5/checkpoint.pt", "/a/r/checkpoint")]


def test_a_launchs_first_saves_are_not_given_to_the_run_before_it():
    """Another command's run was killed in its second epoch; ours saves before its first epoch line."""
    ours = [saved(5), saved(10), result(1, 0.5), saved(15), saved(20), result(2, 0.4)]
    other, launch = read(result(1, 0.2), "Validation loss decreased (inf --> 0.200000).  Saving model ...", *ours)
    assert ((), "") == (other.saves, other.run)
    assert ([5, 10, 15, 20], RUN, 3) == ([save.step for save in launch.saves], launch.run, launch.first_line)
    way = history(match([other, launch], RUN, given=True).attempts).lineage(global_step=10, finished_epochs=1)
    assert -0.5 == way.uninterrupted.best_score


def test_saves_that_no_launch_goes_on_from_stay_where_they_are():
    """A run of epochs shorter than its save interval: its own first save comes in its second epoch."""
    (only,) = read(result(1, 0.5), saved(8), result(2, 0.4), saved(16), result(3, 0.3))
    assert [8, 16] == [save.step for save in only.saves]
    before, again = read(result(1, 0.5), saved(8), result(2, 0.4), saved(16), result(1, 0.5), saved(8), result(2, 0.4))
    assert [8, 16] == [save.step for save in before.saves]
    assert [8] == [save.step for save in again.saves]
