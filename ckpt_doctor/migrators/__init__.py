"""Fixes: a `Case` in, `Edit`s (or a `Refusal`) out. They write no bytes."""

from ckpt_doctor.migrators import fix_epoch, plain_scalars, strip_prefix, sync_rng, sync_scheduler, to_cpu
from ckpt_doctor.migrators.migration import Migration, Plan, refused

OF_TRAINING_STATE: tuple[Migration, ...] = (fix_epoch.MIGRATION, sync_scheduler.MIGRATION, sync_rng.MIGRATION)
"""Fixes that move the training state to the resume point, which the trainer computes."""
OF_ANY_FILE: tuple[Migration, ...] = (plain_scalars.MIGRATION, strip_prefix.MIGRATION, to_cpu.MIGRATION)
"""Fixes that hold for every file. They come last: keys are renamed after everything else, for the others name values by
the keys that the original has."""
