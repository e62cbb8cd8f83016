"""Where the records of a torch archive begin, without its local headers."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.inert.zip_structures import Directory
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.torch_legacy import open_legacy
from ckpt_doctor.readers.zip_directory import read_directory
from tests.remote.web import Web, serving


@pytest.fixture
def web() -> Iterator[Web]:
    """A web server on loopback."""
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    with serving() as server:
        yield server


class NothingHere:
    """A view in which no header is at hand, and that says which were asked for."""

    def __init__(self) -> None:
        self.planned: list[tuple[int, int]] = []

    def has(self, *_: int) -> bool:
        return False

    def plan(self, ranges: Any) -> None:
        self.planned += ranges


def directories(raw: bytes) -> tuple[Directory, Directory, list[tuple[int, int]]]:
    """The directory by its local headers, the one by arithmetic, and the headers that this still needed."""

    def read_at(offset: int, count: int) -> bytes:
        return raw[offset : offset + count]

    far = NothingHere()
    return read_directory(read_at, len(raw)), read_directory(read_at, len(raw), far), far.planned


def training() -> Any:
    model = torch.nn.Sequential(*(torch.nn.Linear(n, 7) for n in (3, 7, 7)))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3)).sum().backward()
    optimizer.step()
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def zipped(count: int) -> bytes:
    """So many records, as Python's library writes them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            archive.writestr(f"x/data/{number}", bytes(100 + number))
    return file.getvalue()


def test_records_begin_where_their_headers_say() -> None:
    near, far, asked = directories(saved(training()))
    assert near.entries == far.entries
    assert (0, len(near.entries)) == (len(asked), far.unread)


def test_of_an_archive_that_torch_did_not_write_the_headers_are_read() -> None:
    """Whatever stands between the records."""
    near, far, asked = directories(zipped(9))
    assert near.entries == far.entries
    assert (9, 0) == (len(asked), far.unread)


def test_of_very_many_headers_that_would_have_to_be_read_most_are_left_out() -> None:
    near, far, asked = directories(zipped(99))
    assert (32, 67) == (len(asked), far.unread)
    assert all(one.data in (-1, other.data) for one, other in zip(far.entries, near.entries, strict=True))


def test_a_header_that_disagrees_is_not_seen_and_said_to_be_unread(web: Web, tmp_path: Path) -> None:
    """Never silent: what a copy would show is listed as not checked."""
    content = {"w": [torch.zeros(100_000) for _ in range(4)]}
    raw = bytearray(saved(content))
    at = raw.index(b"PK\x03\x04", raw.index(b"data/1"))
    raw[at + 30] ^= 1
    (tmp_path / "model.pt").write_bytes(raw)
    assert open_checkpoint(tmp_path / "model.pt").is_damaged("name-conflict")
    far = open_checkpoint(web.put("model.pt", bytes(raw)))
    assert () == far.damage
    assert "whether local headers agree with the directory" in [item.what for item in far.not_checked]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_large_checkpoint_is_read_alike_from_afar(web: Web, tmp_path: Path, zipped: bool) -> None:
    """The same tree, tensors and places, in few requests."""
    content = training() | {"more": [torch.full((50_000,), float(n)) for n in range(6)], "last": torch.tensor(3.0)}
    raw = saved(content, _use_new_zipfile_serialization=zipped)
    (tmp_path / "model.pt").write_bytes(raw)
    near, far = open_checkpoint(tmp_path / "model.pt"), open_checkpoint(web.put("model.pt", raw))
    assert near.tensors == far.tensors
    assert (near.damage, near.checksums, near.program) == (far.damage, far.checksums, far.program)
    assert (2, True) == (len(web.asked), web.sent < len(raw) // 4)
    assert far.not_checked


def test_a_stream_whose_lengths_do_not_fit_is_followed(web: Web, tmp_path: Path) -> None:
    """As one that is cut off, in the middle of its tensors."""
    raw = saved([torch.zeros(100_000), torch.ones(100_000)], _use_new_zipfile_serialization=False)[:-1000]
    (tmp_path / "model.pt").write_bytes(raw)
    with FileView(tmp_path / "model.pt") as view:
        near = open_legacy(view)
    assert near.is_damaged("truncated-archive")
    assert near.damage == open_checkpoint(web.put("model.pt", raw)).damage


def test_an_archive_that_is_cut_off_is_said_to_be(web: Web) -> None:
    raw = saved([torch.zeros(100_000), torch.ones(100_000)])[:-90_000]
    far = open_checkpoint(web.put("model.pt", raw))
    assert ["truncated-archive"] == [damage.kind for damage in far.damage]
    assert "how many tensors are complete" in [item.what for item in far.not_checked]
    assert len(web.asked) <= 4


def test_thirty_gigabytes_cost_three_requests(web: Web, tmp_path: Path) -> None:
    """With zip64 records, as torch itself writes them; the file is a hole but for its ends."""
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode(), torch.serialization.skip_data(materialize_fake_tensors=True):
        model = {f"layers.{n}": torch.empty(4096, 12288) for n in range(160)}
        state = {n: {"step": torch.tensor(5.0), "exp_avg": torch.empty(16, 16)} for n in range(160)}
        torch.save({"model": model, "optimizer": {"state": state, "param_groups": []}}, tmp_path / "big.pt")
    size = (tmp_path / "big.pt").stat().st_size
    near, far = open_checkpoint(tmp_path / "big.pt"), open_checkpoint(web.put("big.pt", tmp_path / "big.pt"))
    assert size > 30 << 30
    assert near.tensors == far.tensors
    assert (2, True) == (len(web.asked), web.sent <= 131 << 10)


def test_a_report_says_that_a_local_copy_would_show_more(web: Web) -> None:
    """Also where nothing is wrong."""
    url = web.put("model.pt", saved({"w": [torch.zeros(100_000) for _ in range(4)]}))
    assert "what only a local copy shows (-v)" in " ".join(str(scan([url])).split())
