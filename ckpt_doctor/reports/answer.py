"""The answer first: what to do about each run, in lines that stand before everything else that a report says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ckpt_doctor.reports import text
from ckpt_doctor.reports.facts import nearest
from ckpt_doctor.types import Advice, PassedOver, Report, RunReport
from ckpt_doctor.types.record import record

MOST = 3
"""Checkpoints that are named as passed over."""


@record(frozen=True)
class Line:
    """A line under the answer: a word or two, what they introduce, and what to copy."""

    label: str
    text: str = ""
    command: str = ""
    """Never wrapped."""


@record(frozen=True)
class Answer:
    """What to do about a run."""

    head: str
    """`resume from epoch_3.pt (step 135 of 225)`."""
    command: str = ""
    """What to run before; in the head's line where it fits and nothing has to be known first."""
    lines: tuple[Line, ...] = ()


def answer(advice: Advice) -> Answer:
    """The advice of a run in words. Every text is one line and harmless to print."""
    command = text.command_line(advice.command)
    before = tuple(Line("note", text.clean(caveat)) for caveat in advice.caveats)
    if advice.kind == "none":
        safe = f"{text.clean(advice.label)} is not safe" if advice.label else "nothing here is safe"
        head = f"{safe} to resume from: {text.clean(advice.reason)}"
        saving = (Line("to save what is left", "", command),) if command else ()
        return Answer(head, "", (*saving, *_passed(advice), *_better(advice)))
    where = f"{text.clean(advice.label)} ({advice.position})" if advice.position else text.clean(advice.label)
    if advice.kind == "complete":
        head = f"nothing is left to train: {where} is the end of the run"
        return Answer(head, "", (*_passed(advice), *_better(advice)))
    if advice.kind == "not judged":
        head = f"resume not judged: {text.clean(advice.reason)}" + (f"; the newest is {where}" if where else "")
    else:
        head = f"resume from {where}"
    after = (*before, Line("after", "", command)) if before and command else before
    return Answer(head, "" if before else command, (*after, *_more(advice)))


def _more(advice: Advice) -> Iterator[Line]:
    if advice.log is not None:
        named = text.clean(nearest(advice.log))
        yield Line("if", f"{named} is this run's log: it names another folder, and nothing contradicts it")
        if advice.otherwise:
            yield Line("if it is not", "", text.command_line(advice.otherwise))
    if advice.missing and (advice.log is None or advice.otherwise):
        told = (f"{blank.word or blank.option} is {text.clean(blank.what)}" for blank in advice.missing)
        yield Line("fill in", "; ".join(told))
    if advice.reason and advice.kind != "not judged":
        yield Line("because" if advice.missing else "open", text.clean(advice.reason))
    if advice.flags:
        yield Line("with", "", " ".join(map(text.clean, advice.flags)))
    yield from _way_out(advice)
    for log in advice.left_logs:
        yield Line("not taken", f"{text.clean(nearest(log.path))}: {text.clean(log.reason)}")
    yield from _passed(advice)
    if advice.stays:
        yield Line("differs all the same", ", ".join(map(text.clean, advice.stays)))
    yield from _better(advice)


def _way_out(advice: Advice) -> Iterator[Line]:
    """What is left where the evidence is lost for good."""
    if advice.way_out is None:
        return
    codes = ",".join(advice.way_out.codes)
    kept = " and ".join(text.clean(nearest(path)) for path in advice.way_out.keep)
    first = f"keep a copy of {kept}, " if kept else ""
    if advice.missing:
        yield Line("if nobody knows it", f"{first}resume with --ignore {codes}")
        if advice.way_out.command:
            yield Line("  after", "", text.command_line(advice.way_out.command))
    else:
        yield Line("lost for good", f"{first}resume with --ignore {codes}")


def _passed(advice: Advice) -> Iterator[Line]:
    if advice.passed_over:
        yield Line("passed over", text.listing(map(_reason, advice.passed_over), MOST))


def _reason(passed: PassedOver) -> str:
    told = " ".join(part for part in (passed.code, text.clean(passed.reason)) if part)
    return f"{text.clean(passed.label)} ({told})"


def _better(advice: Advice) -> Iterator[Line]:
    """A checkpoint of the same run that the run's own advice names."""
    better = advice.better
    if better is None:
        return
    where = f"{text.clean(better.label)} ({better.position})" if better.position else text.clean(better.label)
    yield Line("better", f"{where} lies beside it")
    if better.command:
        yield Line("  after", "", text.command_line(better.command))


def answer_lines(report: Report, width: int, color: bool = False) -> list[str]:
    """The answers of all runs that have one, those of nobody's files told together at the end."""
    told = [run for run in report.runs if run.advice is not None]
    known = [run for run in told if not is_idle(run)]
    heads = [answer(run.advice).head for run in known if run.advice is not None]
    room = max(20, width - max(map(text.display_width, heads), default=0) - 2)
    names = _names([run.run.path for run in known], room) if len(told) > 1 else [""] * len(known)
    lines: list[str] = []
    for run, name in zip(known, names, strict=True):
        assert run.advice is not None, "these have one"
        lines += laid_out(answer(run.advice), width, name, color)
    return [*lines, *_idle_lines([run for run in told if is_idle(run)], bool(known), width)]


def is_idle(run: RunReport) -> bool:
    """Whether a run is nobody's and nothing calls for a look at it."""
    quiet = not any(file.serious for file in run.files)
    return run.advice is not None and run.advice.kind == "not judged" and quiet


def _idle_lines(runs: Sequence[RunReport], after_others: bool, width: int) -> list[str]:
    if len(runs) == 1 and not after_others and runs[0].advice is not None:
        return laid_out(answer(runs[0].advice), width)
    if not runs:
        return []
    files = sum(len(run.files) for run in runs)
    where = f" in {text.plural(len(runs), 'folder')}" if len(runs) > 1 else f" in {text.clean(runs[0].run.path)}"
    return text.wrap(f"resume not judged: {text.plural(files, 'checkpoint')} of no known trainer{where}", width)


def _names(paths: Sequence[Path], width: int) -> list[str]:
    """The runs' names below the folder that holds them all."""
    parents = {path.parent for path in paths}
    kinds = {(type(path), path.is_absolute()) for path in paths}
    top = type(paths[0])(os.path.commonpath(parents)) if len(kinds) == 1 else Path()
    short = [text.clean(path.relative_to(top) if path.is_relative_to(top) and path != top else path) for path in paths]
    return [f"{name}: " for name in text.shorten_all(short, width)]


def laid_out(told: Answer, width: int, name: str = "", color: bool = False) -> list[str]:
    """An answer as lines; what one copies is never broken."""
    head = f"{name}{told.head}"
    whole = f"{head} after: {told.command}"
    rest: tuple[Line, ...] = told.lines
    if told.command and text.display_width(whole) <= width:
        lines = [whole]
    else:
        lines = text.wrap(head, width, "", "  ")
        rest = (*((Line("after", "", told.command),) if told.command else ()), *rest)
    lines[0] = text.styled(lines[0], "bold", color)
    for line in rest:
        start = f"  {line.label}: "
        lines += [start + line.command] if line.command else text.wrap(line.text, width, start, "    ")
    return lines
