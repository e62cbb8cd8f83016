"""New archives are laid out as torch lays them out, and torch reads them."""

import pickle
import struct
import zipfile

import torch

from ckpt_doctor.inert.zip_structures import ALIGNMENT
from ckpt_doctor.writer.torch_archive import write_archive


def test_torch_reads_the_archive_and_each_record_begins_where_torch_aligns_it(tmp_path):
    program = pickle.dumps({"epoch": 2}, protocol=2)
    records = {"data.pkl": [program], "byteorder": [b"little"], "data/0": [b"a" * 3, b"b" * 70], "version": [b"3\n"]}
    path = tmp_path / "a.pt"
    with path.open("w+b") as file:
        write_archive(file, [(name, sum(map(len, pieces)), pieces) for name, pieces in records.items()])
    assert {"epoch": 2} == torch.load(path, weights_only=True)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert {f"archive/{name}": b"".join(pieces) for name, pieces in records.items()} == {
            name: archive.read(name) for name in archive.namelist()
        }
        for info in archive.infolist():
            name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
            assert 0 == (info.header_offset + 30 + name + extra) % ALIGNMENT, info.filename
            assert zipfile.ZIP_STORED == info.compress_type


def test_a_record_of_two_gigabytes_says_its_size_in_64_bits_and_stays_aligned(tmp_path):
    """Its bytes are not written here: the header comes first, and goes by the size that was said."""

    path = tmp_path / "a.pt"
    with path.open("w+b") as file:
        write_archive(file, [("data/0", 1 << 31, [])])
        file.seek(0)
        header = file.read(30)
    name, extra = struct.unpack_from("<HH", header, 26)
    assert 0xFFFFFFFF == struct.unpack_from("<I", header, 22)[0]
    assert 0 == (30 + name + extra) % ALIGNMENT
