"""Checkpoints inside others: as bytes of a pickle, behind a file of another kind, in each other."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch

from ckpt_doctor.readers import open_checkpoint
from tests.readers.attacks import CALL, INNER, Payload, call, dangerous
from tests.readers.torch_files import save
from tests.readers.zip_files import appended, archive


@pytest.mark.parametrize("front", [b"GIF89a" + bytes(99), b"#!/bin/sh\nexit 0\n", pickle.dumps({"a": 1}, 2), bytes(50)])
def test_an_archive_behind_something_else(tmp_path, front):
    """An image, a script, a pickle, zeros in front: readers that look for the end record find the archive."""
    path = tmp_path / "a"
    path.write_bytes(front + archive(tmp_path / "zip", {"x/data.pkl": CALL}).read_bytes())
    assert zipfile.is_zipfile(path)
    assert ["posix.system"] == dangerous(path)


def test_an_archive_behind_safetensors_and_a_legacy_stream(tmp_path):
    """The same behind whole checkpoints."""
    from safetensors.torch import save as save_safetensors

    hidden = archive(tmp_path / "zip", {"x/data.pkl": CALL}).read_bytes()
    for front in (
        save_safetensors({"a": torch.zeros(3)}),
        save(tmp_path / "b", {"w": torch.ones(2)}, False).read_bytes(),
    ):
        (tmp_path / "a").write_bytes(front + hidden)
        assert ["posix.system"] == dangerous(tmp_path / "a")


def test_archives_held_as_bytes_are_no_attack(tmp_path):
    """A healthy pickle that keeps a whole archive as bytes."""
    inner = save(tmp_path / "inner", {"w": torch.ones(3)}).read_bytes()
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"saved": inner}, 4))
    assert () == open_checkpoint(path).damage


def test_a_record_of_an_archive_inside_a_pickle(tmp_path):
    """`torch.storage._load_from_bytes` of an archive with a dead program."""
    evil = archive(tmp_path / "zip", {"x/data.pkl": CALL}).read_bytes()
    inner = appended(evil, b"}.")

    class Outer:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (inner,)

    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"x": Outer()}, 4))
    assert ["posix.system"] == dangerous(path)


def test_an_archive_inside_a_pickle(tmp_path, canary):
    """`torch.storage._load_from_bytes` of a whole archive, which is loaded without restriction."""
    buffer = io.BytesIO()
    torch.save({"x": Payload(canary)}, buffer)

    class Outer:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (buffer.getvalue(),)

    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(OrderedDict(a=Outer()), 4))
    assert ["posix.system"] == dangerous(path)


def test_bytes_that_can_be_changed_are_looked_into_as_well(tmp_path):
    """BYTEARRAY8 in the place of BINBYTES."""
    path = tmp_path / "a"
    raw = b"\x96" + struct.pack("<Q", len(INNER)) + INNER
    path.write_bytes(b"\x80\x05" + call("torch.storage", "_load_from_bytes", raw) + b".")
    assert "posix.system" in {str(found) for found in open_checkpoint(path).globals}


def test_an_archive_of_torch_behind_something_else(tmp_path):
    """Its zip64 record is not where the locator says; Python's zipfile finds it all the same."""
    save(tmp_path / "whole", {"w": torch.ones(2)})
    raw = (tmp_path / "whole").read_bytes()
    program = next(i for i in zipfile.ZipFile(tmp_path / "whole").infolist() if i.filename.endswith("data.pkl"))
    start = raw.index(b"\x80\x02")
    evil = CALL.ljust(program.file_size, b".")
    (tmp_path / "a").write_bytes(b"GIF89a" + bytes(99) + raw[:start] + evil + raw[start + len(evil) :])
    assert zipfile.is_zipfile(tmp_path / "a")
    assert "posix.system" in {str(found) for found in open_checkpoint(tmp_path / "a").globals}


def test_checkpoints_inside_checkpoints(tmp_path):
    """A stream in a pickle in a stream, and so on: followed to a limit, then said."""
    program = b"}."
    for _ in range(12):
        program = b"\x80\x04ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(program)) + program + b"\x85R."
    path = tmp_path / "nested"
    path.write_bytes(program)
    assert open_checkpoint(path).is_damaged("limit-exceeded")


def test_damage_in_the_streams_inside_a_pickle(tmp_path):
    """A bare pickle holds each tensor as a stream of its own; what would raise in there is told."""
    raw = pickle.dumps({"w": torch.arange(6.0)}, 4)
    (tmp_path / "whole.pkl").write_bytes(raw)
    assert () == open_checkpoint(tmp_path / "whole.pkl").damage
    place = raw.index(bytes.fromhex("6cfc9c46f9206aa85019"))
    keys = raw.rindex(b"]q\x00")
    for at in (place, place + 15, keys, keys + 10):
        changed = bytearray(raw)
        changed[at] ^= 1
        (tmp_path / "b.pkl").write_bytes(changed)
        with pytest.raises(Exception):  # noqa: B017 (torch raises many)
            pickle.loads(changed)
        assert open_checkpoint(tmp_path / "b.pkl").damage, at
