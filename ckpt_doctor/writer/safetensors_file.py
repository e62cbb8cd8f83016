"""Writes a safetensors file piece by piece and has the safetensors package open it.

The package's own writer takes every tensor from memory, which a shard of 50 GB does not fit into.
Format: https://github.com/huggingface/safetensors (README, section Format).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ckpt_doctor.errors import VerificationFailed


@dataclass(frozen=True)
class Part:
    """One tensor that is to be written."""

    name: str
    dtype: str
    """As the format spells it: `F32`, `BF16`."""
    shape: tuple[int, ...]
    nbytes: int
    content: Iterable[bytes]


def write_safetensors(file: IO[bytes], parts: Iterable[Part], metadata: Mapping[str, str]) -> None:
    """Write the header and the bytes of all parts, in their order."""
    parts = list(parts)
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for part in parts:
        header[part.name] = {"dtype": part.dtype, "shape": part.shape, "data_offsets": (end, end + part.nbytes)}
        end += part.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as the package does, so that the tensors are aligned
    file.write(len(text).to_bytes(8, "little") + text)
    for part in parts:
        file.writelines(part.content)


def verify_safetensors(path: Path, parts: Iterable[Part]) -> None:
    """Raise `VerificationFailed` where the package refuses the file or reads other names, types or shapes in it."""
    from safetensors import SafetensorError, safe_open  # of all commands only those that write the format need it

    expected = {part.name: (part.dtype, part.shape) for part in parts}
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is not a mapping
            found = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except SafetensorError as error:
        raise VerificationFailed(f"the safetensors package refuses what was written ({error}): discarded") from error
    if found != expected:
        raise VerificationFailed("the safetensors package reads other tensors than were written: discarded")
