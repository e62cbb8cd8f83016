"""Payloads where only some readers look: what any of them would run is reported."""

from __future__ import annotations

import enum
import io
import pickle
import struct
import tempfile
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from ckpt_doctor.inert import limits
from ckpt_doctor.readers import open_checkpoint, zip_unlisted
from ckpt_doctor.writer import zip_append
from tests.readers.test_hostile import CALLS, Payload, canary, dangerous, with_program  # noqa: F401 (a fixture)
from tests.readers.test_open import load, rezip, save

CALL = CALLS["plain"]


class Level(enum.Enum):
    """As Python 3.11 pickles it: `getattr(Level, "HIGH")`."""

    HIGH = 1

    def __reduce_ex__(self, protocol):
        return getattr, (type(self), self.name)


# --- getattr: how healthy files name a method, and how exploits name anything ----------------------------------------


def test_getattr_that_names_a_method(tmp_path):
    """A class's function in protocol 2, and an Enum's member: judged by what they name, not as an attack."""
    scheduler = torch.optim.lr_scheduler.OneCycleLR
    value = {"anneal_func": scheduler._annealing_cos, "again": scheduler._annealing_linear, "level": Level.HIGH}
    path = save(tmp_path / "a", value)
    assert b"getattr" in path.read_bytes()
    names = {str(name) for name in open_checkpoint(path).globals}
    assert {"torch.optim.lr_scheduler.OneCycleLR._annealing_cos", f"{__name__}.Level.HIGH"} < names
    assert [] == dangerous(path)


GETATTR = b"\x80\x02cbuiltins\ngetattr\nq\x00"
NAMED = b"ctorch.optim.lr_scheduler\nOneCycleLR\nX\x0e\x00\x00\x00_annealing_cos\x86R"
ATTACKS = {
    "of a module": GETATTR + b"cposixpath\nos\nX\x06\x00\x00\x00system\x86R.",
    "of a dictionary": GETATTR + b"ctorch.optim.lr_scheduler\nOneCycleLR\nX\x0b\x00\x00\x00__globals__\x86R.",
    "of another getattr": GETATTR + b"h\x00" + NAMED + b"X\x08\x00\x00\x00anything\x86R.",
    "a dotted name": GETATTR + b"ctorch\nnn\nX\x09\x00\x00\x00os.system\x86R.",
    "handed to a call": GETATTR + NAMED + b"0cpackage\napply\nh\x00\x85R.",
    "handed on from another memo": GETATTR + b"q\x05" + NAMED + b"0cpackage\napply\nh\x05\x85R.",
    "kept in a list": GETATTR + NAMED + b"0]h\x00a.",
    "doubled": GETATTR + b"2cpackage\napply\n\x850" + NAMED + b".",
    "by a name on the stack": GETATTR + NAMED + b"0\x8c\x08builtins\x8c\x07getattr\x93.",
    "called as a method": GETATTR + b"cpackage\nThing\n)\x81X\x03\x00\x00\x00run\x86R)R.",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_getattr_that_may_be_anything(tmp_path, attack):
    """Any other use of it is dangerous: on a module, on its own result, handed to something that calls it."""
    assert open_checkpoint(with_program(tmp_path / "a", ATTACKS[attack])).is_damaged("dangerous-global")


def test_the_result_of_a_call_is_called(tmp_path):
    """No healthy file calls what a call returned: through it plain dictionaries hand out `eval`."""
    program = (
        b"\x80\x02ccollections\nOrderedDict\n)R"  # stands for whatever gives the attacker an object
        b"cpackage\nfind\n)R(X\x01\x00\x00\x00xtR\x86."
    )
    assert open_checkpoint(with_program(tmp_path / "a", program)).is_damaged("dangerous-global")
    globals_of = b"\x80\x04\x8c\x17torch.nn.modules.module\x8c\x1aModule.forward.__globals__\x93."
    assert dangerous(with_program(tmp_path / "b", globals_of))


# --- archives that are two things at once ----------------------------------------------------------------------------


def entry_at(raw: bytes, name: bytes) -> int:
    """Offset of the central header of a record."""
    at = raw.index(b"PK\x01\x02")
    while raw[at + 46 : at + 46 + len(name)] != name:
        at = raw.index(b"PK\x01\x02", at + 1)
    return at


def archive(path: Path, records: dict[str, bytes], compression=zipfile.ZIP_STORED) -> Path:
    """A zip archive of these records."""
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, data in records.items():
            target.writestr(name, data)
    return path


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


# --- records that stand in no directory ------------------------------------------------------------------------------


def local_record(name: bytes, data: bytes, method: int = 0, *, sized: bool = True) -> bytes:
    """A record with its local header alone; without sizes, as torch writes them, and a descriptor behind."""
    packed = zlib.compress(data, wbits=-15) if method else data
    sizes = (zlib.crc32(data), len(packed), len(data)) if sized else (0, 0, 0)
    header = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0 if sized else 8, method, 0, 0, *sizes, len(name), 0)
    descriptor = b"" if sized else struct.pack("<4s3I", b"PK\x07\x08", zlib.crc32(data), len(packed), len(data))
    return header + name + packed + descriptor


def appended(raw: bytes, program: bytes) -> bytes:
    """The archive with another program behind its end: what an in-place migration does."""
    with tempfile.TemporaryFile() as file:
        file.write(raw)
        file.flush()
        directory = zip_append.read_directory(file.fileno(), len(raw))
    name = next(entry.name for entry in directory.entries if entry.name.endswith("data.pkl"))
    return raw + zip_append.build_tail(directory, {name: program})


def test_a_dead_program_comes_back_with_a_cut(tmp_path, canary):  # noqa: F811
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
        path.write_bytes(content.replace(b"x/evil.pkl", b"x/evil.txt"))
        assert [] == dangerous(path), name


def test_an_array_of_objects_between_the_listed_records(tmp_path, canary):  # noqa: F811
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


def test_headers_that_overlap_cost_no_more_than_the_file(tmp_path):
    """A thousand headers whose extra fields lead to one long pickle: each would have it read again."""
    header = struct.Struct("<4s5H3I2H4s")
    headers = [header.pack(b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 4, 34 * left, b".pkl") for left in range(1000)]
    hidden = b"".join(reversed(headers)) + b"N0" * 200_000
    raw = archive(tmp_path / "zip", {"x/data.pkl": b"}."}).read_bytes()
    directory = raw.index(b"PK\x01\x02")
    end = bytearray(raw[directory:])
    at = end.rindex(b"PK\x05\x06") + 16
    end[at : at + 4] = struct.pack("<I", directory + len(hidden))
    path = tmp_path / "a"
    path.write_bytes(raw[:directory] + hidden + end)
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        real = zip_unlisted.read_program
        patch.setattr(zip_unlisted, "read_program", lambda *args: seen.append(1) or real(*args))
        assert open_checkpoint(path).is_damaged("limit-exceeded")
    assert len(seen) < 10


def test_more_unlisted_bytes_than_are_searched(tmp_path, monkeypatch):
    """Said, not passed over."""
    raw = archive(tmp_path / "zip", {"x/data.pkl": b"}."}).read_bytes()
    path = tmp_path / "a"
    path.write_bytes(raw + bytes(1000))
    assert () == open_checkpoint(path).damage
    monkeypatch.setattr(limits, "MAX_UNLISTED_BYTES", 999)
    assert open_checkpoint(path).is_damaged("limit-exceeded")


# --- pickles in files of other kinds ---------------------------------------------------------------------------------


def test_arrays_of_objects(tmp_path, canary):  # noqa: F811
    """A .npy of dtype object is a pickle; so is one in a .npz, compressed or not. Numbers are not."""
    evil = np.array([Payload(canary)], dtype=object)
    np.save(tmp_path / "evil.npy", evil, allow_pickle=True)
    np.savez(tmp_path / "evil.npz", a=np.arange(3), b=evil)
    np.savez_compressed(tmp_path / "packed.npz", b=evil)
    for name in ("evil.npy", "evil.npz", "packed.npz"):
        assert ["posix.system"] == dangerous(tmp_path / name)
        assert open_checkpoint(tmp_path / name).is_damaged("not-a-checkpoint")
    np.savez(tmp_path / "good.npz", a=np.arange(3))
    assert ["not-a-checkpoint"] == [damage.kind for damage in open_checkpoint(tmp_path / "good.npz").damage]


def test_torch_package_and_torchscript(tmp_path, canary):  # noqa: F811
    """Pickles of a torch.package, and those beside a TorchScript archive's own."""
    from torch.package import PackageExporter

    with PackageExporter(tmp_path / "package") as exporter:
        exporter.save_binary("data", "value.pkl", CALL)
    assert ["posix.system"] == dangerous(tmp_path / "package")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script")
    for target in ("constants.pkl", "data.pkl"):
        evil = rezip(tmp_path / "script", tmp_path / "evil", lambda n, data, t=target: CALL if n == t else data)
        assert "torchscript" == open_checkpoint(evil).container
        assert "posix.system" in dangerous(evil)


def test_an_archive_inside_a_pickle(tmp_path, canary):  # noqa: F811
    """`torch.storage._load_from_bytes` of a whole archive, which is loaded without restriction."""
    buffer = io.BytesIO()
    torch.save({"x": Payload(canary)}, buffer)

    class Outer:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (buffer.getvalue(),)

    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(OrderedDict(a=Outer()), 4))
    assert ["posix.system"] == dangerous(path)


def test_healthy_files_raise_no_suspicion(tmp_path):
    """torch's own archives, repacked ones and modules: no conflict, nothing dangerous."""
    value = {"net": torch.nn.Linear(2, 2), "w": torch.ones(3)}
    source = save(tmp_path / "a", value)
    assert torch.equal(value["w"], load(source)["w"])
    for path in (
        source,
        rezip(source, tmp_path / "b", compression=zipfile.ZIP_DEFLATED),
        save(tmp_path / "c", value, False),
    ):
        assert ["not-weights-only"] == [damage.kind for damage in open_checkpoint(path).damage]
