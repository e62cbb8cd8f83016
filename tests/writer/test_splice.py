"""One stretch of a file is replaced: at the end of an archive, at the program of other containers."""

import json
import os
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert.zip_structures import ALIGNMENT
from ckpt_doctor.types import Adopted, stamp_of
from ckpt_doctor.writer import splice
from tests.writer.sample_files import RECORD, accept, checkpoint_of, edited, load, make, program_of, with_key


@pytest.mark.parametrize("mode", ["replace", "in-place"])
def test_a_zip_keeps_all_its_bytes_and_grows_at_the_end(mode, tmp_path):
    """The old file is a prefix of the new one; the new program begins at a multiple of 64 bytes, as torch aligns."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = path.read_bytes()
    checkpoint, program = edited(path, "torch-zip")
    writer.write(checkpoint, program, RECORD, mode=mode, verify=accept)
    after = path.read_bytes()
    assert before == after[: len(before)]
    now = checkpoint_of(path, "torch-zip")
    assert program == program_of(now)
    assert 0 == now.program.offset % ALIGNMENT


def test_the_record_stays_in_the_zip_for_a_person_to_read(tmp_path):
    """It lies beside the program as JSON, one per migration, infinities as text; `when` is added."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    for number, value in enumerate((float("inf"), 1.5), 1):
        size = path.stat().st_size
        record = {"edits": [{"key": "val_loss_min", "before": value, "after": (1, 2)}]}
        writer.write(*edited(path, "torch-zip"), record, verify=accept)
        with zipfile.ZipFile(path) as archive:
            prefix = archive.namelist()[0].split("/")[0]
            found = json.loads(archive.read(f"{prefix}/.ckpt_doctor/migration-{number}.json"))
        assert [{"key": "val_loss_min", "before": value if value == 1.5 else "inf", "after": [1, 2]}] == found["edits"]
        assert size == found["previous_size"]
        assert "when" in found


def test_a_file_without_a_program_is_refused(tmp_path):
    """safetensors have no pickle: the caller must not get a silent success."""
    path = make(tmp_path / "model.safetensors", "pickle")
    checkpoint = replace(checkpoint_of(path, "pickle"), container="safetensors", program=None)
    with pytest.raises(WriteRefused, match="no program"):
        writer.write(checkpoint, b"\x80\x02}.", RECORD, verify=accept)


def test_programs_may_be_much_longer_or_shorter(container, tmp_path):
    """The rest of the file moves along, however much the length changes."""
    path = make(tmp_path / "checkpoint", container)
    original = load(path, container)
    before = path.read_bytes()
    checkpoint = checkpoint_of(path, container)
    program = program_of(checkpoint)
    for number in range(400):
        program = with_key(program, f"a key of some length, number {number}", 0.5)
    writer.write(checkpoint, program, RECORD, verify=accept)
    assert len(original) + 400 == len(load(path, container))
    short = b"\x80\x02}" + struct.pack("<BI", ord("X"), 5) + b"epochK\x07s."
    writer.write(checkpoint_of(path, container), short, RECORD, verify=accept)
    if container != "torch-legacy":  # whose loader insists on the storages that its second list names
        assert {"epoch": 7} == load(path, container)
    writer.undo(path)
    writer.undo(path)
    assert before == path.read_bytes()


@pytest.mark.parametrize(("start", "length", "data"), [(0, 3, b"ab"), (2, 0, b"abc"), (4, 6, b""), (10, 0, b"end")])
def test_a_splice_replaces_one_stretch_and_keeps_the_rest(start, length, data, tmp_path):
    """Longer, shorter or empty, at the beginning, inside and at the end; a byte that does not read back is found."""
    old = b"0123456789"
    (tmp_path / "old").write_bytes(old)
    found = splice.Splice(start, length, data, appended=False)
    with (tmp_path / "old").open("rb") as source, (tmp_path / "new").open("w+b") as target:
        asked: list[int] = []
        splice.apply_to(source.fileno(), target.fileno(), len(old), found, asked.append)
        new = old[:start] + data + old[start + length :]
        assert new == (tmp_path / "new").read_bytes()
        assert len(new) == found.new_size(len(old))
        assert asked[0] >= len(new) - length
        splice.ensure_applied(target.fileno(), len(old), found)
        os.truncate(target.fileno(), len(new) - 1)
        with pytest.raises(WriteRefused, match="does not read back"):
            splice.ensure_applied(target.fileno(), len(old), found)


def planned(path: Path, container: str, **changed: object) -> splice.Splice:
    checkpoint = checkpoint_of(path, container)
    with path.open("rb") as file:
        return splice.plan(file.fileno(), replace(checkpoint, **changed), b"\x80\x02}.", {})


def test_a_program_that_is_not_where_the_container_says_is_refused(tmp_path):
    """Better than a file with two programs, of which readers take one or the other."""
    path = make(tmp_path / "a.pt", "torch-zip")
    program = checkpoint_of(path, "torch-zip").program
    with pytest.raises(WriteRefused, match=r"no record other/data\.pkl"):
        planned(path, "torch-zip", program=replace(program, record="other/data.pkl"))
    path = make(tmp_path / "a.tar", "torch-tar")
    program = checkpoint_of(path, "torch-tar").program
    with pytest.raises(WriteRefused, match="the tar header says"):
        planned(path, "torch-tar", program=replace(program, length=program.length + 1))
    with pytest.raises(WriteRefused, match="does not parse"):
        planned(path, "torch-tar", program=replace(program, offset=program.offset + 1))


def test_tensors_are_added_to_an_archive_alone_and_only_while_their_file_is_what_it_was(tmp_path):
    donor = tmp_path / "donor"
    donor.write_bytes(b"0123456789")
    storage = Adopted("7", donor, stamp_of(donor.stat()), 2, 4, None)
    for container in ("torch-legacy", "torch-tar"):
        checkpoint = checkpoint_of(make(tmp_path / container, container), container)
        with checkpoint.path.open("rb") as file, pytest.raises(WriteRefused, match="no tensors can be added"):
            splice.plan(file.fileno(), checkpoint, b"\x80\x02}.", {}, [storage])
    path = make(tmp_path / "a.pt", "torch-zip")
    writer.write(*edited(path, "torch-zip"), RECORD, adopted=[storage], verify=accept)
    with zipfile.ZipFile(path) as archive:
        assert b"2345" == archive.read("a/data/7")
        assert archive.testzip() is None
    before = path.read_bytes()
    donor.write_bytes(b"0123x56789")
    with pytest.raises(WriteRefused, match="is not what it was"):
        writer.write(*edited(path, "torch-zip", "other"), RECORD, adopted=[replace(storage, key="8")], verify=accept)
    assert before == path.read_bytes()


def test_a_record_is_json_for_every_reader():
    """JSON has no infinities, no objects and no keys but texts."""
    record = {"a": [float("inf"), float("nan"), 0.1, None, True], 2: {"b": (b"1", "é")}}
    assert {"a": ["inf", "nan", 0.1, None, True], "2": {"b": ["b'1'", "é"]}} == json.loads(splice.to_json(record))
    assert b"\\udc80" in splice.to_json({"name": "\udc80"})
