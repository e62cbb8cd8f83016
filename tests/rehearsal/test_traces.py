"""Reading a trace: what was cut off, and what never was one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.errors import UsageError
from ckpt_doctor.rehearsal.loop import describe
from ckpt_doctor.rehearsal.text import loop_text
from ckpt_doctor.rehearsal.traces import Step, read_traces
from tests.rehearsal.loops import Habits, recorded


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The lines of a real trace."""
    return recorded(Habits(epochs=1), tmp_path_factory.mktemp("rows")).path.read_bytes().splitlines(keepends=True)


def test_a_row_that_a_kill_cut_off_costs_no_other(rows: list[bytes], tmp_path: Path) -> None:
    last = max(n for n, row in enumerate(rows) if row.startswith(b'["step"'))
    path = tmp_path / "rank0-1.jsonl"
    for cut in (1, len(rows[last]) // 2, len(rows[last]) - 1):
        path.write_bytes(b"".join(rows[:last]) + rows[last][:cut])
        trace = read_traces(tmp_path)[0]
        assert len(trace.all(Step)) == sum(row.startswith(b'["step"') for row in rows) - 1
        assert trace.ended == ""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a trace"),
        (b"hello\n", "line 1: not a row"),
        (b'["trace","something else",1]\n', "is not a trace"),
        (b'["trace","ckpt-doctor trace",99,0,1,1,"","",""]\n', "another version"),
        (b'["trace","ckpt-doctor trace",1,"x"]\n', "line 1"),
        (b"[" * 100_000 + b"\n", "line 1: not a row"),
        (b'"' + b"x" * (1 << 20) + b'"\n', "longer than a row"),
    ],
    ids=["empty", "text", "other", "version", "head", "deep", "long"],
)
def test_what_is_not_a_trace_is_refused_in_a_sentence(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "rank0-1.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=says):
        read_traces(tmp_path)


def test_a_folder_without_traces_and_a_path_without_anything(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no trace"):
        read_traces(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        read_traces(tmp_path / "nothing")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    kind=st.sampled_from(["step", "full", "scheduler", "schedule", "save", "load", "restore", "late", "end", "x"]),
    row=st.lists(JSON, max_size=10),
)
@pytest.mark.long
def test_any_row_is_an_event_or_a_sentence(kind: str, row: list[object], rows: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "rank0-1.jsonl").write_bytes(rows[0] + json.dumps([kind, *row]).encode() + b"\n")
    try:
        trace = read_traces(tmp_path)[0]
        loop_text(trace, describe(trace))
    except UsageError as error:
        assert "\n" not in str(error)
