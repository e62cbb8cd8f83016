"""Fixes: a `Case` in, `Edit`s (or a `Refusal`) out. They write no bytes."""

from ckpt_doctor.migrators import fix_epoch, plain_scalars, strip_prefix, sync_rng, sync_scheduler, to_cpu
from ckpt_doctor.migrators.fix import Fix, Plan, refused

OF_TRAINING_STATE: tuple[Fix, ...] = (fix_epoch.FIX, sync_scheduler.FIX, sync_rng.FIX)
"""Fixes that move the training state to the resume point, which the trainer computes."""
OF_ANY_FILE: tuple[Fix, ...] = (plain_scalars.FIX, strip_prefix.FIX, to_cpu.FIX)
"""Fixes that hold for every file. They come last: keys are renamed after everything else, for the others name values by
the keys that the original has."""
