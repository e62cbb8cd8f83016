"""`ckpt-doctor prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit, width
from ckpt_doctor.cli.paths import NAMED
from ckpt_doctor.reports import json_v1, outcomes
from ckpt_doctor.training.pruning import prune


@click.command("prune", cls=options.Command)
@click.argument("run_dir", type=NAMED)
@click.option("--keep", type=click.IntRange(min=1), required=True, help="How many resumable step checkpoints stay.")
@click.option("--protect", type=NAMED, multiple=True, help="Never remove this one; may be given repeatedly.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed; remove nothing.")
@click.option(
    "--deep/--no-deep", default=True, help="Read those that stay to the last byte, each once, before anything goes."
)
@options.training_facts
@options.ignored
@options.trust
@options.formats("table", "json")
def command(run_dir: Path, form: str, **given: Any) -> None:
    """Remove the older step checkpoints of a run, and none that may still be needed: save_total_limit done safely.

    The N newest that the trainer can resume from stay; age is progress in training, not the number in a folder's name.
    Those that stay are read to the last byte before anything goes, each once. Damaged ones, and those with NaN weights,
    don't count, and stay for repair or salvage. The best checkpoint is never touched, nor one that another process has
    open. Works under the run's lock, and a crash leaves no half checkpoint.

    \b
    Examples:
      ckpt-doctor prune checkpoints/my_run --keep 3 --dry-run
      ckpt-doctor prune my_run --keep 2 --protect my_run/epoch_18.pt
    """
    result = prune(run_dir, **given)
    emit(json_v1.pruned(result) if form == "json" else outcomes.pruned(result, width=width()))
