"""`ckpt-doctor trace`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit
from ckpt_doctor.cli.paths import HERE
from ckpt_doctor.rehearsal import divergence, json_form, loop, text, traces


@click.command("trace")
@click.argument("trace", type=HERE)
@click.argument("resumed", type=HERE, required=False)
@options.formats("table", "json")
def command(trace: Path, resumed: Path | None, form: str) -> int:
    """Show what a recorded TRACE is of, or where a RESUMED run leaves it.

    Of one trace: what steps the schedule and how often, when checkpoints are saved, what their epoch counts, what a
    resume restores, and the options that tell `check` so. Of two: for each quantity the first step at which the resumed
    run differs; the exit code is then 1 where what a checkpoint restores differs.

    \b
    Examples:
      ckpt-doctor trace run.trace
      ckpt-doctor trace run.trace resumed.trace
    """
    recorded = traces.read_traces(trace)
    if resumed is None:
        loops = list(map(loop.describe, recorded))
        shown = map(text.loop_text, recorded, loops)
        emit(json_form.loops_json(recorded, loops) if form == "json" else "\n".join(shown))
        return 0
    found = divergence.compare(recorded, traces.read_traces(resumed))
    told = text.comparison_text(found, trace.name, resumed.name)
    emit(json_form.comparison_json(found) if form == "json" else told)
    return int(bool(found.restored))
