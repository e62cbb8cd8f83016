"""The deep check finds every flipped bit and every NaN, and says what it could not look at."""

from __future__ import annotations

import os
import random
import zipfile

import pytest
import torch
from torch.testing._internal.two_tensor import TwoTensor

from ckpt_doctor.readers import deep as deep_module
from ckpt_doctor.readers import open_checkpoint, regions
from ckpt_doctor.readers.deep import deep_check
from tests.readers.torch_files import rezip, save, training
from tests.validators import spoiling


def deep(path):
    """The deep result of a file."""
    return deep_check(open_checkpoint(path)).deep


def test_every_flipped_bit_is_found(tmp_path):
    """Wherever in a record a bit flips, that record is named, with its tensors."""
    path = save(tmp_path / "a", training())
    assert ((), {}) == (deep(path).damage, deep(path).non_finite)
    raw = path.read_bytes()
    names = {tensor.storage.key: tensor.name for tensor in open_checkpoint(path).tensors}
    regions = [(t.storage.offset, t.storage.nbytes, t.storage.key) for t in open_checkpoint(path).tensors]
    rng = random.Random(1)
    for offset, nbytes, key in regions:
        changed = bytearray(raw)
        changed[offset + rng.randrange(nbytes)] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        (damage,) = deep(path).damage
        assert ("corrupt-record", f"a/data/{key}") == (damage.kind, damage.where)
        assert names[key] in damage.message


@pytest.mark.parametrize(
    ("record", "kind", "says"),
    [
        ("data.pkl", "corrupt-record", "the description of all tensors is not what was saved"),
        ("byteorder", "corrupt-record", "the record a/byteorder is not what was saved. No tensor is affected"),
        ("version", "corrupt-note", "the record a/version is not what was saved. No tensor depends on it"),
        (".data/serialization_id", "corrupt-note", "the record a/.data/serialization_id is not what was saved"),
    ],
)
def test_a_record_without_a_tensor_is_named_and_what_hangs_on_it(tmp_path, record, kind, says):
    path = save(tmp_path / "a", training())
    spoiling.overwrite(f"/{record}", lambda data: data[:-1] + bytes([data[-1] ^ 1]))(path)
    (damage,) = deep(path).damage
    assert (kind, f"a/{record}") == (damage.kind, damage.where)
    assert says in damage.message


def test_what_the_file_is_still_good_for(tmp_path):
    """A corrupt optimizer record leaves the weights intact, and the finding says so; one of the model does not."""
    path = save(tmp_path / "a", training())
    raw = path.read_bytes()
    for name, intact in (("optimizer.state.0.exp_avg", True), ("model.0.weight", False)):
        tensor = next(t for t in open_checkpoint(save(path, training())).tensors if t.name == name)
        changed = bytearray(path.read_bytes())
        changed[tensor.storage.offset] ^= 1
        path.write_bytes(changed)
        (damage,) = deep(path).damage
        assert intact == ("weights are intact" in damage.message)
    assert raw != path.read_bytes()


def test_absent_checksums_are_said(tmp_path):
    """A file written without checksums, and a legacy stream, are not called intact but not checked."""
    previous = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = save(tmp_path / "a", {"w": torch.randn(100)})
    finally:
        torch.serialization.set_crc32_options(previous)
    result = deep(path)
    assert () == result.damage
    assert ["stored checksums"] == [item.what for item in result.not_checked]
    legacy = save(tmp_path / "b", {"w": torch.tensor([1.0, float("nan")])}, False)
    assert ["stored checksums"] == [item.what for item in deep(legacy).not_checked]
    assert {"w": 1} == deep(legacy).non_finite


def test_truncated_archives_are_checked_as_far_as_they_go(tmp_path):
    """Without its end an archive still has the checksums that stand behind each record."""
    path = save(tmp_path / "a", {"w": torch.ones(50), "x": torch.ones(60)})
    first = open_checkpoint(path).tensors[0]
    raw = bytearray(path.read_bytes()[:-40])
    raw[first.storage.offset] ^= 1
    path.write_bytes(raw)
    assert ["corrupt-record"] == [damage.kind for damage in deep(path).damage]


def test_a_file_that_changed_meanwhile_is_not_judged(tmp_path):
    """Between the two readings another file took the name."""
    path = save(tmp_path / "a", {"w": torch.ones(5)})
    checkpoint = open_checkpoint(path)
    os.replace(save(tmp_path / "b", {"v": torch.ones(9)}), path)
    result = deep_check(checkpoint).deep
    assert 0 == result.bytes_read
    assert result.not_checked


def test_progress_adds_up(tmp_path):
    """The reported pieces are the bytes read."""
    seen = []
    checkpoint = open_checkpoint(save(tmp_path / "a", {"w": torch.ones(200_000)}))
    result = deep_check(checkpoint, seen.append).deep
    assert sum(seen) == result.bytes_read > 800_000


def test_threads_find_what_one_finds(tmp_path, monkeypatch):
    """However many read the file: the same records, in the same order, the same counts, the same bytes."""
    value = {f"w{i}": torch.full((50 + i,), float("nan") if i % 3 == 0 else 1.0) for i in range(30)}
    path = save(tmp_path / "a", value)
    raw = bytearray(path.read_bytes())
    for tensor in open_checkpoint(path).tensors[::7]:
        raw[tensor.storage.offset] ^= 1
    path.write_bytes(raw)
    alone = deep(path)
    assert 5 == len(alone.damage)
    monkeypatch.setattr("ckpt_doctor.readers.deep._WORTH_THREADS", 0)
    monkeypatch.setattr("ckpt_doctor.readers.deep.os.cpu_count", lambda: 5)
    seen = []
    together = deep_check(open_checkpoint(path), seen.append).deep
    assert alone == together
    assert sum(seen) == together.bytes_read


def test_an_interruption_stops_every_thread(tmp_path, monkeypatch):
    """Ctrl-C while the file is read comes out of the call, and what was not begun is not read."""
    path = save(tmp_path / "a", {f"w{i}": torch.ones(50) for i in range(500)})
    monkeypatch.setattr("ckpt_doctor.readers.deep._WORTH_THREADS", 0)
    monkeypatch.setattr("ckpt_doctor.readers.deep.os.cpu_count", lambda: 3)
    seen = []

    def interrupted(count):
        seen.append(count)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deep_check(open_checkpoint(path), interrupted)
    assert len(seen) <= 3


def test_tensors_that_others_are_made_of_are_read_too(tmp_path):
    """A NaN in a wrapper's inner tensor is found under its name; a tensor without bytes has none."""
    value = {
        "wrapper": TwoTensor(torch.ones(3), torch.full((3,), float("nan"))),
        "meta": torch.empty(64, dtype=torch.bfloat16, device="meta"),
        "last_epoch": -1,  # its bytes in the pickle read as NaN
    }
    path = save(tmp_path / "a", value)
    assert {"wrapper.b": 3} == deep(path).nan
    raw = bytearray(path.read_bytes())
    (part,) = (t for t in open_checkpoint(path).inner if t.name == "wrapper.a")
    raw[part.storage.offset] ^= 1
    path.write_bytes(raw)
    (damage,) = deep(path).damage
    assert "tensor wrapper.a is not what was saved" in damage.message


def test_an_archive_without_checksums_that_was_cut_accuses_nobody(tmp_path):
    from torch.serialization import set_crc32_options

    set_crc32_options(False)
    try:
        path = save(tmp_path / "a", {"x": torch.ones(8), "y": torch.ones(9)})
    finally:
        set_crc32_options(True)
    path.write_bytes(path.read_bytes()[:-30])
    assert ((), frozenset()) == (deep(path).damage, deep(path).lost)
    assert "stored checksums" in [note.what for note in deep(path).not_checked]


def test_the_weights_of_a_frozen_script_are_read(tmp_path):
    """They are constants of its code: counted, checked for NaN, and missed where their record is gone."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 4)).eval()
    module[0].weight.data[0, 0] = float("nan")
    torch.jit.freeze(torch.jit.script(module)).save(str(tmp_path / "a"))
    checkpoint = open_checkpoint(tmp_path / "a")
    assert [(4, 3), (4,)] == [tensor.shape for tensor in checkpoint.tensors]
    assert {"constants.0": 1} == deep(tmp_path / "a").nan
    assert () == deep(tmp_path / "a").damage
    with zipfile.ZipFile(tmp_path / "a") as old, zipfile.ZipFile(tmp_path / "b", "w") as new:
        for name in old.namelist():
            if not name.endswith("constants/1"):
                new.writestr(name, old.read(name))
    (missing,) = (d for d in open_checkpoint(tmp_path / "b").damage if d.kind == "missing-record")
    assert missing.where.endswith("constants/1")


@pytest.fixture
def small_pieces(monkeypatch):
    """Records are cut every 4 KiB, and several threads read whatever the size."""
    monkeypatch.setattr(regions, "PIECE", 1 << 12)
    monkeypatch.setattr(deep_module, "_WORTH_THREADS", 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128, torch.bfloat16])
def test_a_tensor_read_in_pieces_shows_what_it_shows_as_a_whole(tmp_path, small_pieces, dtype):
    """Non-finite numbers at the cuts and between them are counted once; the stored checksum fits."""
    tensor = torch.zeros(5000, dtype=dtype)
    tensor[[0, 255, 256, 1023, 1024, 4999]] = float("nan")
    tensor[2048] = float("inf")
    found = deep(save(tmp_path / "a", {"w": tensor}))
    assert (found.damage, found.non_finite, found.nan) == ((), {"w": 7}, {"w": 6})


def test_a_flipped_bit_in_any_piece_is_found(tmp_path, small_pieces):
    """The record is named once, whichever piece the bit is in."""
    path = save(tmp_path / "a", {"w": torch.ones(5000)})
    (storage,) = (tensor.storage for tensor in open_checkpoint(path).tensors)
    raw = path.read_bytes()
    for at in (0, 4095, 4096, 19999):
        changed = bytearray(raw)
        changed[storage.offset + at] ^= 1
        path.write_bytes(changed)
        found = deep(path)
        assert [damage.kind for damage in found.damage] == ["corrupt-record"]
        assert found.lost == {storage.key}
        assert found.bytes_read == sum(entry.compress_size for entry in zipfile.ZipFile(path).infolist())


def test_a_record_that_the_system_cannot_read_is_reported_once(tmp_path, small_pieces, monkeypatch):
    """A read that fails is reported once, at its place, though several pieces fail."""
    path = save(tmp_path / "a", {"w": torch.ones(5000)})
    (storage,) = (tensor.storage for tensor in open_checkpoint(path).tensors)
    real = os.preadv

    def failing(descriptor, buffers, at):
        if storage.offset + 8192 <= at < storage.offset + 20000:
            raise OSError(5, "Input/output error")
        return real(descriptor, buffers, at)

    monkeypatch.setattr(os, "preadv", failing)
    (damage,) = deep(path).damage
    assert (damage.kind, damage.where) == ("unreadable-file", f"a/data/{storage.key}, byte {storage.offset + 8192}")


def test_a_record_too_large_to_be_inflated_is_not_called_checked(tmp_path):
    """Zeros shrink to a thousandth; what the deep check leaves out it says."""
    path = rezip(save(tmp_path / "a", {"w": torch.zeros(10_000_000)}), tmp_path / "b", compression=zipfile.ZIP_DEFLATED)
    result = deep_check(open_checkpoint(path)).deep
    assert () == result.damage
    assert ["what compressed records hold"] == [note.what for note in result.not_checked]
