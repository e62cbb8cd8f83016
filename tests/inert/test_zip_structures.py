"""The structures of a zip archive: what is written here other programs read, and the other way round."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import pytest

from ckpt_doctor.inert import zip_structures as zips

RECORDS = {b"a/data.pkl": b"}.", "a/ü".encode(): b"x" * 100, b"a/data/0": b"", b"a/version": b"3\n"}


def reading(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, count: data[offset : offset + count] if offset >= 0 else b""


def written(comment: bytes = b"") -> bytes:
    """An archive of stored records, built of these structures alone."""
    body, directory = b"", b""
    for name, data in RECORDS.items():
        about = (name, len(data), zlib.crc32(data), len(body))
        directory += zips.central_entry(*about)
        body += zips.local_header(*about) + data
    return body + directory + zips.end_records(len(RECORDS), len(directory), len(body), comment)


def entries(data: bytes) -> list[zips.Entry]:
    end = zips.find_end(reading(data), len(data))
    return list(zips.central_entries(data[end.offset : end.offset + end.length]))


def test_what_is_written_pythons_zipfile_reads() -> None:
    """Names, bytes and checksums; the bytes of every record lie aligned, as torch's do."""
    with zipfile.ZipFile(io.BytesIO(written(b"a note"))) as archive:
        assert {name.decode(): data for name, data in RECORDS.items()} == {
            n: archive.read(n) for n in archive.namelist()
        }
        assert archive.testzip() is None and b"a note" == archive.comment
        for info in archive.infolist():
            extra = struct.unpack_from("<H", written(), info.header_offset + 28)[0]
            assert 0 == (info.header_offset + 30 + len(info.filename.encode()) + extra) % zips.ALIGNMENT


def test_what_pythons_zipfile_writes_is_read() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"a note"
        for name, data in RECORDS.items():
            archive.writestr(name.decode(), data)
        infos = archive.infolist()
    expected = [(i.filename, i.compress_type, i.CRC, i.compress_size, i.file_size, i.header_offset) for i in infos]
    found = entries(made.getvalue())
    assert expected == [(e.name, e.method, e.crc, e.compressed, e.size, e.header) for e in found]
    end = zips.find_end(reading(made.getvalue()), len(made.getvalue()))
    assert (len(b"a note"), len(infos), True, 0) == (end.comment_length, end.count, end.sound, end.shift)


def test_sizes_beyond_32_bits_are_those_of_the_extra_field() -> None:
    """A record at 5 GiB; one whose two sizes are that large. Other extra fields are passed over."""
    (far,) = zips.central_entries(zips.central_entry(b"w", 3, 7, 5 << 30))
    assert (5 << 30, 3) == (far.header, far.size)
    wide = bytearray(zips.central_entry(b"w", 3, 7, 9))
    extra = struct.pack("<HH2s", 0x5455, 2, b"??") + struct.pack("<HHQQ", 1, 16, 6 << 30, 5 << 30)
    struct.pack_into("<II", wide, 20, zips.MOST_32, zips.MOST_32)
    struct.pack_into("<H", wide, 30, len(extra))
    (large,) = zips.central_entries(bytes(wide) + extra)
    assert (6 << 30, 5 << 30, 9) == (large.size, large.compressed, large.header)


def test_an_archive_behind_other_data_is_found_with_its_shift() -> None:
    """Its zip64 record is not where the locator says, but right before it."""
    end = zips.find_end(reading(b"GIF89a" + written()), 6 + len(written()))
    assert (6, True, len(RECORDS)) == (end.shift, end.elsewhere, end.count)
    assert not zips.find_end(reading(written()), len(written())).elsewhere


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06", b"PK\x05\x06" + bytes(17), bytes(70_000), b"PK\x05" * 30])
def test_what_has_no_end_record_has_no_directory(data: bytes) -> None:
    with pytest.raises(zips.DirectoryError, match="no end record"):
        zips.find_end(reading(data), len(data))


def test_a_cut_directory_gives_its_whole_entries_and_an_error() -> None:
    """At every length: never an entry that is not there, never another exception."""
    raw = b"".join(zips.central_entry(name, len(data), 0, 0) for name, data in RECORDS.items())
    ends = [len(b"".join(zips.central_entry(n, 0, 0, 0) for n in list(RECORDS)[:i])) for i in range(len(RECORDS) + 1)]
    for length in range(len(raw) + 1):
        found = []
        try:
            found.extend(entry.name.encode() for entry in zips.central_entries(raw[:length]))
            whole = True
        except zips.DirectoryError:
            whole = False
        assert whole == (length in ends)
        assert list(RECORDS)[: len(found)] == found


def test_names_are_utf_8_where_the_archive_says_so() -> None:
    """Else they are of code page 437; bytes that are no UTF-8 stay visible."""
    assert "ü" == zips.decoded("ü".encode(), zips.UTF8)
    assert b"\x81".decode("cp437") == zips.decoded(b"\x81", 0)
    assert r"a\xff" == zips.decoded(b"a\xff", zips.UTF8)
