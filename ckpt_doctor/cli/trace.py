"""`ckpt-doctor trace`."""

from __future__ import annotations

from pathlib import Path

import click

from ckpt_doctor import rehearsal
from ckpt_doctor.cli import options
from ckpt_doctor.cli.output import emit


@click.command("trace")
@click.argument("trace", type=options.NAMED)
@click.argument("resumed", type=options.NAMED, required=False)
def command(trace: Path, resumed: Path | None) -> int:
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
        emit("\n".join(rehearsal.loop_text(one, rehearsal.describe(one)) for one in traces))
        return 0
    others = {other.rank: other for other in rehearsal.read_traces(resumed)}
    pairs = [(one, others[one.rank]) for one in traces if one.rank in others]
    compared = [(one, other, rehearsal.compare(one, other)) for one, other in pairs]
    emit("".join(rehearsal.comparison_text(c, _name(one), _name(other)) for one, other, c in compared))
    return int(any(comparison.restored for _, _, comparison in compared))


def _name(trace: rehearsal.Trace) -> str:
    return f"{trace.path.parent.name}/{trace.path.name}" if trace.world > 1 else trace.path.parent.name
