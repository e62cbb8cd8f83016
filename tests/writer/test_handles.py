"""Which processes have a file open, and how."""

import subprocess
import sys

import pytest

from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.writer import handles
from ckpt_doctor.writer.handles import Holder, holders
from tests.writer.sample_files import RECORD, accept, edited, make


def test_another_process_that_writes_the_file_is_noticed(tmp_path):
    """F108: a checkpoint that is still being written is never touched, even while the writer pauses."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    code = f"f = open({str(path)!r}, 'r+b'); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert "open\n" == process.stdout.readline()
        with pytest.raises(WriteRefused, match=f"written by process {process.pid}"):
            writer.write(*edited(path, "torch-zip"), RECORD, verify=accept)
        process.communicate("\n")
    writer.write(*edited(path, "torch-zip"), RECORD, verify=accept)


HOLD = """
import ctypes, sys
read, written, mapped = (open(path, mode) for path, mode in zip(sys.argv[1:], ("rb", "r+b", "rb")))
mmap = ctypes.CDLL(None).mmap  # Python's own keeps a descriptor
mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
mmap(None, 1, 1, 2, mapped.fileno(), 0)  # PROT_READ, MAP_PRIVATE
mapped.close()
print("open", flush=True); input()
"""


def test_who_reads_a_file_who_writes_it_and_who_only_maps_it(tmp_path):
    paths = [tmp_path / name for name in ("read", "written", "mapped")]
    for path in paths:
        path.write_bytes(b"1")
    read, written, mapped = paths
    line = [sys.executable, "-S", "-c", HOLD, *map(str, paths)]
    with subprocess.Popen(line, stdin=-1, stdout=-1, text=True) as process:
        assert "open\n" == process.stdout.readline()
        written.rename(tmp_path / "renamed")  # the file is known by itself, not by its name
        asked = [read, tmp_path / "renamed", mapped]
        expected = {Holder(process.pid, read, False), Holder(process.pid, tmp_path / "renamed", True)}
        assert expected == set(holders(asked))
        assert [] == holders([mapped])
        assert [Holder(process.pid, mapped, False)] == holders([mapped], mappings=True)
        process.communicate("\n")
    assert [] == holders(asked, mappings=True)


def test_this_process_a_missing_file_and_a_system_without_proc_tell_of_nobody(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    with path.open("wb"):
        assert [] == holders([path, tmp_path / "gone"])
        monkeypatch.setattr(handles, "_PROC", tmp_path / "no proc")
        monkeypatch.setattr(handles.os, "getpid", lambda: -1)
        assert [] == holders([path])
