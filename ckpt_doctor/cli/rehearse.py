"""`ckpt-doctor rehearse`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit, note
from ckpt_doctor.cli.paths import NAMED
from ckpt_doctor.rehearsal import json_form, recording, rehearsing, text
from ckpt_doctor.remote import local


@click.command(
    "rehearse",
    cls=options.Command,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--resume",
    required=True,
    metavar="ARGUMENTS",
    help="What makes the command resume, added at its end; {checkpoint} is the checkpoint saved last before the kill.",
)
@click.option("--steps", type=click.IntRange(min=2), help="Optimizer steps of the uninterrupted run.")
@click.option(
    "--kill-after",
    type=click.IntRange(min=1),
    help="Optimizer steps after which it is killed; without it soon after the first save.",
)
@click.option("--kill", is_flag=True, help="Kill with SIGKILL, in a run of its own, instead of copying frozen files.")
@click.option("--timeout", type=click.FloatRange(min=1), default=600.0, show_default=True, help="Seconds for each run.")
@click.option("--strict", is_flag=True, help="Ask for equal batches, random state and losses, too.")
@click.option("-o", "--output", type=NAMED, help="Keep the recorded traces in this folder; it must not exist.")
@options.formats("table", "json")
@options.training_facts
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def command(
    resume: str,
    strict: bool,
    output: Path | None,
    form: str,
    command: tuple[str, ...],
    facts: Any,
    logs: Any,
    **given: Any,
) -> int:
    """Prove that a training COMMAND resumes: run it, kill it, resume it, compare it step by step with the whole run.

    The command runs in a scratch folder that mirrors the present one, so that nothing here is written: its outputs must
    go to relative paths, or to where {workdir} stands in it. It is resumed from the checkpoint as it is and, where
    something can be repaired, after `migrate --all`. The exit code is 0 where weights, optimizer, rate and schedule of
    the last of these resumes are those of the uninterrupted run, 1 where not, 2 where the rehearsal came to no result.

    \b
    Examples:
      ckpt-doctor rehearse --resume '--resume {checkpoint}' -- python train.py
      ckpt-doctor rehearse --kill-after 23 --resume --auto -- torchrun train.py
    """
    if logs:
        note("--log has no use here: what the command prints is the log")
    traces = recording.new_folder(local(output)) if output is not None else None
    result = rehearsing.rehearse(command, resume, given=facts, traces=traces, say=note, **given)
    shown = json_form.rehearsal_json if form == "json" else text.rehearsal_text
    emit(shown(result, strict=strict))
    return int(not result.holds(strict=strict))
