"""`migrate --verify torch`: the original and the result loaded by torch itself and compared. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ckpt_doctor.errors import VerificationFailed
from ckpt_doctor.types import Checkpoint, Edit


def compare_loaded(original: Checkpoint, result: Checkpoint, edits: Sequence[Edit]) -> None:
    """Raise VerificationFailed unless torch loads the result, and it differs from the original only where it should.

    torch unpickles with `weights_only=False`, so a file whose pickle names anything dangerous or unknown is refused.
    """
    import torch

    for checkpoint in (original, result):
        if checkpoint.is_damaged("dangerous-global", "foreign-call", "unknown-global"):
            raise VerificationFailed("--verify torch would run foreign code from this file; leave the option out")
    try:
        old, new = (torch.load(one.path, map_location="cpu", weights_only=False) for one in (original, result))
    except Exception as error:  # whatever torch raises on a file is the answer
        raise VerificationFailed(f"torch.load refuses the file: {type(error).__name__}: {str(error)[:200]}") from error
    wrapped = next((edit.path for edit in edits if edit.op == "wrap"), ())
    for key in wrapped:
        new = new[key]
    prefix = next((str(edit.before) for edit in edits if edit.op == "strip"), "")
    changed = {edit.path[len(wrapped) :] if wrapped else edit.path for edit in edits if edit.op == "set"}
    _compare(old, new, (), prefix, changed)


def _compare(old: Any, new: Any, path: tuple[Any, ...], prefix: str, changed: set[Any]) -> None:
    import torch

    if path in changed:
        return
    if isinstance(old, torch.Tensor):
        if not isinstance(new, torch.Tensor) or old.dtype != new.dtype or not _same_bytes(old, new):
            raise VerificationFailed(f"torch loads another tensor at {'.'.join(map(str, path))}")
    elif isinstance(old, Mapping):
        under_model = prefix and path in ((), ("model",))
        renamed = {str(key).removeprefix(prefix) if under_model else key: value for key, value in old.items()}
        extra = {key for key in new if key not in renamed and (*path, key) not in changed}
        if extra or any(key not in new for key in renamed):
            raise VerificationFailed(f"torch loads other keys at {'.'.join(map(str, path)) or 'the root'}")
        for key, value in renamed.items():
            _compare(value, new[key], (*path, key), prefix, changed)
    elif isinstance(old, (list, tuple)):
        if type(old) is not type(new) or len(old) != len(new):
            raise VerificationFailed(f"torch loads another sequence at {'.'.join(map(str, path))}")
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            _compare(a, b, (*path, index), prefix, changed)
    elif isinstance(old, (bool, int, float, str, bytes, type(None))):
        same = old == new or (isinstance(old, float) and math.isnan(old) and isinstance(new, float) and math.isnan(new))
        if not same:
            raise VerificationFailed(f"torch loads {new!r:.60} for {old!r:.60} at {'.'.join(map(str, path))}")


def _same_bytes(a: Any, b: Any) -> bool:
    import torch

    if a.shape != b.shape:
        return False
    if a.layout != torch.strided or a.is_quantized:
        return bool(str(a) == str(b))
    return bool(torch.equal(a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8)))
