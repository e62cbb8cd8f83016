"""Coverage-guided fuzzing of the readers.

    pip install atheris
    python tests/fuzz/fuzz_readers.py [corpus folder] -max_total_time=300

Any exception out of `open_checkpoint` or `deep_check`, and anything that takes more than ten seconds, is a find; turn
it into a test in tests/readers/test_hostile.py. The seeds are written by torch, where it is installed.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ckpt_doctor"]):
    from ckpt_doctor.inert.pickle_reader import read
    from ckpt_doctor.inert.pickle_writer import dump
    from ckpt_doctor.inert.tree import same
    from ckpt_doctor.readers import open_checkpoint
    from ckpt_doctor.readers.deep import deep_check

from ckpt_doctor.errors import WriteRefused

_folder = Path(tempfile.mkdtemp(prefix="fuzz-readers-"))
_file = _folder / "checkpoint"


def one_input(data: bytes) -> None:
    """Read the data as a file of any kind, and as a bare pickle that is then written again."""
    _file.write_bytes(data)
    deep_check(open_checkpoint(_file))
    reading = read(data)
    if reading.finished:
        try:
            again = read(dump(reading.root))
        except WriteRefused:
            return
        assert again.finished, again.damage
        assert same(again.root, read(dump(again.root)).root) is None


def write_seeds(folder: Path) -> None:
    """A few small files of every container."""
    folder.mkdir(parents=True, exist_ok=True)
    for protocol in range(6):
        value = {"a": [1, -(2**70), 1.5, None, True], "b": (b"x", "y"), "c": {1, 2}, "d": frozenset("z"), "e": 1j}
        (folder / f"pickle{protocol}").write_bytes(pickle.dumps(value, protocol))
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (folder / "safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    try:
        import torch
    except ImportError:
        return
    for zipped in (True, False):
        buffer = io.BytesIO()
        state = {"model": torch.nn.Linear(1, 1).state_dict(), "epoch": 1}
        torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
        (folder / f"torch{zipped}").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    folders = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    if not folders:
        folders = [_folder / "corpus"]
        sys.argv.append(os.fspath(folders[0]))
    write_seeds(folders[0])
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
