"""A zip archive's directory as torch reads it: what another reader would see otherwise is told."""

from __future__ import annotations

import struct
import zipfile

import pytest
import torch

from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.zip_directory import read_directory
from tests.readers.attacks import CALL, dangerous
from tests.readers.torch_files import load, save, training
from tests.readers.zip_files import archive, entry_at


def test_a_record_with_two_names(tmp_path):
    """`x/note.txt` in the directory, `x/evil.pkl` at its place: a reader that goes by local headers runs it."""
    path = archive(tmp_path / "a", {"x/data.pkl": b"}.", "x/note.txt": CALL})
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"x/note.txt", b"x/evil.pkl", 1))
    assert ["posix.system"] == dangerous(path)
    assert open_checkpoint(path).is_damaged("name-conflict")


def test_a_record_of_two_sizes(tmp_path):
    """Three bytes by the directory, the whole program by the local header."""
    path = archive(tmp_path / "a", {"x/data.pkl": b"}0" + CALL})
    raw = bytearray(path.read_bytes())
    at = entry_at(raw, b"x/data.pkl")
    raw[at + 20 : at + 28] = struct.pack("<II", 3, 3)
    path.write_bytes(raw)
    assert ["posix.system"] == dangerous(path)


def test_two_directories(tmp_path):
    """One where the end record points, one right before it, where Python's zipfile looks."""
    shown = archive(tmp_path / "a", {"x/data.pkl": b"}." + bytes(200)}).read_bytes()
    evil = archive(tmp_path / "b", {"x/data.pkl": CALL}).read_bytes()
    end, directory, hidden = len(shown) - 22, shown.index(b"PK\x01\x02"), evil.index(b"PK\x01\x02")
    entry = bytearray(evil[hidden:-22])
    entry[42:46] = struct.pack("<I", directory - hidden)  # zipfile adds the distance between the two directories
    path = tmp_path / "both"
    path.write_bytes(shown[:end] + evil[:hidden] + entry + shown[end:])
    with zipfile.ZipFile(path) as seen:
        assert CALL == seen.read("x/data.pkl")
    assert open_checkpoint(path).is_damaged("name-conflict")
    assert ["posix.system"] == dangerous(path)


def test_the_same_name_twice(tmp_path):
    """Whichever of two `data.pkl` a reader takes."""
    for first, second in ((CALL, b"}."), (b"}.", CALL)):
        path = tmp_path / "a"
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as target:
            target.writestr("x/data.pkl", first)
            target.writestr("x/data.pkl", second)
        assert ["posix.system"] == dangerous(path)
        assert open_checkpoint(path).is_damaged("name-conflict")


@pytest.mark.parametrize("field", ["checksum", "encrypted", "strong encryption", "descriptor", "version"])
def test_fields_that_scanners_trip_over(tmp_path, field):
    """A wrong CRC, encryption bits on a stored record, a lying descriptor flag: the program is read all the same."""
    path = archive(tmp_path / "a", {"x/data.pkl": CALL})
    raw = bytearray(path.read_bytes())
    at = entry_at(raw, b"x/data.pkl")
    if field == "checksum":
        raw[at + 16 : at + 20] = b"\xde\xad\xbe\xef"
    elif field == "version":
        raw[at + 6] = 0xFF
    else:
        flag = {"encrypted": 1, "strong encryption": 0x40, "descriptor": 8}[field]
        for place in (at + 8, raw.index(b"PK\x03\x04") + 6):
            raw[place] |= flag
    path.write_bytes(raw)
    assert ["posix.system"] == dangerous(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_deflated_program_and_zip64(tmp_path, compression):
    """`data.pkl` compressed, and its sizes in zip64 fields."""
    path = tmp_path / "a"
    with zipfile.ZipFile(path, "w", compression) as target, target.open("x/data.pkl", "w", force_zip64=True) as record:
        record.write(CALL)
    assert ["posix.system"] == dangerous(path)
    raw = bytearray(path.read_bytes())
    at = entry_at(raw, b"x/data.pkl")
    extra = struct.pack("<HHQ", 1, 8, len(CALL))  # the directory says "see zip64" for the size, and there it is
    raw[at + 24 : at + 28] = b"\xff\xff\xff\xff"
    raw[at + 30 : at + 32] = struct.pack("<H", len(extra))
    raw[at + 46 + len("x/data.pkl") : at + 46 + len("x/data.pkl")] = extra
    end = raw.rindex(b"PK\x05\x06")
    size = struct.unpack_from("<I", raw, end + 12)[0]
    raw[end + 12 : end + 16] = struct.pack("<I", size + len(extra))
    path.write_bytes(raw)
    assert ["posix.system"] == dangerous(path)


def test_names_that_differ_between_header_and_directory(tmp_path):
    """A record called data/0 in one place and data.pkl in the other; encryption bits; both are told."""
    raw = save(tmp_path / "a", {"w": torch.zeros(2)}).read_bytes()
    conflict = tmp_path / "b"
    conflict.write_bytes(raw.replace(b"a/data/0", b"a/evil/0", 1))
    assert any("evil" in d.message for d in open_checkpoint(conflict).damage if d.kind == "name-conflict")
    at = raw.rindex(b"PK\x01\x02")
    locked = tmp_path / "c"
    locked.write_bytes(raw[: at + 8] + b"\x01" + raw[at + 9 :])
    assert any("encrypted" in d.message for d in open_checkpoint(locked).damage if d.kind == "name-conflict")


def test_folder_entries_are_no_records(tmp_path):
    """`zip -r` writes one for every folder."""
    source = save(tmp_path / "a", training())
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "b", "w") as new:
        for folder in ("a/", "a/data/"):
            new.writestr(folder, "")
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert not [d for d in open_checkpoint(tmp_path / "b").damage if d.kind != "not-weights-only"]


@pytest.mark.parametrize("byte", [22, 23, 27])
def test_sizes_of_a_deflated_record_that_cannot_be(tmp_path, byte):
    """Compressed it reaches beyond the file, or so few bytes never become so many. torch goes by the directory."""
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "a")
    raw = bytearray((tmp_path / "a").read_bytes())
    entry = next(at for at in range(len(raw)) if raw[at : at + 4] == b"PK\x01\x02" and raw[at + 10] == 8)
    raw[entry + byte] ^= 1
    (tmp_path / "a").write_bytes(raw)
    with pytest.raises(RuntimeError):
        torch.jit.load(tmp_path / "a")
    assert open_checkpoint(tmp_path / "a").is_damaged("missing-record", "name-conflict")


def test_between_large_records_only_the_headers_are_read(tmp_path):
    """As in an optimizer's file, where a step of a few bytes stands before each pair of moments."""
    pairs = 100
    records = {f"x/data/{i}": bytes(1 << 17 if i % 2 else 4) for i in range(2 * pairs)}
    path = archive(tmp_path / "a", {"x/data.pkl": b"}.", **records, "x/version": b"3\n"})
    with FileView(path) as view:
        directory = read_directory(view.read_at, view.size)
        assert all(entry.data > entry.header for entry in directory.entries)
        assert view.bytes_read < 500 * pairs


@pytest.mark.parametrize("numbers", [3, 5000])
def test_the_head_of_a_save_over_an_older_one(tmp_path, numbers):
    """A copy over an older file that broke off: names and sizes fit, the checksums behind the new records do not."""
    older, newer = (
        save(tmp_path / "a", {"w": torch.randn(numbers), "x": torch.randn(numbers)}).read_bytes() for _ in range(2)
    )
    path = tmp_path / "a"
    half = older.index(b"a/data/1")
    for mixed, found in ((newer[:half] + older[half:], [("name-conflict", "a/data/0")]), (newer, [])):
        path.write_bytes(mixed)
        assert load(path).keys() == {"w", "x"}
        assert found == [(damage.kind, damage.where) for damage in open_checkpoint(path).damage]


def test_a_header_whose_extra_field_reaches_beyond_the_end(tmp_path):
    """The record's bytes begin behind it: torch refuses to read them."""
    path = save(tmp_path / "a", {"w": torch.zeros(3)})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"a/data/0") - 1] ^= 0x80
    path.write_bytes(raw)
    with pytest.raises(RuntimeError):
        load(path)
    assert open_checkpoint(path).is_damaged("missing-record")
