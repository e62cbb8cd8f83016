"""A view of an object behind a URL: what each look costs in requests and bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ckpt_doctor.readers.file_view import WHOLE
from ckpt_doctor.readers.remote_view import GAP, HEAD, TAIL, RemoteView, merged, sampled
from ckpt_doctor.remote import RemoteError, as_path
from ckpt_doctor.remote.store import Blocks, Store

Asked = list[tuple[int, int]]


@pytest.fixture
def content() -> bytes:
    return bytes(range(256)) * 4096


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The ranges that a store was asked for."""
    seen: Asked = []
    fetch = Store._fetch

    def counted(self: Store, path: Any, entry: Any, start: int, end: int) -> bytes:
        seen.append((start, end))
        return fetch(self, path, entry, start, end)

    monkeypatch.setattr(Store, "_fetch", counted)
    return seen


@pytest.fixture
def view(content: bytes, asked: Asked) -> Iterator[Callable[..., RemoteView]]:
    """`view()` looks at the object anew; `view(n)` at one of its first n bytes."""
    fs = pytest.importorskip("fsspec").filesystem("memory")

    def opened(size: int | None = None) -> RemoteView:
        fs.pipe("/bucket/object", content[:size])
        return RemoteView(as_path("memory://bucket/object"))  # type: ignore[arg-type]

    yield opened
    fs.store.clear()


def test_the_first_read_brings_both_ends_and_the_next_cost_nothing(
    view: Callable[..., RemoteView], content: bytes, asked: Asked
) -> None:
    here = view()
    for offset, count in ((100, 7), (0, HEAD), (len(content) - 9, 9), (len(content) - TAIL, TAIL), (5, 0)):
        assert content[offset : offset + count] == here.read_at(offset, count)
    assert [(0, HEAD), (len(content) - TAIL, len(content))] == sorted(asked)
    assert (HEAD + TAIL, True) == (here.bytes_read, here.far)


def test_a_small_object_is_read_whole(view: Callable[..., RemoteView], content: bytes, asked: Asked) -> None:
    here = view(WHOLE)
    assert content[1000:WHOLE] == here.read_at(1000, 1 << 30)
    assert ([(0, WHOLE)], False) == (asked, here.far)


def test_of_a_read_across_the_edge_only_the_rest_comes(
    view: Callable[..., RemoteView], content: bytes, asked: Asked
) -> None:
    """As of a long pickle at the beginning, and a long directory at the end."""
    here = view()
    here.read_at(0, 1)
    asked.clear()
    assert content[50 : HEAD + 90_000] == here.read_at(50, HEAD + 90_000 - 50)
    at = len(content) - TAIL
    assert content[at - 80_000 :] == here.read_at(at - 80_000, TAIL + 80_000)
    assert [(HEAD, HEAD + 90_000), (at - 80_000, at)] == asked
    assert content[60_000:150_000] == here.read_at(60_000, 90_000)
    assert 2 == len(asked)


def test_between_two_parts_that_touch_nothing_is_missing(
    view: Callable[..., RemoteView], content: bytes, asked: Asked
) -> None:
    """A server takes a range of no bytes for none at all, and sends the whole object."""
    size = HEAD + 20_000 + TAIL
    here = view(size)
    assert content[HEAD : HEAD + 20_000] == here.read_at(HEAD, 20_000)
    asked.clear()
    here.plan([(HEAD, 30_000)])
    assert content[100 : size - 5] == here.read_at(100, size - 105)
    assert [] == asked


def test_planned_reads_come_together(view: Callable[..., RemoteView], content: bytes, asked: Asked) -> None:
    here = view()
    here.read_at(0, 1)
    asked.clear()
    places = [(300_000, 4), (300_000 + GAP, 4), (300_100, 50), (700_000, 4), (10, 4)]
    here.plan(places)
    assert [(300_000, 300_004 + GAP), (700_000, 700_004)] == sorted(asked)
    for offset, count in places:
        assert content[offset : offset + count] == here.read_at(offset, count)
    assert 2 == len(asked)


def test_a_layout_that_asks_for_a_request_for_each_tensor_is_refused(view: Callable[..., RemoteView]) -> None:
    here = view()
    here.read_at(0, 1)
    with pytest.raises(RemoteError, match="download a copy"):
        for _ in range(100):
            here._blocks = Blocks(0, looked=True)
            here.read_at(500_000, 1)


def test_a_second_look_at_the_same_object_asks_for_nothing(
    view: Callable[..., RemoteView], content: bytes, asked: Asked
) -> None:
    with view() as first:
        first.read_at(0, 1)
    asked.clear()
    with RemoteView(first.path) as second:  # type: ignore[arg-type]
        assert (content[-5:], []) == (second.read_at(len(content) - 5, 5), asked)


def test_an_object_is_read_through_in_large_pieces(
    view: Callable[..., RemoteView], content: bytes, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckpt_doctor.readers.remote_view._PIECE", 300_000)
    here, buffer, at, found = view(), bytearray(1000), 70_000, b""
    while count := here.read_into(memoryview(buffer), at):
        found += buffer[:count]
        at += count
    assert content[70_000:] == found
    assert -(-(len(content) - 70_000) // 300_000) == len(asked)


def test_reading_through_costs_a_piece_at_a_time_and_keeps_none(
    view: Callable[..., RemoteView], content: bytes, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a comparison of very many tensors, byte by byte."""
    monkeypatch.setattr("ckpt_doctor.readers.remote_view._PIECE", 300_000)
    here = view()
    assert content == b"".join(here.read_through(at, 4096) for at in range(0, len(content) + 4096, 4096))
    assert (-(-len(content) // 300_000), []) == (len(asked), here._blocks.raw)
    assert b"" == here.read_through(len(content), 5)


@pytest.mark.parametrize("count", [1, 2, 8, 9, 1000])
def test_of_very_many_small_values_the_first_the_last_and_some_between_are_read(count: int) -> None:
    places = [(number << 20, 4) for number in range(count)]
    chosen = sampled(places, 1 << 40)
    assert min(count, 8) == len(chosen)
    assert {places[0], places[-1]} <= set(chosen) <= set(places)


def test_small_values_near_each_other_are_all_read_within_a_megabyte() -> None:
    near = [(number << 10, 4) for number in range(900)]
    assert [(0, near[-1][0] + 4)] == sampled(near, 1 << 40)
    assert sum(count for _, count in sampled([(number << 16, 4) for number in range(9000)], 1 << 40)) <= 1 << 20


def test_ranges_are_cut_at_the_end_of_the_object() -> None:
    assert [(0, 10), (1 << 20, (1 << 20) + 5)] == merged(
        [(1 << 20, 1 << 30), (0, 10), (1 << 21, 1 << 22)], (1 << 20) + 5
    )
