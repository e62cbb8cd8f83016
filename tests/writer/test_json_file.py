"""A JSON part says what it is to say, in full, and looks as it looked."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.errors import EditRefused
from ckpt_doctor.writer.json_file import dumps, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcé", max_size=4), inner, max_size=4),
    max_leaves=12,
)
STYLES = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 1, 2, 4, "\t"]),
        "sort_keys": st.booleans(),
        "ensure_ascii": st.booleans(),
    }
)


@given(
    st.dictionaries(st.text("abcé", min_size=1), VALUES, min_size=1), STYLES, st.sampled_from(["", "\n"]), st.booleans()
)
def test_what_json_wrote_is_written_again_byte_for_byte(value, style, end, crlf):
    text = json.dumps(value, **style) + end
    data = (text.replace("\n", "\r\n") if crlf else text).encode()
    assert data == dumps(*loads(data))


def test_a_new_key_goes_where_the_style_has_it():
    in_order = b'{\n  "a": 1,\n  "c": 3\n}\n'
    assert b'{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}\n' == dumps({"a": 1, "c": 3, "b": 2}, loads(in_order)[1])
    as_added = b'{"c":3,"a":1}'
    assert b'{"c":3,"a":1,"b":2}' == dumps({"c": 3, "a": 1, "b": 2}, loads(as_added)[1])


@given(st.floats())
def test_a_double_is_written_in_full(number):
    back = json.loads(dumps({"value": number}))["value"]
    assert back == number or (math.isnan(back) and math.isnan(number))


def test_a_file_without_a_former_one_is_as_trainers_write_it():
    value = {"b": [1, {"x": math.inf}], "a": "é"}
    assert (json.dumps(value, indent=2, sort_keys=True) + "\n").encode() == dumps(value)


def test_a_byte_order_mark_stays():
    assert b'\xef\xbb\xbf{"a": 2}' == dumps({"a": 2}, loads(b'\xef\xbb\xbf{"a": 1}')[1])


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {2}}, {"a": b""}, {"a": object()}, nested(100_000), {"a": "\ud800"}])
def test_what_json_has_no_form_for_is_refused(value):
    """Not turned into a text, as `json` does with a number that is a key."""
    _, style = loads('{"é": 1}'.encode())  # UTF-8
    with pytest.raises(EditRefused):
        dumps(value, style)


@pytest.mark.parametrize("like", [b"{", b"\xff\xfe{\x00}\x00", b"[" * 100_000, b""])
def test_a_file_that_is_not_json_is_no_model(like):
    with pytest.raises(EditRefused):
        loads(like)


@pytest.mark.parametrize(
    "entries", [[{"a": 1, "b": "},\n  {"}, {"a": math.nan}], [{"a": []}, {"a": 1}], [{}, {"a": 1}], [{"a": 1}, 2]]
)
@pytest.mark.parametrize("indent", [1, 2, "\t"])
def test_a_history_is_laid_out_as_json_does(entries, indent):
    """Objects of plain values are written at once, others one by one."""
    data = json.dumps({"log_history": entries, "step": 1}, indent=indent).encode()
    assert data == dumps(*loads(data))
