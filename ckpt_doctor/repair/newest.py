"""A run -> the checkpoint to resume from, or the repair that would make one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckpt_doctor import audit
from ckpt_doctor.repair.planning import plan
from ckpt_doctor.types import Latest


def find_latest(run_dir: Path, *, repairable: bool = False, deep: bool = False, **given: Any) -> Latest:
    """The newest checkpoint that is safe to resume from, judged as the gate does; arguments as of `audit.latest`.

    Its report may still contain findings that do not keep it from being resumed. Where no checkpoint is safe: the
    newest that can be repaired, and why a repair of it is refused.
    """
    path, passed_over = audit.latest(run_dir, repairable=repairable, deep=deep, **given)
    if path is not None:
        return Latest(run_dir, audit.check(path, **given).files[0], tuple(passed_over))
    other, _ = audit.latest(run_dir, repairable=True, deep=deep, **given)
    refusals = plan([other], **given).files[0].refusals if other is not None else ()
    return Latest(run_dir, None, tuple(passed_over), other, refusals, given.get("trainer", ""))
