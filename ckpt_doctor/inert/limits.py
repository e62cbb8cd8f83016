"""What a file may cost. Every bound of the readers stands here; reaching one is `Damage` of kind `limit-exceeded`.

The values leave healthy checkpoints a factor of ten or more: 100,000 tensors take about 4 million opcodes.
"""

from __future__ import annotations

MAX_OPCODES = 20_000_000
"""Opcodes of one pickle. Bounds time to seconds, and memory together with `MIN_CONTAINERS`."""
MIN_CONTAINERS = 2_000_000
"""Dicts, lists, tuples, sets and calls (which count four-fold) that any pickle may make, and values that it may
remember. A one-byte opcode makes an object of up to 230 bytes."""
BYTES_PER_CONTAINER = 4
"""In larger pickles so many bytes stand for one of them. Those of torch take some 30."""
MAX_COPIED = 2
"""Times the size of a pickle that its calls may copy (`OrderedDict(pairs)`, `_codecs.encode(text, "latin1")`)."""
MAX_PROGRAM_BYTES = 1 << 30
"""Bytes of one pickle, or of one compressed record once inflated."""
MAX_INFLATE_RATIO = 20
"""Bytes that a compressed byte may become (DEFLATE's own bound is 1032), beyond what every record may."""
MAX_RECORD_RATIO = 200
"""Times the size of the file that a compressed record may have and still be read through, in pieces."""
MAX_INFLATED = 64 << 20
"""Bytes that any compressed record may become."""
MAX_PROGRAMS = 64
"""Pickles in a row that are looked at behind the first STOP."""
MAX_NESTED_STREAMS = 100_000
"""`torch.storage._load_from_bytes` payloads in one file: one per storage."""
SHORTEST_STREAM = 64
"""Bytes below which no checkpoint stands inside a pickle: an archive of one empty record has more."""
MAX_STREAM_DEPTH = 4
"""Checkpoints inside checkpoints: each level is read by a nested call. Real files have one."""
MAX_DEPTH = 1_000
"""Nesting that is walked in search of tensors. Paths are kept per tensor, so cost grows with depth times tensors."""
MAX_SHARED = 50_000
"""Values that a comparison looks at once more, because another place of the file shares them; and those that are looked
at below one tensor."""
MAX_KEY_NODES = 1_000
"""Elements of a tuple used as a dict key, nested ones included: hashing visits every path, not every object."""
MAX_KEY_PARTS = 2_000_000
"""Parts of all dict keys of one pickle that are tuples, sets, floats, complex numbers or large integers."""
MAX_EQUAL_HASHES = 64
"""Different dict keys with one hash in one pickle. Of numbers and tuples a file can choose the hash; among healthy ones
a pair may have one (-1 and -2), and 2.0**k has that of 2.0**(k + 61)."""
MAX_INT_BITS = 4_096
"""Of an integer used as a dict key: the hash of an int is computed anew at each look-up."""
MAX_DECIMAL_DIGITS = 4_300
"""Digits of a decimal integer in protocol 0, CPython's own bound: conversion is quadratic."""
MAX_LINE = 1 << 16
"""Bytes of a name or number that ends with a newline (GLOBAL, INT, PUT)."""
MAX_DIMENSIONS = 64
"""Of a tensor: `at::kMaxDimensions`-like bounds in PyTorch are 64 or lower."""
MAX_ENTRIES = 2_000_000
"""Entries of a zip directory."""
MAX_UNLISTED_BYTES = 256 << 20
"""Bytes of an archive that belong to no record and are searched for hidden ones. An append leaves a few megabytes."""
MAX_SAFETENSORS_HEADER = 100_000_000
"""Bytes of a safetensors header, the bound of the reference implementation (`MAX_HEADER_SIZE`)."""
MAX_JSON_BYTES = 64 << 20
"""Bytes of a JSON part. The history of a million logged steps has about as many."""
MAX_JSON_DEPTH = 200
"""Nesting in a JSON part. Those of trainers have below 20."""
MAX_UNIT_FILES = 100_000
"""Entries of a folder, all below it included, that one checkpoint may consist of."""
MAX_UNIT_DEPTH = 8
"""Folders inside folders of one checkpoint."""
MAX_MARKER_BYTES = 4_096
"""Bytes of a text file that names a checkpoint: one path."""
MAX_MIGRATION_BYTES = 16 << 20
"""Bytes of one migration record inside an archive."""
MAX_DAMAGE = 100
"""Damage of one kind that is listed one by one; a summary stands for the rest."""
LONG_STRING = 4_096
"""Strings from here on are kept once each, so that equal dict keys compare by identity."""


def inflated(packed: int) -> int:
    """Bytes that a compressed record of so many bytes may become."""
    return min(max(MAX_INFLATED, packed * MAX_INFLATE_RATIO), MAX_PROGRAM_BYTES)
