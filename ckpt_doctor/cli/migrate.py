"""`ckpt-doctor migrate`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ckpt_doctor import advice, repair, reports
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import Progress, color, emit, note, unfinished, width
from ckpt_doctor.reports import Detail, repairs
from ckpt_doctor.types import Number

FIXES = {
    "add-best-score": "EarlyStopping's state, from --best-score/--val-loss, a sibling checkpoint, or the log.",
    "fix-best-path": "The folder in which the files lie into the memory of the best model.",
    "add-trainer-state": "trainer_state.json of a run of the Hugging Face Trainer, from a sibling checkpoint.",
    "sync-scheduler": "Scheduler state, lr and betas where the step, or the epoch, calls for them.",
    "sync-rng": "The random state from which a shuffling loader dealt the interrupted epoch's batches.",
    "upgrade": "A bare state_dict becomes a training dict.",
    "fix-epoch": "epoch consistent with global_step.",
    "strip-prefix": "module. and _orig_mod. removed from model keys.",
    "plain-scalars": "numpy scalars become Python numbers, so that weights_only loading works.",
    "to-cpu": "Storages tagged with an accelerator become cpu.",
}


def fixes(command: Callable[..., Any]) -> Callable[..., Any]:
    """One flag per fix, and one for all; the command receives their names as `fixes`."""

    @functools.wraps(command)
    def with_fixes(*args: Any, everything: bool, **rest: Any) -> Any:
        chosen = [name for name in FIXES if rest.pop(name.replace("-", "_"))]
        return command(*args, fixes=repair.NAMES if everything else chosen, **rest)

    every = click.option(
        "--all", "everything", is_flag=True, help="Every repair that findings call for and evidence supports."
    )
    with_fixes = every(with_fixes)
    for name, help_text in reversed(FIXES.items()):
        with_fixes = click.option(f"--{name}", is_flag=True, help=help_text)(with_fixes)
    return with_fixes


@click.command("migrate", cls=options.Command)
@options.paths
@fixes
@click.option("--best-score", type=options.Real(), help="Use this best_score: minus the best validation loss.")
@click.option(
    "--val-loss",
    type=options.Real(Number(0)),
    help="Use this best validation loss.",
)
@click.option("--epoch", type=click.IntRange(min=0), help="--upgrade: finished epochs, where no log tells.")
@click.option("--dry-run", is_flag=True, help="Print the plan (key, before, after, evidence); write nothing.")
@click.option("--in-place", is_flag=True, help="Edit the file itself: instant at any size, undone by truncation.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the results there and leave the originals.",
)
@click.option(
    "--verify", type=click.Choice(["torch"]), help="Load each result with torch.load as well before it counts."
)
@options.training_facts
@options.ignored
@options.trust
@options.formats("table", "json")
@options.verbosity
def command(paths: tuple[Path, ...], dry_run: bool, verify: str | None, form: str, detail: Detail, **given: Any) -> int:
    """Repair checkpoints: one option per fix, or --all.

    Each file is replaced atomically: a reader sees the old file or the new one, at every instant. Before that the
    result is read back and checked, and every tensor stays byte for byte what it was. Every value written comes from
    the file, a sibling, the log or the command line, and the plan names which; without evidence the repair is refused
    (exit code 1) and the message says what to give. A file that needs nothing is left untouched.

    PATH defaults to checkpoints/. `ckpt-doctor undo` takes the last migration of a file back.

    \b
    Examples:
      ckpt-doctor migrate --all --dry-run
      ckpt-doctor migrate --add-best-score
      ckpt-doctor migrate my_run/checkpoint --add-best-score --val-loss 0.4123456
      ckpt-doctor migrate my_run --sync-scheduler --steps-per-epoch 500 --in-place
    """
    planned = repair.plan(paths, **given)
    if not given["fixes"]:
        raise click.UsageError(repairs.no_fix_chosen(planned.called_for))
    if planned.costs:
        note(repairs.disk_needed(planned.costs))
    results = planned.results
    if not dry_run:
        with Progress() as progress:
            results = repair.apply(planned, verify_torch=verify == "torch", progress=progress)
    elsewhere = given["output"] is not None
    known = {name: given[name] for name in ("facts", "logs", "ignore", "trust", "trainer")}
    read = planned.read | {result.path: result.written for result in results if result.written is not None}
    after = None if elsewhere else advice.scan(paths, **known, read=read)
    named = () if elsewhere else paths
    emit(reports.migrated(results, form, paths=named, after=after, width=width(), color=color(), detail=detail))
    return unfinished(results)
