"""What asks for more than its file holds costs no more than the file."""

from __future__ import annotations

import time

import pytest

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.readers import open_checkpoint

BOMBS = {
    "memo index 2**32": b"}r\xff\xff\xff\xff.",
    "gigabytes of text": b"X\xff\xff\xff\xffabc.",
    "gigabytes of bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "frame of an exabyte": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
    "hash of nested tuples": b"}" + b"K\x01" + b"2\x86" * 60 + b"Ns.",
    "deep tuple as a key": b"}" + b")" + b"\x85" * 500_000 + b"Ns.",
    "deep list": b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep call": b"cbuiltins\nobject\nq\x00" + b"h\x00(" * 50_000 + b"tR" * 50_000 + b".",
    "decimal of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "wide integer": b"\x80\x02\x8b\x40\x42\x0f\x00" + b"\x7f" * 1_000_000 + b".",
    "colliding integers": b"\x80\x02}("
    + b"".join(b"\x8a\x0a" + (i * ((1 << 61) - 1)).to_bytes(10, "little") + b"N" for i in range(1, 40_000))
    + b"u.",
    "doubled strings as keys": b"}X\x00\x00\x10\x00" + b"a" * (1 << 20) + b"q\x000" + b"h\x00Ns" * 100_000 + b".",
    "copies of a text": b"X\x00\x00\x10\x00"
    + b"a" * (1 << 20)
    + b"q\x000c_codecs\nencode\nq\x01X\x06\x00\x00\x00latin1q\x020("
    + b"h\x01h\x00h\x02\x86R" * 20_000
    + b"l.",
    "many containers": b"}" * (limits.MIN_CONTAINERS + 100_000) + b".",
    "impossible shape": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQK\x00("
    + b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f" * 60
    + b"t("
    + b"K\x01" * 60
    + b"t\x89}tR.",
}


@pytest.mark.long
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_cheap(name):
    """What asks for more than the file holds costs no more than the file."""
    start = time.process_time()
    reading = read(BOMBS[name])
    assert time.process_time() - start < 5
    assert reading.finished or reading.damage


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_in_files_are_findings_or_harmless(tmp_path, name):
    """As whole files they give a checkpoint value, deep nesting included."""
    path = tmp_path / "bomb"
    path.write_bytes(b"\x80\x02" + BOMBS[name])
    assert open_checkpoint(path).container in ("pickle", "unknown")


OF_MEMORY = {
    "tuples": b"(" + b"N\x85" * 9_000_000 + b"t",
    "calls": b"cbuiltins\nobject\nq\x00(" + b"h\x00)R" * 3_900_000 + b"t",
    "sets": b"(" + b"\x8f" * 3_900_000 + b"t",
    "memo": b"N" + b"\x94" * 18_000_000,
    "bytes": b"(" + b"C\x02ab" * 4_500_000 + b"t",
}


@pytest.mark.long
@pytest.mark.parametrize("bomb", OF_MEMORY)
def test_a_small_file_takes_no_gigabytes(tmp_path, bomb):
    """A finding, or a few hundred megabytes that come to nothing; within seconds."""
    import subprocess
    import sys

    path = tmp_path / "a"
    path.write_bytes(b"\x80\x04" + OF_MEMORY[bomb] + b".")
    code = (
        "import resource, sys; from ckpt_doctor import open_checkpoint\n"
        "kinds = [d.kind for d in open_checkpoint(sys.argv[1]).damage]\n"
        "print(*kinds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    began = time.monotonic()
    said = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout.split()
    assert bomb == "bytes" or "limit-exceeded" in said[:-1]
    assert int(said[-1]) < 1000
    assert time.monotonic() - began < 60
