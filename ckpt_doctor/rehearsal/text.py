"""Loops, comparisons and rehearsals -> text."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from ckpt_doctor.rehearsal.divergence import Comparison, Difference
from ckpt_doctor.rehearsal.loop import Loop, ScheduleHabit
from ckpt_doctor.rehearsal.rehearsing import Rehearsal, Resumed
from ckpt_doctor.rehearsal.traces import Trace
from ckpt_doctor.reports import clean, plural

NOUNS = {
    "weights": "the weights",
    "optimizer": "the optimizer's state",
    "rate": "rate",
    "beta": "beta or momentum",
    "schedule": "the schedule",
    "scaler": "the gradient scaler",
    "batch": "another batch",
    "random state": "another random state",
    "loss": "loss",
    "update": "other weights after the step",
    "length": "the last step",
}
"""Quantity -> how a line begins."""
WITH_VALUES = ("rate", "beta", "loss")
"""Quantities whose values say something."""


def loop_text(trace: Trace, loop: Loop) -> str:
    """What one trace shows, with the options that it settles."""
    names = " and ".join(dict.fromkeys(one.name for one in loop.optimizers))
    epochs = f" in {plural(loop.epochs, 'epoch')}" if loop.epochs else ""
    length = f" of {loop.steps_per_epoch} steps" if loop.steps_per_epoch else ""
    lines = [
        f"{clean(trace.path.parent)}: {clean(shlex.join(trace.command))}",
        f"  steps     {loop.steps} of {names}{epochs}{length}{_ranks(trace)}; {clean(trace.ended) or 'killed'}",
        *(f"  schedule  {clean(line)}" for line in map(_habit, loop.schedules)),
        *([] if loop.schedules else ["  schedule  none stepped"]),
        f"  saves     {_saves(loop)}",
        *([f"  label     {_label(loop)}"] if loop.label else []),
        *([f"  data      {_data(loop.own_order)}"] if loop.own_order is not None else []),
        f"  resume    {_resume(loop)}",
        *(f"  not shown {clean(sentence)}" for sentence in loop.open),
    ]
    if loop.options:
        lines += ["", f"check then knows: ckpt-doctor check CHECKPOINT {shlex.join(loop.options)}"]
    return "\n".join(lines) + "\n"


def _ranks(trace: Trace) -> str:
    return f", rank {trace.rank} of {trace.world}" if trace.world > 1 else ""


def _habit(habit: ScheduleHabit) -> str:
    times = {1: "once", 2: "twice"}.get(habit.count, f"{habit.count} times")
    return {
        "step": f"{habit.name} steps {times} after every optimizer step",
        "epoch": f"{habit.name} steps {times} after every epoch",
        "steps": f"{habit.name} steps after every {habit.count} optimizer steps",
    }.get(habit.every, f"{habit.name} steps at no fixed distance")


def _saves(loop: Loop) -> str:
    if not loop.saves:
        return "none"
    where = {"epoch end": "at an epoch's end", "mid-epoch": "within an epoch"}
    moments = [where[moment] for moment in sorted(loop.save_moments)]
    order = sorted(loop.save_order)
    against = f", {order[0]} the schedule's step" if len(order) == 1 else ""
    return f"{loop.saves}{', ' * bool(moments)}{' and '.join(moments)}{against}"


def _label(loop: Loop) -> str:
    counts = {"label": "counts the finished epochs", "label+1": "is the number of the finished epoch, from 0"}
    return f"`{clean(loop.label_key)}` {counts[loop.label]}"


def _data(own_order: bool) -> str:
    return "each epoch has its own order of batches" if own_order else "every epoch has the same order of batches"


def _resume(loop: Loop) -> str:
    if not loop.loaded:
        return "nothing was loaded: this run began anew"
    names = ", ".join(clean(Path(path).name or "a buffer") for path in loop.loaded)
    return f"{names} was loaded; restored: {', '.join(loop.restored) or 'nothing'}"


def comparison_text(comparison: Comparison, reference: str, resumed: str) -> str:
    """Where one trace leaves another."""
    begins = comparison.resumed_at.get(0, 0) + 1
    checkpoint = clean(Path(comparison.checkpoint).name)
    rank = f" (rank {comparison.rank})" if comparison.rank else ""
    head = f"{clean(resumed)}{rank} goes on from {checkpoint} at step {begins} of {clean(reference)}"
    if comparison.identical:
        return f"{head}: identical in {plural(comparison.compared, 'step')}\n"
    return "\n".join([f"{head}, and differs:", *_lines(comparison)]) + "\n"


def _lines(comparison: Comparison, indent: str = "  ") -> Iterator[str]:
    several = len({one.optimizer for one in comparison.differences}) > 1
    for one in comparison.differences:
        whose = f" (optimizer {one.optimizer})" if several else ""
        yield f"{indent}step {one.step}: {difference_text(one)}{whose}"


def difference_text(one: Difference) -> str:
    """One difference in a clause: `rate 0.0045642 where the uninterrupted run has 0.0044774: ...`."""
    code = f" ({one.code})" if one.code else ""
    if one.quantity in WITH_VALUES:
        found, expected = _numbers(one.found), _numbers(one.expected)
        tail = f": {one.says}" if one.says else ""
        return f"{NOUNS[one.quantity]} {found} where the uninterrupted run has {expected}{tail}{code}"
    return (one.says or NOUNS[one.quantity]) + code


def _numbers(value: object) -> str:
    values = value if isinstance(value, tuple) else (value,)
    shown = [f"{number:.7g}" if isinstance(number, float) else str(number) for number in values]
    return shown[0] if len(set(shown)) == 1 else ", ".join(shown[:4]) + ", ..." * (len(shown) > 4)


def rehearsal_text(result: Rehearsal, *, strict: bool = False) -> str:
    """The outcome first, then what was predicted and what was seen."""
    final = "the repaired checkpoint" if result.repaired else "the checkpoint"
    verdict = "continues the run" if result.holds(strict=strict) else "leaves the run"
    begins = result.final.comparison.resumed_at.get(0, 0)
    lines = [
        f"a resume from {final} {verdict}{_extent(result.final)}",
        f"  killed after step {result.killed_after}, resumed from {clean(result.checkpoint)} (step {begins})",
        f"  as saved  {_outcome(result.as_saved)}",
        *_lines(result.as_saved.comparison, "    "),
    ]
    if result.repaired is not None:
        flags = f", with {shlex.join(result.repaired.flags)}" if result.repaired.flags else ""
        lines += [f"  repaired  {_outcome(result.repaired)}{flags}", *_lines(result.repaired.comparison, "    ")]
    if unrepeated := sorted(result.final.comparison.unrepeated):
        lines.append(f"  not compared, since the command does not repeat it: {', '.join(unrepeated)}")
    lines.append(f"  predicted {_prediction(result)}")
    if result.loop.options:
        lines.append(f"  check then knows: ckpt-doctor check CHECKPOINT {shlex.join(result.loop.options)}")
    if result.traces is not None:
        lines.append(f"  traces    {clean(result.traces)}")
    return "\n".join(lines) + "\n"


def _extent(resumed: Resumed) -> str:
    steps = plural(resumed.comparison.compared, "step")
    return {
        "identical": f": identical in {steps}",
        "restored": f": what a checkpoint can restore is equal in {steps}",
        "differs": "",
    }[resumed.outcome]


def _outcome(resumed: Resumed) -> str:
    return {"identical": "identical", "restored": "restored, and differs in", "differs": "differs:"}[resumed.outcome]


def _prediction(result: Rehearsal) -> str:
    codes = _codes(result)
    told = f"{result.predicted.resume}{f' ({codes})' if codes else ''}"
    if result.as_saved.forgotten:
        return f"{told} for a script that loads the {' and the '.join(result.as_saved.forgotten)}; this script does not"
    if result.was_right is None:
        return f"{told}: check could not say"
    return f"{told}: {'right' if result.was_right else 'wrong; please report this to ckpt-doctor'}"


def _codes(result: Rehearsal) -> str:
    codes: Sequence[str] = sorted({finding.code for finding in result.predicted.serious})
    return ", ".join(codes)
