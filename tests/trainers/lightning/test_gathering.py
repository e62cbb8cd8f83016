"""The files of a run are looked at once, and what they say together is kept."""

from __future__ import annotations

import pytest

from ckpt_doctor import audit, latest
from ckpt_doctor.trainers.lightning.history import history_of
from tests.trainers.lightning.runs import (
    AUTOMATIC,
    BATCH,
    BATCHES,
    FIT,
    LOSSES,
    MONITOR,
    change,
    judged,
    put,
    said,
    write,
)


def test_a_truncated_file_leaves_its_siblings_judged(tmp_path):
    paths = write(tmp_path)
    paths[-1].write_bytes(paths[-1].read_bytes()[:3000])
    report = audit.scan(tmp_path)
    assert ["identical", "identical", "impossible"] == [file.resume for file in report.files]
    assert paths[1] == latest(tmp_path)[0]


def test_a_scaler_that_only_a_sibling_has_is_a_note(tmp_path):
    first, second, _ = write(tmp_path)
    scale = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000}
    change(first, MixedPrecision={**scale, "_growth_tracker": 3})
    assert {} == said(judged(first)) | said(judged(second))
    assert "O706" in {finding.code for finding in judged(second).findings}


def test_what_the_files_say_together(tmp_path):
    """Names, steps and scores; the files of a folder that another one keeps; who has a callback's memory, in order."""
    paths = write(tmp_path)
    (tmp_path / "other.ckpt").write_bytes(b"cut")
    history = history_of(audit.scan(tmp_path).runs[0].run)
    assert {path.name for path in paths} | {"other.ckpt"} == history.names
    assert {path.name: 10 * n for n, path in enumerate(paths, 1)} == history.steps
    assert set(LOSSES[:3]) == set(history.scores["val_loss"])
    assert [3, 2, 1] == [history.keepers[str(tmp_path)][path.name] for path in paths]
    assert [10, 20, 30] == [member.state.global_step for member in history.memories["callbacks", MONITOR]]
    assert {0: 3} == history.lags == history.adam_lags


def test_a_lag_is_counted_by_the_files_that_have_it(tmp_path):
    for path in write(tmp_path)[1:]:
        put(path, (*FIT, AUTOMATIC, "optimizer", "step", "total", "completed"), 50)
        put(path, ("optimizer_states", 0, "param_groups", 0, "lr"), 0.5)
    history = history_of(audit.scan(tmp_path).runs[0].run)
    assert {0: 1, 30: 1, 20: 1} == history.adam_lags
    assert 2 == history.off_rates


@pytest.mark.parametrize(
    ("validated", "periods"),
    [((), range(1, 2)), ((0, 1, 2), range(1, 2)), ((1, 2), range(2, 3)), ((2,), range(3, 4)), ((0, 2), range(1, 2))],
)
def test_which_epochs_have_a_validation_shows_by_those_that_had_none(tmp_path, validated, periods):
    """Each file was saved at the end of one; a run without any compares at each epoch's end."""
    for epoch, path in enumerate(write(tmp_path)):
        put(path, (*FIT, "epoch_loop.val_loop.batch_progress"), {"current": {"ready": int(epoch in validated)}})
    assert periods == history_of(audit.scan(tmp_path).runs[0].run).periods


def test_an_epoch_without_a_validation_leaves_out_no_check(tmp_path):
    """A save at its last batch loses nothing; at that of an epoch with one it does."""
    paths = write(tmp_path, epochs=4)
    for epoch, path in enumerate(paths):
        put(path, (*FIT, "epoch_loop.val_loop.batch_progress"), {"current": {"ready": int(epoch > 1)}})
        put(path, (*BATCH, "total", "completed"), (epoch + 1) * BATCHES - 1)
    assert [False, True, False, True] == ["P405" in said(judged(path)) for path in paths]
    paths[2].unlink()
    assert ["identical", "open", "open"] == [file.resume for file in audit.scan(tmp_path).files], "2 or 3 epochs apart"
