"""JSON parts: read as Python's json reads them, within bounds; anything else is damage, and never a crash."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ckpt_doctor.inert import limits
from ckpt_doctor.readers.json_file import open_json, open_marker

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=9)
VALUES = st.recursive(
    LEAVES,
    lambda inside: st.lists(inside) | st.dictionaries(st.text(st.characters(codec="utf-8")), inside),
    max_leaves=9,
)
QUICK = settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


def written(folder: Path, content: bytes | str) -> Path:
    """A JSON file with this content."""
    path = folder / "trainer_state.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def kinds(path: Path) -> list[str]:
    """The damage of the file, by kind."""
    return [damage.kind for damage in open_json(path).damage]


@QUICK
@given(VALUES, st.booleans())
def test_what_json_writes_is_read_back(tmp_path, value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    checkpoint = open_json(written(tmp_path, text))
    assert (text, ()) == (json.dumps(checkpoint.root, ensure_ascii=ascii_only), checkpoint.damage)
    assert ("json", "other", len(text.encode())) == (checkpoint.container, checkpoint.layout, checkpoint.size)


@QUICK
@given(
    st.dictionaries(st.text(max_size=3), LEAVES | st.lists(LEAVES), min_size=1, max_size=3), st.booleans(), st.data()
)
def test_a_file_that_ends_early_is_cut_off(tmp_path, value, ascii_only, data):
    """Wherever it was cut: within a name, a number, an escape, a character."""
    raw = json.dumps(value, ensure_ascii=ascii_only).encode(errors="replace")
    end = data.draw(st.integers(1, len(raw) - 1))
    checkpoint = open_json(written(tmp_path, raw[:end]))
    assert (["truncated-archive"], None) == ([d.kind for d in checkpoint.damage], checkpoint.root)


@QUICK
@given(st.binary(max_size=60) | st.text('{}[]",:0123456789.eE+-truefalsn\\u \n', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_damaged(tmp_path, raw):
    checkpoint = open_json(written(tmp_path, raw))
    try:
        readable = json.loads(raw.decode())
    except ValueError:
        assert checkpoint.damage
        assert checkpoint.root is None
    else:
        assert json.dumps(readable) == json.dumps(checkpoint.root)
        assert not checkpoint.damage


def test_numbers_of_any_size_are_kept(tmp_path):
    """One with more digits than Python converts stays text: a rule sees that it is no number."""
    long = "9" * (limits.MAX_DECIMAL_DIGITS + 1)
    text = f'{{"a": {10**400}, "b": NaN, "c": -Infinity, "d": 1e999, "e": {long}, "f": {long}.5}}'
    root = open_json(written(tmp_path, text)).root
    assert 10**400 == root["a"]
    assert math.isnan(root["b"])
    assert (-math.inf, math.inf, long, long + ".5") == (root["c"], root["d"], root["e"], root["f"])


def test_a_key_that_stands_twice_is_told_and_the_last_value_counts(tmp_path):
    checkpoint = open_json(written(tmp_path, '{"epoch": 1, "inner": {"x": 1, "x": 2}, "epoch": 3}'))
    assert {"epoch": 3, "inner": {"x": 2}} == checkpoint.root
    assert not checkpoint.damage
    assert all(name in checkpoint.not_checked[0].why for name in ("epoch", "x"))
    assert not open_json(written(tmp_path, '[{"x": 1}, {"x": 2}]')).not_checked


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty-file"),
        (bytes(5000), "empty-file"),
        (b'{"a": "\xff\xfe"}', "not-a-checkpoint"),
        (b"<!DOCTYPE html><title>Login</title>", "not-a-checkpoint"),
        (b'{"a": 1,}', "not-a-checkpoint"),
        (b'{"a": 1} {"b": 2}', "not-a-checkpoint"),
        (b"[" * (limits.MAX_JSON_DEPTH + 1) + b"]" * (limits.MAX_JSON_DEPTH + 1), "limit-exceeded"),
        (b"[" * 100_000, "limit-exceeded"),
        (b'{"a":' * 100_000, "limit-exceeded"),
    ],
)
def test_what_is_no_json_is_named(tmp_path, content, kind):
    path = written(tmp_path, content)
    assert [kind] == kinds(path)
    assert open_json(path).root is None


def test_nesting_up_to_the_limit_is_read(tmp_path):
    depth = limits.MAX_JSON_DEPTH
    assert [] == kinds(written(tmp_path, "[" * depth + "]" * depth))


def test_size_and_number_of_containers_are_bounded(tmp_path, monkeypatch):
    path = written(tmp_path, json.dumps([[]] * 50))
    assert [] == kinds(path)
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MIN_CONTAINERS", 50)
        assert ["limit-exceeded"] == kinds(path)
    monkeypatch.setattr(limits, "MAX_JSON_BYTES", path.stat().st_size - 1)
    assert ["limit-exceeded"] == kinds(path)
    assert 0 == open_json(path).bytes_read


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for name, kind in (("pipe", "not-a-checkpoint"), (".", "not-a-checkpoint"), ("loop", "unreadable-file")):
        assert [kind] == kinds(tmp_path / name), name
    assert ["vanished-file"] == kinds(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "root"),
    [
        (b"global_step100\n", "global_step100"),
        (b"a\nb", None),
        (b"", None),
        (b"\xff", None),
        (b"x\0y", None),
        (b"x" * (limits.MAX_MARKER_BYTES + 1), None),
    ],
)
def test_a_marker_is_one_line(tmp_path, content, root):
    path = tmp_path / "latest"
    path.write_bytes(content)
    assert ("text", root) == (open_marker(path).container, open_marker(path).root)
