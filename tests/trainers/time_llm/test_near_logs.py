"""The logs of a run: where they lie, and in which order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckpt_doctor.trainers.time_llm.history import read_history
from ckpt_doctor.trainers.time_llm.log_files import unclaimed_logs
from ckpt_doctor.trainers.time_llm.near_logs import in_order_of_time, logs_near
from tests.trainers.time_llm.log_writer import RUN


def test_logs_are_looked_for_where_scripts_put_them(tmp_path):
    """In the run's folder, beside it, and in `logs/` beside `checkpoints/`; other files are none."""
    root = tmp_path / "project"
    project = root / "checkpoints" / RUN
    (root / "logs").mkdir(parents=True)
    project.mkdir(parents=True)
    places = [project / "a.log", project.parent / "b.log", root / "c.log", root / "logs" / "d.log"]
    for path in [*places, root / "logs" / "e.txt", root.parent / "far.log"]:
        path.touch()
    assert set(places) == set(logs_near(project))


def test_the_folder_beside_many_runs_is_listed_once_until_it_changes(tmp_path, monkeypatch):
    listed = []
    monkeypatch.setattr(Path, "glob", lambda self, pattern, glob=Path.glob: listed.append(self) or glob(self, pattern))
    first = tmp_path / "checkpoints" / "first.log"
    first.parent.mkdir()
    first.touch()
    os.utime(first.parent, (1e9, 1e9))
    for name in "abc":
        assert [first] == logs_near(first.parent / name)
    assert 1 == listed.count(first.parent)
    (first.parent / "second.log").touch()
    assert [first, first.with_name("second.log")] == logs_near(first.parent / "a")


def test_logs_are_ordered_by_the_time_in_their_names_else_by_their_age(tmp_path):
    """Copying changes ages, not names."""
    named = [tmp_path / f"train_{c}_{t}.log" for c, t in (("b", "20260127_000000"), ("a", "20260126_235959"))]
    plain = tmp_path / "x.log"
    for age, path in enumerate([named[1], plain, named[0]]):
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert [named[1], named[0]] == in_order_of_time(named)
    assert [named[0], plain, named[1]] == in_order_of_time([*named, plain])


def test_without_logs_the_folders_beside_a_run_are_not_listed(tmp_path, monkeypatch):
    """Of thousands of runs in one folder each would look at all others."""
    monkeypatch.setattr("ckpt_doctor.trainers.time_llm.near_logs.entries_of", lambda folder: pytest.fail(str(folder)))
    run = tmp_path / RUN
    run.mkdir()
    assert ((None, None, ()), []) == (read_history(run, ()), unclaimed_logs(run))
