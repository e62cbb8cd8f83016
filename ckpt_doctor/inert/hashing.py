"""SHA-256, by way of a function: loading OpenSSL would cost every scan more than it reads."""

from __future__ import annotations

from collections.abc import Iterable


def sha256(pieces: Iterable[bytes]) -> str:
    """Hexadecimal digest of the pieces, one after the other."""
    import hashlib

    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()
