"""`ckpt-doctor trace`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import rehearsal
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit
from ckpt_doctor.cli.paths import HERE


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
    traces = rehearsal.read_traces(trace)
    if resumed is None:
        loops = [rehearsal.describe(one) for one in traces]
        texts = map(rehearsal.loop_text, traces, loops)
        emit(rehearsal.loops_json(traces, loops) if form == "json" else "\n".join(texts))
        return 0
    comparison = rehearsal.compare(traces, rehearsal.read_traces(resumed))
    text = rehearsal.comparison_text(comparison, trace.name, resumed.name)
    emit(rehearsal.comparison_json(comparison) if form == "json" else text)
    return int(bool(comparison.restored))
