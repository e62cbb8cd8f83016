"""Records that no directory lists: dead programs, records between and behind the others."""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import pytest
import torch

from ckpt_doctor.inert import limits
from ckpt_doctor.readers import open_checkpoint, zip_unlisted
from tests.readers.attacks import CALL, Payload, dangerous
from tests.readers.torch_files import save
from tests.readers.zip_files import appended, archive, local_record


def test_a_dead_program_comes_back_with_a_cut(tmp_path, canary):
    """Harmless to torch.load now; cut at its old end it is the attack again."""
    path = save(tmp_path / "a", {"w": torch.ones(2), "x": Payload(canary)})
    raw = path.read_bytes()
    path.write_bytes(appended(raw, pickle.dumps({"epoch": 1}, 2)))
    assert {"epoch": 1} == torch.load(path, weights_only=True)
    assert ["posix.system"] == dangerous(path)
    assert open_checkpoint(path).is_damaged("name-conflict")


def test_what_a_migration_leaves_behind_is_no_finding(tmp_path):
    """The dead program names numpy, and the living one no longer does: only the living one is judged for it."""
    value = {"w": torch.ones(2), "best_score": np.float64(-0.5)}
    path = save(tmp_path / "a", value)
    assert open_checkpoint(path).is_damaged("not-weights-only")
    path.write_bytes(appended(path.read_bytes(), pickle.dumps({"best_score": -0.5}, 2)))
    assert () == open_checkpoint(path).damage
    assert () == open_checkpoint(path).globals


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("method", [0, 8])
def test_a_record_between_the_listed_ones(tmp_path, method, sized):
    """Behind the last record, behind the end record, and in a numpy archive, stored or deflated."""
    hidden = local_record(b"x/evil.pkl", CALL, method, sized=sized)
    raw = archive(tmp_path / "zip", {"x/data.pkl": b"}.", "x/note.txt": b"?"}).read_bytes()
    directory = raw.index(b"PK\x01\x02")
    end = bytearray(raw[directory:])
    at = end.rindex(b"PK\x05\x06") + 16
    end[at : at + 4] = struct.pack("<I", directory + len(hidden))
    for name, content in {"before": raw[:directory] + hidden + end, "behind": raw + hidden}.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert ["posix.system"] == dangerous(path), name
        path.write_bytes(content.replace(b"x/evil.pkl", b"x/weights1"))
        assert ["posix.system"] == dangerous(path), name


def test_an_array_of_objects_between_the_listed_records(tmp_path, canary):
    """The same for what `numpy.load(allow_pickle=True)` takes."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload(canary)], dtype=object), allow_pickle=True)
    raw = archive(tmp_path / "zip", {"x/data.pkl": b"}."}).read_bytes()
    (tmp_path / "a").write_bytes(raw + local_record(b"x/evil.npy", buffer.getvalue()))
    assert ["posix.system"] == dangerous(tmp_path / "a")


def test_a_record_of_an_archive_without_end(tmp_path):
    """No directory at all: the records are those of the local headers."""
    raw = save(tmp_path / "whole", {"w": torch.ones(2)}).read_bytes()
    first = raw.index(b"PK\x03\x04", 4)
    path = tmp_path / "a"
    path.write_bytes(raw[:first] + local_record(b"whole/evil.pkl", CALL) + raw[first : raw.index(b"PK\x01\x02")])
    assert ["posix.system"] == dangerous(path)
    assert open_checkpoint(path).is_damaged("truncated-archive")


def test_headers_that_overlap_cost_no_more_than_the_file(tmp_path):
    """A thousand headers whose extra fields lead to one long pickle: each would have it read again."""
    header = struct.Struct("<4s5H3I2H4s")
    headers = [header.pack(b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 4, 34 * left, b".pkl") for left in range(1000)]
    hidden = b"".join(reversed(headers)) + b"N0" * 50_000
    raw = archive(tmp_path / "zip", {"x/data.pkl": b"}."}).read_bytes()
    directory = raw.index(b"PK\x01\x02")
    end = bytearray(raw[directory:])
    at = end.rindex(b"PK\x05\x06") + 16
    end[at : at + 4] = struct.pack("<I", directory + len(hidden))
    path = tmp_path / "a"
    path.write_bytes(raw[:directory] + hidden + end)
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        real = zip_unlisted.read_disguised
        patch.setattr(zip_unlisted, "read_disguised", lambda *args: seen.append(1) or real(*args))
        assert open_checkpoint(path).is_damaged("limit-exceeded")
    assert len(seen) < 10


def test_more_unlisted_bytes_than_are_searched(tmp_path, monkeypatch):
    """Said, not passed over."""
    raw = archive(tmp_path / "zip", {"x/data.pkl": b"}.", "x/version": b"3"}).read_bytes()
    path = tmp_path / "a"
    path.write_bytes(raw + bytes(1000))
    assert () == open_checkpoint(path).damage
    monkeypatch.setattr(limits, "MAX_UNLISTED_BYTES", 999)
    assert open_checkpoint(path).is_damaged("limit-exceeded")
