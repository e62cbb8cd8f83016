"""`ckpt-doctor scan`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckpt_doctor import advice, audit, reports
from ckpt_doctor.cli import options, settings
from ckpt_doctor.cli.main import INTERRUPTED
from ckpt_doctor.cli.output import Progress, color, emit, exit_code, note, width
from ckpt_doctor.reports import Detail
from ckpt_doctor.reports.documents import Style
from ckpt_doctor.trainers import all_rules

if TYPE_CHECKING:
    from concurrent.futures import Executor


def cluster(address: str | None) -> AbstractContextManager[Executor | None]:
    """The executor of a Dask cluster; None where no address is given."""
    if address is None:
        return nullcontext()
    from ckpt_doctor.cli.cluster import executor_at

    return executor_at(address)


@click.command("scan", cls=options.Command)
@options.paths
@options.deep
@click.option(
    "--jobs",
    cls=options.Setting,
    type=click.IntRange(min=1),
    help="Worker processes, which take whole runs. Default: 1 for fewer than 1,000 files, else the cores that pay off.",
)
@click.option(
    "--dask",
    cls=options.Setting,
    metavar="ADDRESS",
    help="Judge on the workers of the Dask cluster whose scheduler is there; they need the same paths.",
)
@options.training_facts
@options.selection
@options.trust
@options.fail_on
@options.report_formats(*reports.FORMATS)
@options.verbosity
def command(
    paths: tuple[Path, ...],
    fail_on: str,
    form: str,
    output: Path | None,
    detail: Detail,
    jobs: int | None,
    dask: str | None,
    **given: Any,
) -> int:
    """Audit checkpoints, read-only: is each file whole, and would a resume from it continue the run?

    PATH is a file, a step folder, a run folder or any tree (default: checkpoints/). Checkpoints are found by content,
    whatever their names. Only metadata is read, so the size of a file does not matter; --deep reads every byte.

    What to do comes first: which checkpoint to resume from, after which command, or what is missing. What the rules
    need to know of the training command (steps per epoch, epochs, ...) is inferred from the files and from logs
    nearby (-v prints each with its source). An option that gives it wins.

    \b
    Examples:
      ckpt-doctor scan
      ckpt-doctor scan checkpoints/my_run --steps-per-epoch 8640 --train-epochs 10
      ckpt-doctor scan old_checkpoints --deep --format json -o audit.json
      ckpt-doctor scan --jobs 2
    """
    style = Style(form, width(), color(output), detail, rules=all_rules, curve=audit.curve_of)
    with Progress() as progress, cluster(dask) as executor:
        if dask:  # whose workers run in other folders
            paths = tuple(path.absolute() for path in paths)
            given["logs"] = [log.absolute() for log in given["logs"]]
        told = {"silenced": settings.silenced(), "progress": progress, "counted": progress.count, **given}
        report = advice.report(paths, style, jobs=jobs, executor=executor, **told)
    found = report.ending
    if not found.tally.units and form != "table":
        note(reports.nothing_found(paths))
    emit(report.text(), output)
    if found.interruption:
        note(found.interruption)
        return INTERRUPTED
    return exit_code(found.tally.severities, fail_on)
