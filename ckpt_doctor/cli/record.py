"""`ckpt-doctor record`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ckpt_doctor.cli.output import note
from ckpt_doctor.cli.paths import NAMED
from ckpt_doctor.errors import UsageError
from ckpt_doctor.rehearsal import recording, traces
from ckpt_doctor.remote import local
from ckpt_doctor.reports import clean, plural


@click.command("record", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "-o",
    "--output",
    type=NAMED,
    default=Path("run.trace"),
    show_default=True,
    help="The folder for the trace, one file per process; it must not exist.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def command(output: Path, command: tuple[str, ...]) -> int:
    """Run a training COMMAND and record each optimizer step, schedule step, batch, save and load.

    The script is not changed, and computes what it computes without: every Python process of the command that imports
    torch is recorded, under torchrun and accelerate launch as well. Ends with the command's own exit code.

    \b
    Examples:
      ckpt-doctor record -- python train.py --epochs 3
      ckpt-doctor record -o two.trace -- torchrun --nproc-per-node 2 train.py
      ckpt-doctor trace run.trace
    """
    code = recording.run_recorded(command, recording.new_folder(local(output)))
    try:
        found = traces.read_traces(output)
    except UsageError:
        output.rmdir()
        note(
            "nothing was recorded: no optimizer of torch made a step, or Python started without site packages "
            "(python -I or -E, another PYTHONPATH). In the script, `with ckpt_doctor.record('run.trace'):` records"
        )
        return code or 1
    steps = max(len(made) for trace in found for made in trace.steps.values())
    processes = plural(len(found), "process")
    note(f"recorded {plural(steps, 'step')} of {processes}: ckpt-doctor trace {shlex.quote(clean(output))}")
    return code
