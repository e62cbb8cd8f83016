"""Several optimizers or schedules in one file: what each has counted, against the loops and the run's other files.

The loops count the steps of all of them together, and a file does not say which belongs to which.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ckpt_doctor.inert.lines import Line, line_through
from ckpt_doctor.inert.scheduler_kinds import counts as counted
from ckpt_doctor.trainers.lightning.layout import is_by_hand, is_measured, optimizers
from ckpt_doctor.trainers.lightning.layout import schedulers as count_schedulers
from ckpt_doctor.trainers.lightning.loops import loops_of
from ckpt_doctor.trainers.state import highest_step, integer, position_of
from ckpt_doctor.types import Checkpoint, Member, mapping_of

Lines = Mapping[str, Line]
"""`optimizer_states[1]` -> how its count grows with the epochs."""


def has_several(checkpoint: Checkpoint) -> bool:
    """Whether a file has more than one optimizer or schedule, or steps that are made by hand."""
    several = max(optimizers(checkpoint), count_schedulers(checkpoint)) > 1
    return is_measured(checkpoint) and (several or is_by_hand(checkpoint))


def counts(checkpoint: Checkpoint) -> dict[str, int]:
    """`optimizer_states[1]` -> Adam's steps, `lr_schedulers[0]` -> its position; what cannot be read is absent."""
    found = {}
    for key in ("optimizer_states", "lr_schedulers"):
        held = checkpoint.get(key)
        for index, state in enumerate(held if isinstance(held, list) else ()):
            state = mapping_of(state) or {}
            count = highest_step(state.get("state")) if key == "optimizer_states" else position_of(state)
            if count is not None:
                found[f"{key}[{index}]"] = count
    return found


def lines_of(members: Sequence[Member]) -> Lines:
    """How the counts grow in the files of a run that were saved at an epoch's end."""
    told: dict[str, list[tuple[int, int | None]]] = {}
    for member in members:
        loops = loops_of(member.checkpoint)
        if has_several(member.checkpoint) and loops is not None and loops.at_end:
            for name, count in counts(member.checkpoint).items():
                told.setdefault(name, []).append((loops.start, count))
    lines = ((name, line_through(points)) for name, points in told.items())
    return {name: line for name, line in lines if line is not None}


def shortfall(checkpoint: Checkpoint) -> int | None:
    """Steps that the loops count and none of several schedules has; None where that is not known."""
    loops, told = loops_of(checkpoint), checkpoint.get("lr_schedulers")
    if loops is None or not loops.schedule or not has_several(checkpoint) or not isinstance(told, list):
        return None
    positions = [count for name, count in counts(checkpoint).items() if name.startswith("lr_schedulers")]
    return loops.schedule - sum(positions) if positions and all(map(is_counted, told)) else None


def is_counted(state: object) -> bool:
    """Whether each step of the schedule adds one to its position, whatever the script passes to it."""
    held = mapping_of(state) or {}
    return counted(held) and integer(held.get("_step_count")) == (integer(held.get("last_epoch")) or 0) + 1


def departures(
    checkpoint: Checkpoint, lines: Lines, shortfalls: Mapping[int | None, int], paired: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Each count that is of another moment than the file: its place, and what it is against what it should be.

    What two files of the run are short of is a new start of training, not a fault of one of them."""
    loops = loops_of(checkpoint)
    if loops is None or not has_several(checkpoint):
        return
    told = counts(checkpoint)
    due = {name: lines[name].at(loops.start) for name in told if name in lines and loops.at_end}
    departed = [name for name, count in due.items() if told[name] != count]
    for name in departed:
        if name in paired:
            continue  # said of its optimizer's schedule
        yield name, f"{name} has made {told[name]:,} steps where the run's other files call for {due[name]:,}"
    short = shortfall(checkpoint)
    if not departed and short and shortfalls.get(short, 0) < 2:
        each = " and ".join(f"{count:,}" for name, count in told.items() if name.startswith("lr_schedulers"))
        yield "lr_schedulers", f"the schedules have made {each} steps where the loops count {loops.schedule:,} of all"
