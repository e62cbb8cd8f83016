"""SHA-256 of pieces, without what it loads where nothing is hashed."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from ckpt_doctor.inert.hashing import sha256


def test_the_digest_of_pieces_is_that_of_the_whole() -> None:
    assert hashlib.sha256(b"abc").hexdigest() == sha256([b"a", b"", b"bc"])
    assert hashlib.sha256().hexdigest() == sha256(iter([]))


def test_reading_loads_no_openssl() -> None:
    """The readers know the module, and only a call of it imports `hashlib`."""
    code = "import sys, ckpt_doctor.inert.names, ckpt_doctor.readers; sys.exit('_hashlib' in sys.modules)"
    assert 0 == subprocess.run([sys.executable, "-c", code]).returncode
