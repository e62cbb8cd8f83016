"""A file is opened with what a migration left in it or beside it."""

from __future__ import annotations

import pickle

from ckpt_doctor import migrate
from ckpt_doctor.audit.opening import deepened, open_file
from ckpt_doctor.inert import names


def migrated(run):
    """A step file of the run, whose schedule lagged."""
    (result,) = migrate([run / "checkpoint_step_140"], fixes=["sync-scheduler"])
    return result.path


def test_the_record_of_a_migration_is_read_with_the_file(sample) -> None:
    run = sample("complete-TST")
    path = run / "checkpoint_step_140" / "checkpoint.pt"
    assert () == open_file(path).migrations
    assert path == migrated(run)
    keys = {edit["key"] for migration in open_file(path).migrations for edit in migration.edits}
    assert any("last_epoch" in key for key in keys)


def test_what_a_journal_blocks_is_damage(sample) -> None:
    """A folder of the journal's name is none of ours: nobody could write the file in place."""
    path = sample("complete-TST") / "checkpoint"
    before = open_file(path).damage
    names.journal(path).mkdir()
    assert open_file(path).damage[1:] == before
    names.journal(path).rmdir()
    assert open_file(path).damage == before


def test_deep_reading_reports_its_progress_and_what_it_found(sample) -> None:
    path = sample("complete-TST") / "checkpoint"
    seen: list[int] = []
    deep = deepened(open_file(path), lambda where, count: seen.append(count) if where == path else None).deep
    assert deep is not None
    assert () == deep.damage
    assert sum(seen) == deep.bytes_read > 0


def test_deep_reading_covers_what_undo_restores(sample) -> None:
    run = sample("complete-TST")
    path = migrated(run)
    deep = deepened(open_file(path), None).deep
    assert deep is not None
    assert () == deep.damage


def test_a_link_is_opened_with_what_lies_beside_its_target(sample, tmp_path) -> None:
    path = sample("complete-TST") / "checkpoint"
    (tmp_path / "link").symlink_to(path)
    before = open_file(tmp_path / "link").damage
    names.journal(tmp_path / "link").mkdir()
    assert open_file(tmp_path / "link").damage == before
    names.journal(path).mkdir()
    assert len(open_file(tmp_path / "link").damage) == len(before) + 1


def test_an_opened_file_shows_itself(sample) -> None:
    opened = open_file(sample("complete-TST") / "checkpoint")
    assert "\n" not in repr(opened)
    assert len(repr(opened)) < 600
    assert "62 tensors" in str(opened)
    assert "62 tensors" in (opened._repr_html_() or "")
    assert str(pickle.loads(pickle.dumps(opened))) == str(opened)
