"""Small checkpoints in every container that the writer edits, and programs to write into them, made without our reader.

A pickle is edited here by adding opcodes before its STOP: the top of the stack is then the root dict.
"""

import io
import os
import pickle
import pickletools
import struct
import tarfile
import zipfile
from pathlib import Path

from ckpt_doctor import writer
from ckpt_doctor.inert import names
from ckpt_doctor.types import Checkpoint, FileStamp, Program
from ckpt_doctor.writer import in_place

CONTAINERS = ("torch-zip", "torch-legacy", "torch-tar", "pickle")
RECORD = {"tool_version": "0", "edits": [{"key": "best_score", "before": None, "after": -0.5, "evidence": "by hand"}]}
SOME, ALL = 41, 1
"""Steps at which the bytes of a file are flipped in turn: some by default, each in the long tests."""


def accept(_path: Path) -> None:
    """A verification that has nothing to say."""


def training_state() -> dict:
    """A checkpoint as the trainer saves it, with two tensors that share a storage."""
    import torch

    generator = torch.Generator().manual_seed(7)
    shared = torch.randn(40, 33, generator=generator)
    return {
        "model": {"embedding": shared, "head": shared[3:9], "bias": torch.arange(17, dtype=torch.float64)},
        "epoch": 2,
        "global_step": 90,
    }


def make(path: Path, container: str) -> Path:
    """Write a sample in the container at `path`."""
    if container == "torch-zip":
        import torch

        torch.save(training_state(), path)
    elif container == "torch-legacy":
        import torch

        torch.save(training_state(), path, _use_new_zipfile_serialization=False)
    elif container == "torch-tar":
        _make_tar(path)
    else:
        path.write_bytes(pickle.dumps({"epoch": 2, "weights": list(range(300))}, protocol=2))
    return path


def load(path: Path, container: str) -> dict:
    """What the file holds, by torch or Python itself."""
    if container == "pickle":
        return pickle.loads(path.read_bytes())
    import torch

    return torch.load(path, weights_only=container != "torch-tar")


def same(a: object, b: object) -> bool:
    """Deep equality, tensors bit for bit."""
    import torch

    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b


def checkpoint_of(path: Path, container: str) -> Checkpoint:
    """What the reader says of the file, as far as the writer asks."""
    stat = os.stat(path)  # before the rest: what is read of a newer file does not count
    program = _program(path, container)
    stamp = FileStamp(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return Checkpoint(path, stat.st_size, container, "training", None, stamp=stamp, program=program)


def program_of(checkpoint: Checkpoint) -> bytes:
    """The pickle that the file has."""
    with open(checkpoint.path, "rb") as file:
        file.seek(checkpoint.program.offset)
        return file.read(checkpoint.program.length)


def with_key(program: bytes, key: str, value: float) -> bytes:
    """The program, and then `root[key] = value`."""
    assert program.endswith(b".")
    encoded = key.encode()
    return program[:-1] + b"X" + struct.pack("<I", len(encoded)) + encoded + b"G" + struct.pack(">d", value) + b"s."


def edited(path: Path, container: str, key: str = "best_score", value: float = -0.5) -> tuple[Checkpoint, bytes]:
    """The file as read, and its program with one more key."""
    checkpoint = checkpoint_of(path, container)
    return checkpoint, with_key(program_of(checkpoint), key, value)


def cut_off(path: Path, *, keep: float = 0.5) -> bytes:
    """Leave `path` as a kill in the middle of an edit in place does, with a part of the new bytes; returns the old."""
    before = path.read_bytes()
    edit = edited(path, "torch-zip")

    def stop(_result: Path) -> None:
        raise SystemExit

    # Keep the journal and the appended bytes where a failed verification would take them back.
    roll_back, remove = in_place.roll_back, in_place.remove_journal
    in_place.roll_back = in_place.remove_journal = lambda *_: None
    try:
        writer.write(*edit, {"edits": []}, mode="in-place", verify=stop)
    except SystemExit:
        size = path.stat().st_size
    finally:
        in_place.roll_back, in_place.remove_journal = roll_back, remove
    assert names.journal(path).exists()
    os.truncate(path, len(before) + int((size - len(before)) * keep))
    return before


def migrated(path: Path, container: str = "torch-zip", times: int = 1) -> bytes:
    """Make a sample at `path`, migrate it, and give back its bytes before."""
    before = make(path, container).read_bytes()
    for number in range(times):
        writer.write(*edited(path, container, f"key{number}"), RECORD, verify=accept)
    return before


def flipped(path: Path, data: bytes, at: int) -> bytes:
    """Write `data` with one bit of byte `at` flipped."""
    changed = bytearray(data)
    changed[at] ^= 1 << at % 8
    path.write_bytes(changed)
    return bytes(changed)


def codes(path: Path) -> dict[str, str]:
    """What a deep scan says: code -> severity."""
    from ckpt_doctor import scan  # of the scripts that are killed none needs it

    (file,) = scan(path, deep=True).files
    return {finding.code: finding.severity for finding in file.findings}


def litter(folder: Path, *expected: str) -> set[str]:
    """Everything under `folder` that is neither a folder nor expected, by relative name."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    return found - set(expected)


def _program(path: Path, container: str) -> Program:
    if container == "torch-zip":
        with zipfile.ZipFile(path) as archive:
            info = next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))
        with open(path, "rb") as file:
            file.seek(info.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
        return Program(info.header_offset + 30 + name + extra, info.file_size, info.filename)
    if container == "torch-tar":
        with tarfile.open(path) as archive:
            member = archive.getmember("pickle")
        return Program(member.offset_data, member.size, "pickle")
    data = io.BytesIO(path.read_bytes())
    # A legacy stream is magic number, protocol, system info, then the program (torch/serialization.py, _legacy_save).
    for _ in range(3 if container == "torch-legacy" else 0):
        list(pickletools.genops(data))
    start = data.tell()
    list(pickletools.genops(data))
    return Program(start, data.tell() - start, "")


def _make_tar(path: Path) -> None:
    """torch's format of before 0.1.10, as `torch.load` still reads it (torch/serialization.py, `legacy_load`)."""
    import torch

    storages = pickle.dumps(1, 2) + pickle.dumps((1, "cpu", torch.FloatStorage), 2)
    storages += struct.pack("<q", 6) + struct.pack("<6f", *range(6)) + pickle.dumps([], 2)
    tensors = pickle.dumps(1, 2) + pickle.dumps((2, 1, torch.FloatTensor), 2)
    tensors += struct.pack("<ii", 2, 0) + struct.pack("<2q", 2, 3) + struct.pack("<2q", 3, 1) + struct.pack("<q", 0)
    program = b"\x80\x02}(X\x07\x00\x00\x00weightsX\x01\x00\x00\x002QX\x05\x00\x00\x00epochK\x02u."
    with tarfile.open(path, "w") as archive:
        for name, data in (("sys_info", pickle.dumps({}, 2)), ("pickle", program), ("tensors", tensors)):
            _add(archive, name, data)
        _add(archive, "storages", storages)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
