"""The records of an archive: their bytes within limits, and every pickle among them."""

from __future__ import annotations

import string
import struct
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.deep import deep_check
from tests.readers.attacks import CALL, CALLS, dangerous
from tests.readers.torch_files import load, rezip, save


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_records_in_a_compression_that_torch_does_not_know(tmp_path, method):
    """Other zip programs read them, torch.load raises."""
    path = rezip(save(tmp_path / "a", {"w": torch.ones(300)}), tmp_path / "b", compression=method)
    with pytest.raises(RuntimeError):
        load(path)
    assert open_checkpoint(path).is_damaged("missing-record")


NAMES = ["a/x.pickle", "a/x.joblib", "a/x.bin", "a/extra/x", "x", "a/data/99", "a/code/x.py", "a/.data/0.storage"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_pickle_is_one_whatever_it_is_called(tmp_path, method):
    """With and without PROTO, behind a long string, in a torch archive and in any other."""
    programs = [CALL, CALLS["stack global"], b"\x80\x04B" + struct.pack("<I", 70_000) + bytes(70_000) + b"0" + CALL]
    for program in programs:
        for name in NAMES:
            path = rezip(save(tmp_path / "a", {"w": torch.zeros(2)}), tmp_path / "b")
            for target, mode in ((path, "a"), (tmp_path / "c.zip", "w")):
                with zipfile.ZipFile(target, mode, method) as writer:
                    writer.writestr(name, program)
                assert ["posix.system"] == dangerous(target), (name, target)


def test_a_tensor_is_not_taken_for_a_pickle(tmp_path):
    """What the checkpoint's own pickle takes for numbers nothing unpickles."""
    path = save(tmp_path / "a", {"w": torch.frombuffer(bytearray(CALLS["stack global"]), dtype=torch.uint8).clone()})
    assert () == open_checkpoint(path).damage


def test_looking_for_pickles_has_an_end(tmp_path, monkeypatch):
    """Records that promise long strings are read up to a bound for all of them together, and the rest is said."""
    path = rezip(save(tmp_path / "a", {"w": torch.zeros(2)}), tmp_path / "b")
    with zipfile.ZipFile(path, "a") as writer:
        for index in range(10):
            writer.writestr(f"a/extra/{index}", b"T\xff\xff\xff\x7f" + bytes(100_000))
    assert () == open_checkpoint(path).damage
    monkeypatch.setattr(limits, "MAX_UNLISTED_BYTES", 300_000)
    checkpoint = open_checkpoint(path)
    assert checkpoint.is_damaged("limit-exceeded")
    assert checkpoint.bytes_read < 2_000_000


def test_overlapping_records_are_read_once(tmp_path):
    """Five thousand directory entries for one place."""
    data, first = b"\x80\x02" + b"N0" * 50_000 + b"}.", b"a/data.pkl"
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, len(data), len(data), len(first), 0) + first + data
    entries = b""
    for index in range(5_000):
        named = first if index == 0 else b"a/%d.pkl" % index
        fields = (20, 20, 0, 0, 0, 0, 0, len(data), len(data), len(named), 0, 0, 0, 0, 0, 0)
        entries += struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields) + named
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 5_000, 5_000, len(entries), len(local), 0)
    path = tmp_path / "a"
    path.write_bytes(local + entries + end)
    assert open_checkpoint(path).bytes_read < 100 * len(data)


def test_pickles_under_other_names(tmp_path):
    """A second pickle in the archive, and one whose name differs only in case, which torch would take too."""
    source = save(tmp_path / "a", {"w": torch.zeros(2)})
    for name in ("a/other.pkl", "a/DATA.PKL"):
        target = rezip(source, tmp_path / "b")
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr(name, CALLS["plain"])
        assert ["posix.system"] == dangerous(target)


def test_zip_bombs(tmp_path):
    """A pickle that inflates a thousandfold, a directory of a billion entries, terabytes declared."""
    path = tmp_path / "bomb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"}." + bytes(limits.MAX_INFLATED))
    assert open_checkpoint(path).is_damaged("limit-exceeded")
    raw = save(tmp_path / "a", {"w": torch.zeros(2)}).read_bytes()
    at = raw.rindex(b"PK\x06\x06")
    path.write_bytes(raw[: at + 24] + struct.pack("<QQ", 1 << 40, 1 << 40) + raw[at + 40 :])
    assert open_checkpoint(path).is_damaged("truncated-archive")
    at = raw.rindex(b"PK\x01\x02")
    path.write_bytes(raw[: at + 20] + struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0) + raw[at + 28 :])
    deep_check(open_checkpoint(path))


@settings(max_examples=100)
@given(st.text(string.ascii_letters + string.digits, min_size=1, max_size=64))
def test_a_word_names_nothing(word: str) -> None:
    """So a small record of letters and digits alone is not read as a pickle."""
    reading = read(word.encode())
    assert {} == reading.globals == reading.calls
