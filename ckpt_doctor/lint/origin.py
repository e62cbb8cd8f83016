"""What a counter of a script is counted from."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Literal

from ckpt_doctor.lint.module import Site


@dataclass(frozen=True)
class Origin:
    """One thing that a number may be."""

    kind: Literal["label", "round", "constant", "unknown"]
    offset: int = 0
    """What is added to it."""
    key: str = ""
    """Of a label: the key under which a checkpoint holds it."""
    loop: ast.AST | None = None
    """Of a round: the loop whose passes it counts."""
    at: Site | None = None
    """Of a round: where it is read; of a label: where it is taken out of the checkpoint."""


UNKNOWN = Origin("unknown")
