"""Migrations: a `Case` in, `Edit`s (or a `Refusal`) out. They write no bytes."""

from ckpt_doctor.migrators import (
    add_best_score,
    fix_epoch,
    plain_scalars,
    strip_prefix,
    sync_rng,
    sync_scheduler,
    to_cpu,
    upgrade,
)
from ckpt_doctor.migrators.migration import Migration

ALL: tuple[Migration, ...] = (
    upgrade.MIGRATION,
    fix_epoch.MIGRATION,
    sync_scheduler.MIGRATION,
    add_best_score.MIGRATION,
    sync_rng.MIGRATION,
    plain_scalars.MIGRATION,
    strip_prefix.MIGRATION,
    to_cpu.MIGRATION,
)
"""In the order in which they are planned; each plans from the original, towards the same resume point.

Keys are renamed after everything else, for the others name values by the keys that the original has.
"""

__all__ = ["ALL", "Migration"]
