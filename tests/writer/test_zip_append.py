"""The new end of a zip file, against Python's zipfile and PyTorch's reader as oracles."""

import io
import os
import struct
import zipfile
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert.zip_structures import ALIGNMENT
from ckpt_doctor.writer.zip_append import build_tail, read_directory, read_record
from tests.writer.sample_files import checkpoint_of, edited, program_of

names = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\"), min_size=1, max_size=30)


def as_fd(data: bytes, tmp_path_factory) -> int:
    """An open file with these bytes."""
    path = tmp_path_factory.mktemp("zip") / "file"
    path.write_bytes(data)
    return os.open(path, os.O_RDONLY)


def archive_of(records: dict[str, bytes], comment: bytes = b"") -> bytes:
    """A stored zip as Python writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = comment
        for name, data in records.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@settings(max_examples=60)
@given(
    st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=6),
    st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=4),
    st.binary(max_size=30).filter(lambda comment: b"PK\5\6" not in comment),
)
def test_other_readers_see_replaced_added_and_untouched_records(tmp_path_factory, old, new, comment):
    """zipfile reads all records with right checksums; the first keeps its place; the comment stays; ours agrees."""
    before = archive_of(old, comment)
    fd = as_fd(before, tmp_path_factory)
    after = before + build_tail(read_directory(fd, len(before)), new)
    os.close(fd)
    with zipfile.ZipFile(io.BytesIO(after)) as archive:
        assert archive.testzip() is None
        assert {**old, **new} == {name: archive.read(name) for name in archive.namelist()}
        assert next(iter(old)) == archive.namelist()[0]
        assert comment == archive.comment
        local = [struct.unpack_from("<HH", after, info.header_offset + 26) for info in archive.infolist()]
        starts = {
            info.filename: info.header_offset + 30 + sum(two)
            for info, two in zip(archive.infolist(), local, strict=True)
        }
    fd = as_fd(after, tmp_path_factory)
    directory = read_directory(fd, len(after))
    assert {**old, **new} == {entry.name: read_record(fd, entry) for entry in directory.entries}
    os.close(fd)
    assert {0} == {starts[name] % ALIGNMENT for name in new}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-30], "no end record"),
        (lambda data: data + b"after the end", "not at the end"),
        (lambda data: b"#!before" + data, "not where its end record says"),
        (lambda data: data.replace(b"PK\1\2", b"PK\1\3", 1), "does not parse"),
        (lambda data: data[:-14] + b"\7\0\7\0" + data[-10:], "lists 2 records, its end record 7"),
        (lambda data: data[:-18] + b"\1\0\1\0" + data[-14:], "one volume of several"),
        (lambda data: b"", "no end record"),
    ],
)
def test_an_archive_that_cannot_be_extended_is_refused(tmp_path_factory, damage, reason):
    """Better than a file of which one reader sees the old program and another the new one."""
    data = damage(archive_of({"a/data.pkl": b"1", "a/version": b"3"}))
    fd = as_fd(data, tmp_path_factory)
    with pytest.raises(WriteRefused, match=reason):
        read_directory(fd, len(data))
    os.close(fd)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_records_of_one_name_are_refused(tmp_path_factory):
    """Readers disagree on which of them counts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", b"1")
        archive.writestr("a/data.pkl", b"2")
    fd = as_fd(buffer.getvalue(), tmp_path_factory)
    with pytest.raises(WriteRefused, match="two records of the same name"):
        build_tail(read_directory(fd, len(buffer.getvalue())), {"a/data.pkl": b"3"})
    os.close(fd)


def test_a_record_that_does_not_fit_its_checksum_is_not_read(tmp_path_factory):
    """Undo trusts the sizes in a migration's record only when the record is intact."""
    data = archive_of({"a/record": b"previous"})
    fd = as_fd(data.replace(b"previous", b"tampered"), tmp_path_factory)
    (entry,) = read_directory(fd, len(data)).entries
    assert zlib.crc32(b"previous") == entry.crc
    with pytest.raises(WriteRefused, match="checksum"):
        read_record(fd, entry)
    os.close(fd)


@pytest.mark.parametrize("mode", ["replace", "in-place"])
def test_beyond_four_gigabytes_offsets_and_sizes_take_64_bits(mode, tmp_path):
    """A sparse 9.6 GB file from torch itself: one storage over 4 GiB, offsets over 4 GiB; torch and zipfile read it."""
    path = tmp_path / "checkpoint"
    with torch.serialization.skip_data():
        torch.save({"a": torch.empty(1_200_000_000), "b": torch.empty(1_200_000_000), "c": torch.zeros(5)}, path)
    size = path.stat().st_size
    assert size > 2 << 32
    for key in ("best_score", "val_loss_min"):
        writer.write(*edited(path, "torch-zip", key), {"edits": []}, mode=mode, verify=lambda _: None)
    assert program_of(checkpoint_of(path, "torch-zip")).startswith(b"\x80\x02")
    loaded = torch.load(path, mmap=True)
    assert [1_200_000_000, 1_200_000_000, 5] == [loaded[key].numel() for key in "abc"]
    assert [-0.5, -0.5] == [loaded["best_score"], loaded["val_loss_min"]]
    with zipfile.ZipFile(path) as archive, archive.open("checkpoint/.ckpt_doctor/migration-2.json") as record:
        assert record.read().startswith(b"{")
    for _ in range(2):
        writer.undo(path, in_place=mode == "in-place")
    assert size == path.stat().st_size
    assert path.stat().st_blocks * 512 < 1_000_000


@pytest.mark.long
def test_more_records_than_16_bits_count(tmp_path):
    """65,536 records and more stand in the zip64 end record alone."""
    path = tmp_path / "checkpoint"
    torch.save({"w": [torch.zeros(1) for _ in range(66_000)]}, path)
    before = path.read_bytes()
    writer.write(*edited(path, "torch-zip"), {"edits": []}, verify=lambda _: None)
    assert 66_000 == len(torch.load(path)["w"])
    assert -0.5 == torch.load(path)["best_score"]
    writer.undo(path)
    assert before == path.read_bytes()
