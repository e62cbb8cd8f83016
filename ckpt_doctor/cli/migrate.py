"""`ckpt-doctor migrate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ckpt_doctor import audit, repair, reports
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import Progress, color, emit, note, width
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import edits
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.reports import plural, size
from ckpt_doctor.types import Checkpoint, Edit, Given, Mode, Number
from ckpt_doctor.writer.cost import cost

FIXES = {
    "add-best-score": "EarlyStopping's state, from --best-score/--val-loss, a sibling checkpoint, or the log.",
    "sync-scheduler": "Scheduler state, lr and betas in step with global_step (in COS mode with the epoch).",
    "sync-rng": "The random state from which a shuffling loader dealt the interrupted epoch's batches.",
    "upgrade": "A bare state_dict becomes a training dict.",
    "fix-epoch": "epoch consistent with global_step.",
    "strip-prefix": "module. and _orig_mod. removed from model keys.",
    "plain-scalars": "numpy scalars become Python numbers, so that weights_only loading works.",
    "to-cpu": "Storages tagged with an accelerator become cpu.",
}


def fixes(command: Callable[..., Any]) -> Callable[..., Any]:
    """One flag per fix."""
    for name, help_text in reversed(FIXES.items()):
        command = click.option(f"--{name}", is_flag=True, help=help_text)(command)
    return command


@click.command("migrate", cls=options.Command)
@options.paths
@fixes
@click.option("--all", "everything", is_flag=True, help="Every repair that findings call for and evidence supports.")
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
@options.trainer
@options.ignored
@options.trust
@options.formats("table", "json")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    everything: bool,
    best_score: float | None,
    val_loss: float | None,
    epoch: int | None,
    dry_run: bool,
    in_place: bool,
    output: Path | None,
    verify: str | None,
    facts: Given,
    trainer: str,
    logs: tuple[Path, ...],
    ignore: tuple[str, ...],
    trust: tuple[str, ...],
    form: str,
    **flags: bool,
) -> None:
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
      ckpt-doctor migrate my_run --sync-scheduler --lradj TST --in-place
    """
    targets = options.existing_paths(paths)
    wanted = repair.NAMES if everything else tuple(n for n in FIXES if flags[n.replace("-", "_")])
    given: dict[str, Any] = {"facts": facts, "logs": logs, "ignore": ignore, "trust": trust, "trainer": trainer}
    if not wanted:
        raise click.UsageError(no_fix_chosen(called_for(targets, given)))
    for one, other in (("in-place", "output"), ("best-score", "val-loss")):
        if ctx.params[one.replace("-", "_")] and ctx.params[other.replace("-", "_")]:
            raise click.UsageError(f"--{one} and --{other} exclude each other")
    request: dict[str, Any] = {
        **given,
        "fixes": wanted,
        "best_score": best_score,
        "val_loss": val_loss,
        "epoch": epoch,
        "in_place": in_place,
        "output": output,
        "verify_torch": verify == "torch",
    }
    planned = repair.migrate(targets, **request, dry_run=True)
    if sentence := disk_sentence(planned, "in-place" if in_place else "output" if output else "replace", output):
        note(sentence)
    results = planned
    if not dry_run:
        with Progress() as progress:
            results = repair.migrate(targets, **request, progress=progress)
    shown = reports.migrated(results, form, paths=() if output else targets, width=width(), color=color())
    emit(shown)
    ctx.exit(int(any(result.status == "failed" or result.refusals for result in results)))


def disk_sentence(planned: Sequence[repair.MigrationResult], mode: Mode, output: Path | None) -> str:
    """What the writes will take in disk space; empty when nothing will be written, or when it can't be told."""
    costs = []
    for result in planned:
        checkpoint = open_checkpoint(result.path) if result.edits else None
        if checkpoint is not None and checkpoint.program is not None:
            with suppress(OSError, WriteRefused):
                size_of_program = checkpoint.program.length + _brought_in(result.edits, checkpoint)
                costs.append(cost(checkpoint, size_of_program, mode, output))
    if not costs:
        return ""
    after = sum(c.after for c in costs)
    peak = after + max(c.during - c.after for c in costs)
    free = min((c.free for c in costs if c.free is not None), default=None)
    sentence = f"{plural(len(costs), 'file')} to write: at most {size(max(0, peak))} of disk on the way, "
    sentence += f"{size(max(0, after))} afterwards"
    return sentence + ("" if free is None else f" ({size(free)} free)")


def _brought_in(planned: Sequence[Edit], checkpoint: Checkpoint) -> int:
    """Bytes that come from other files: tensors, and what describes them."""
    donors = {id(edit.donor): edit.donor for edit in planned if edit.donor}
    descriptions = sum(donor.program.length for donor in donors.values() if donor.program)
    return descriptions + sum(storage.nbytes for storage in edits.adopt(planned, checkpoint)[1])


def called_for(paths: tuple[Path, ...], given: Mapping[str, Any]) -> list[str]:
    """The fixes that findings in these paths name; `given` as `audit.scan` takes it."""
    findings = audit.scan(paths, **given).findings
    named = {finding.migration for finding in findings if finding.severity != "info"}
    return [name for name in FIXES if name in named]


def no_fix_chosen(names: list[str]) -> str:
    """What `migrate` says that is not told what to do."""
    if not names:
        return "no fix was chosen, and no finding in these files calls for one (--all would change nothing)"
    return f"no fix was chosen; the findings call for {', '.join(f'--{n}' for n in names)}; name them, or give --all"
