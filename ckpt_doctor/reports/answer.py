"""The answer first: what to do about each run, in lines that stand before everything else that a report says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
    where = _where(advice)
    if advice.kind == "complete":
        head = f"nothing is left to train: {where} is the end of the run"
        return Answer(head, "", (*_passed(advice), *_better(advice)))
    if advice.kind == "not judged":
        head = f"resume not judged: {text.clean(advice.reason)}" + (f"; the newest is {where}" if where else "")
    else:
        head = f"resume from {where}"
    after = (*before, Line("after", "", command)) if before and command else before
    return Answer(head, "" if before else command, (*after, *_more(advice)))


def _where(advice: Advice) -> str:
    return f"{text.clean(advice.label)} ({advice.position})" if advice.position else text.clean(advice.label)


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
        is_open = advice.kind == "resume" and advice.reason
        differs = "may differ all the same" if is_open else "differs all the same"
        differs = "found" if advice.kind == "not judged" else differs
        yield Line(differs, ", ".join(map(text.clean, advice.stays)))
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
    yield Line("better", f"{_where(better)} lies beside it")
    if better.command:
        yield Line("  after", "", text.command_line(better.command))


@record(frozen=True)
class Spoken:
    """The answer of one run, with what it takes to say it beside those of others."""

    path: str
    files: int
    is_idle: bool
    answer: Answer


def spoken(run: RunReport) -> Spoken | None:
    """A run's answer; None where nobody asked."""
    told = None if run.advice is None else answer(run.advice)
    return None if told is None else Spoken(str(run.run.path), len(run.files), is_idle(run), told)


def packed(told: Spoken) -> tuple[Any, ...]:
    """The same as tuples of text."""
    said = told.answer
    lines = tuple((line.label, line.text, line.command) for line in said.lines)
    return told.path, told.files, told.is_idle, said.head, said.command, lines


def unpacked(told: tuple[Any, ...]) -> Spoken:
    """An answer from these."""
    path, files, is_idle, head, command, lines = told
    return Spoken(path, files, is_idle, Answer(head, command, tuple(Line(*one) for one in lines)))


def answers_of(report: Report) -> list[Spoken]:
    """The answers of all runs that have one."""
    return [told for run in report.runs if (told := spoken(run)) is not None]


def answer_lines(told: Iterable[Spoken], width: int, color: bool = False) -> Iterator[str]:
    """The answers, those of nobody's files together at the end. Goes through what it is given twice."""
    paths, head, idle, files, first = list[str](), 0, 0, 0, None
    for one in told:
        first = first or one
        if one.is_idle:
            idle, files = idle + 1, files + one.files
        else:
            paths.append(one.path)
            head = max(head, text.display_width(one.answer.head))
    if first is None:
        return
    if first.is_idle and idle == 1 and not paths:
        yield from laid_out(first.answer, width)
        return
    several = len(paths) + idle > 1
    names = iter(_names(list(map(Path, paths)), max(20, width - head - 2)) if several else [""])
    folder = ""
    for one in told:
        if one.is_idle:
            folder = one.path
        else:
            yield from laid_out(one.answer, width, next(names), color)
    if idle:
        where = text.plural(idle, "folder") if idle > 1 else text.clean(folder)
        sentence = f"resume not judged: {text.plural(files, 'checkpoint')} of no known trainer in {where}"
        yield from text.wrap(sentence, width)


def is_idle(run: RunReport) -> bool:
    """Whether a run is nobody's and nothing calls for a look at it: none of its files has vanished meanwhile."""
    quiet = not any(file.serious or file.checkpoint.is_damaged("vanished-file") for file in run.files)
    return run.advice is not None and run.advice.kind == "not judged" and quiet


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
