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
    strip_prefix.MIGRATION,
    upgrade.MIGRATION,
    fix_epoch.MIGRATION,
    sync_scheduler.MIGRATION,
    add_best_score.MIGRATION,
    sync_rng.MIGRATION,
    plain_scalars.MIGRATION,
    to_cpu.MIGRATION,
)
"""In the order in which they are planned; each plans from the original, towards the same resume point."""

__all__ = ["ALL", "Migration"]
