"""Files that end up where a checkpoint belongs: named by their content, with what probably happened."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.types import Damage

_MAGIC: Sequence[tuple[str, int, tuple[bytes, ...]]] = (
    ("an HDF5 file (Keras or h5py wrote it)", 0, (b"\x89HDF\r\n\x1a\n",)),
    ("a numpy array (.npy)", 0, (b"\x93NUMPY",)),
    ("gzip-compressed data; decompress it first", 0, (b"\x1f\x8b",)),
    ("a 7-Zip archive; unpack it first", 0, (b"7z\xbc\xaf\x27\x1c",)),
    ("a RAR archive; unpack it first", 0, (b"Rar!\x1a\x07",)),
    (
        "zlib-compressed data (joblib.dump writes it, too); decompress it first",
        0,
        (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"),
    ),
    ("xz-compressed data; decompress it first", 0, (b"\xfd7zXZ\x00",)),
    ("zstd-compressed data; decompress it first", 0, (b"\x28\xb5\x2f\xfd",)),
    ("bzip2-compressed data; decompress it first", 0, (b"BZh",)),
    ("LZ4-compressed data; decompress it first", 0, (b"\x04\x22\x4d\x18",)),
    ("an archive as UTF-16 text, which `>` of PowerShell writes; fetch the file again", 0, (b"\xff\xfeP\x00K\x00",)),
    ("what macOS keeps beside a file (AppleDouble), not the file itself", 0, (b"\x00\x05\x16\x07",)),
    ("a PDF document", 0, (b"%PDF-",)),
    ("a PNG image", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("a JPEG image", 0, (b"\xff\xd8\xff",)),
    ("a GIF image", 0, (b"GIF8",)),
    ("an ELF program or library", 0, (b"\x7fELF",)),
    ("a Windows program or library", 0, (b"MZ",)),
    ("an SQLite database", 0, (b"SQLite format 3\x00",)),
    ("a GGUF model (llama.cpp)", 0, (b"GGUF",)),
    ("a Parquet table", 0, (b"PAR1",)),
    ("an Arrow table", 0, (b"ARROW1",)),
    ("a TensorFlow Lite model", 4, (b"TFL3",)),
    ("a media file (MP4)", 4, (b"ftyp",)),
    ("an ONNX model, by its beginning", 0, tuple(bytes([8, version, 18]) for version in range(3, 11))),
)
"""What a file is, and where it has which bytes then."""
_TABLE_MAGIC = bytes.fromhex("57fb808b247547db")
"""The last eight bytes of a table (tensorflow/core/lib/io/format.h, `kTableMagicNumber`)."""

_MSGPACK = re.compile(rb"(?:[\x80-\x8f]|\xde..|\xdf....)(?:[\xa2-\xbf]|\xd9.)[a-z_]{2}", re.DOTALL)
"""A map whose first key is a name (https://github.com/msgpack/msgpack/blob/master/spec.md)."""


def not_a_checkpoint(what: str) -> Damage:
    """The finding that a file is something else."""
    return Damage("not-a-checkpoint", f"this is {what}")


def neighbour(head: bytes, end: bytes = b"") -> Damage | None:
    """What a file is, by its first and last bytes; None where these do not show it."""
    if end.endswith(_TABLE_MAGIC):
        return not_a_checkpoint("a TensorFlow checkpoint or another LevelDB table")
    for what, offset, magics in _MAGIC:
        if head.startswith(magics, offset):
            return not_a_checkpoint(what)
    before = head.find(b"PK\x03\x04")
    if before > 0 and head[before + 30 :].partition(b"/")[2].startswith(b"data.pkl"):
        cut = f"`tail -c +{before + 1} FILE > OUT` takes them away"
        return not_a_checkpoint(f"a torch archive behind {before:,} bytes of something else: {cut}")
    if _MSGPACK.match(head):
        return not_a_checkpoint("a msgpack file (Flax, or T5X beside folders of arrays), not one of torch")
    return _text(head)


def _text(head: bytes) -> Damage | None:
    if b"\x00" in head:
        return None
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < 4096 else "ignore")
    except UnicodeDecodeError:
        return None
    if not text or sum(not (c.isprintable() or c.isspace()) for c in text) > len(text) // 100:
        return None
    start = text.lstrip()[:2000]
    lower = start.lower()
    if start.startswith("version https://git-lfs.github.com/spec/"):
        return not_a_checkpoint("a Git LFS pointer, not the file it points to: run `git lfs pull`")
    if "/annex/objects/" in start[:200]:
        return not_a_checkpoint("a git-annex pointer, not the file it points to: run `git annex get`")
    if lower.startswith(("<!doctype html", "<html", "<head")) or "<html" in lower[:500]:
        guess = "an error or login page saved by a download"
        if "google" in lower:
            guess = "a page of Google Drive saved by a download (quota, virus-scan notice or missing permission)"
        elif "hugging" in lower:
            guess = "a page of the Hugging Face hub saved by a download (missing access or token)"
        return not_a_checkpoint(f"an HTML page, probably {guess}: download the file again")
    if lower.startswith(("<?xml", "<error")):
        what = f"an XML document, probably a storage service's error message ({_told(start)}): download the file again"
        return not_a_checkpoint(what)
    if start.startswith("{") or (start.startswith("[") and start[1:].lstrip()[:1] in '[{"-0123456789]'):
        if '"error"' in lower or '"message"' in lower:
            return not_a_checkpoint(f"JSON text, probably an error message saved by a download: {_told(start)}")
        if '"weight_map"' in lower:
            return not_a_checkpoint("the index of a sharded checkpoint (JSON), which holds no weights itself")
        return not_a_checkpoint("JSON text")
    first = shown(start.splitlines()[0][:60]) if start else ""
    return not_a_checkpoint(f"text, beginning with {first!r}" if first else "text that is only white space")


def _told(text: str) -> str:
    """What a reader of the file would look at first, on one line."""
    words = " ".join(text.split())
    return shown(words if len(words) <= 120 else words[:117] + "...")


def object_pickle(data: bytes) -> int | None:
    """Where in a .npy file the pickle of an array of Python objects begins; None for all other arrays.

    numpy/lib/format.py: magic, version, length of the header, the header as a Python literal. `data` are its first
    bytes; a header that goes on behind them, or is spelled as numpy does not, may say anything.
    """
    if not data.startswith(b"\x93NUMPY") or len(data) < 12:
        return None
    width = 2 if data[6] == 1 else 4
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    header = data[8 + width : start]
    objects = any(sign in header for sign in (b"O", b"\\", b"object"))
    return start if objects or len(data) < start else None


def zip_neighbour(names: Sequence[str]) -> Damage:
    """What a zip archive without a `data.pkl` is, by the names in it."""
    lower = [name.lower() for name in names]
    if any(name.endswith("/.data/extern_modules") or name == ".data/extern_modules" for name in lower):
        return not_a_checkpoint("a torch.package archive: PackageImporter of torch.package runs the code in it")
    if any(name.endswith("/archive_format") for name in lower):
        return not_a_checkpoint("an exported program (.pt2): open it with torch.export.load")
    if lower and all(name.endswith(".npy") for name in lower):
        return not_a_checkpoint("an archive of numpy arrays (.npz)")
    if "[content_types].xml" in lower:
        return not_a_checkpoint("an Office document")
    if any(name.startswith("meta-inf/") for name in lower):
        return not_a_checkpoint("a Java archive")
    if "model.weights.h5" in lower or ("metadata.json" in lower and "config.json" in lower):
        return not_a_checkpoint("a Keras model (.keras)")
    if any(".dist-info/" in name for name in lower):
        return not_a_checkpoint("a Python wheel")
    inside = [name for name in names if name.lower().endswith((".pt", ".pth", ".ckpt", ".bin", ".safetensors"))]
    if inside:
        return not_a_checkpoint(f"a zip archive that holds {shown(inside[0])}: unpack it first")
    if not names:
        return not_a_checkpoint("an empty zip archive")
    return not_a_checkpoint("a zip archive without a data.pkl, which torch.load cannot read")
