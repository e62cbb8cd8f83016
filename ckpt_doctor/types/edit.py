"""A planned change of a checkpoint."""

from __future__ import annotations

from typing import Literal

from ckpt_doctor.types.checkpoint import Checkpoint
from ckpt_doctor.types.record import record
from ckpt_doctor.types.values import KeyPath, dotted


@record(frozen=True)
class Edit:
    """One planned change, with the reason it may be made.

    `op` is `set` (path gets `after`), `strip` (the keys of the state_dict at path lose the prefix `before`), `wrap`
    (the root becomes a dict in which the old root stands at `path`) or `relocate` (storages tagged `before` become
    `after`)."""

    path: KeyPath
    before: object
    after: object
    evidence: str
    op: Literal["set", "strip", "wrap", "relocate"] = "set"
    donor: Checkpoint | None = None
    """The file that the tensors in `after` lie in; None where there are none, or none from elsewhere."""

    @property
    def key(self) -> str:
        """The path as people write it; empty for the whole file."""
        return dotted(self.path)
