"""The log files near a run: each read once, each content once."""

from __future__ import annotations

from ckpt_doctor.trainers.time_llm.log_files import (
    ReadLog,
    read_log,
    unclaimed_logs,
    without_copies,
)
from tests.trainers.time_llm.log_writer import RUN
from tests.trainers.time_llm.test_history import attempts, trained


def test_a_copy_of_a_log_that_has_grown_since_counts_once():
    """Backups lie beside the original."""
    short, long = trained(kill_after=9), trained()
    kept = without_copies([ReadLog.of(attempts(text)) for text in (short, long, long)])
    assert [attempts(long)] == [log.attempts for log in kept]


def test_a_log_that_grew_is_read_again(tmp_path):
    """What was read is kept only while the file stays as it is."""
    log = tmp_path / "train.log"
    log.write_bytes(trained(kill_after=9).text)
    before = read_log(log).attempts
    log.write_bytes(trained().text)
    assert len(before[0].epochs) < len(read_log(log).attempts[0].epochs)


def test_a_log_that_names_a_folder_beside_the_run_is_that_ones(tmp_path):
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "train_x_20260126_120000.log"
    log.write_bytes(trained(kill_after=12).text)
    renamed = tmp_path / "checkpoints" / "backup"
    renamed.mkdir(parents=True)
    assert [log] == unclaimed_logs(renamed)
    (tmp_path / "checkpoints" / RUN).mkdir()
    assert [] == unclaimed_logs(renamed)
