"""What one process has listed, another need not list."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.remote import as_path, excerpts, store
from ckpt_doctor.remote.excerpts import Excerpt, adopt, begin_call, join_call

RUNS = ("all/one", "all/one/more", "all/one-more", "all/two")


@pytest.fixture
def listed(memory: Any) -> list[Path]:
    """Folders of runs in a store that is listed."""
    for run in RUNS:
        memory.pipe(f"/bucket/{run}/model.pt", b"123")
    top = as_path("memory://bucket")
    store.named([top])
    return [top / run for run in RUNS]


def elsewhere(runs: list[Path]) -> list[Excerpt | None]:
    """Excerpts as another process gets them, which knows nothing yet."""
    sent = pickle.loads(pickle.dumps(excerpts.excerpts_for(runs)))
    join_call("another")
    return sent


@pytest.mark.parametrize("most", [excerpts.MOST, 3])
def test_what_was_listed_is_not_asked_for_again(
    listed: list[Path], memory: Any, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(excerpts, "MOST", most)
    found = elsewhere(listed)
    monkeypatch.setattr(type(memory), "ls", lambda *_, **__: pytest.fail("listed anew"))
    for run, known in zip(listed, found, strict=True):
        adopt(run, known)
        assert (run / "model.pt").is_file()
        assert not (run / "logs").exists()


def test_of_a_large_tree_a_run_is_told_what_concerns_it(listed: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpts, "MOST", 2)
    [known, *_] = elsewhere(listed)
    assert known is not None
    below = {str(listed[0]), str(listed[1])}
    assert below | {"memory://bucket"} == set(known.folders), "the folder between has three runs"


def test_what_an_earlier_call_had_listed_is_forgotten(listed: list[Path], memory: Any) -> None:
    """A worker of a cluster outlives the scans; a thread of this process helps with its own call."""
    sign = begin_call()
    join_call(sign)
    memory.pipe("/bucket/all/one/late.pt", b"123")
    assert not (listed[0] / "late.pt").exists()
    join_call("another")
    assert (listed[0] / "late.pt").exists()


def test_files_of_this_machine_need_none(tmp_path: Path) -> None:
    assert [None] == excerpts.excerpts_for([tmp_path])
    adopt(tmp_path, None)
