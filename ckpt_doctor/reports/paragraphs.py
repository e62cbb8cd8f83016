"""What is wrong with a run as lines: all of it, or a line for each rule and whole sentences where there is room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ckpt_doctor.reports import text
from ckpt_doctor.reports.cures import PROGRAM, is_command
from ckpt_doctor.reports.view import Paragraph, RunView

MOST_NAMED = 2
"""Files that are named; more are counted."""
MOST_CURES = 3
"""Commands that are written out beside those of the answer."""


def folded_findings(run: RunView, width: int, color: bool, room: int) -> list[str]:
    """What is wrong, with the advised checkpoint's first; each command once; notes and questions by name."""
    topics, cures = _topics(run), _cure_lines(run)
    end = [*cures, *_note_lines(run, width)]
    if sum(len(next(_forms(topic, run, width, color))) for topic in topics) + len(end) > room:
        end = [*cures, *_terse_notes(run, width)]
    shown, named = len(topics), list[str]()
    while shown > 1 and shown + len(named) + len(end) > room:
        shown -= 1
        named = _named(topics[shown:], run, width)
    spare = max(0, room - shown - len(named) - len(end))
    forms = [list(_forms(topic, run, width, color)) for topic in topics[:shown]]
    told: dict[int, list[str]] = {}
    order = sorted(range(shown), key=lambda number: (number > 0, len(forms[number][-1])))
    for number in order:  # the first is whole, and of the others as many as can be
        fitting = [form for form in forms[number] if len(form) <= spare + 1]
        told[number] = fitting[0] if fitting else _cut(topics[number], run, width, color, spare)
        spare -= len(told[number]) - 1
    return [*(line for number in range(shown) for line in told[number]), *named, *end]


def least_lines(run: RunView, width: int) -> int:
    """Lines that the findings need for one line a rule."""
    return len(_topics(run)) + len(_cure_lines(run)) + len(_terse_notes(run, width))


def _topics(run: RunView) -> list[list[Paragraph]]:
    """The paragraphs of each rule, those that are about the advised checkpoint first."""
    return _by_rule(sorted(run.serious, key=lambda paragraph: run.advised not in paragraph.names))


def _by_rule(paragraphs: Iterable[Paragraph]) -> list[list[Paragraph]]:
    topics: dict[str, list[Paragraph]] = {}
    for paragraph in paragraphs:
        topics.setdefault(paragraph.rule, []).append(paragraph)
    return list(topics.values())


def _forms(topic: Sequence[Paragraph], run: RunView, width: int, color: bool) -> Iterator[list[str]]:
    """A rule's findings in whole sentences, the longest form first: each sentence, or the first one for all files."""
    yield [line for paragraph in topic for line in _whole(paragraph, paragraph.names, run, width, color)]
    if len(topic) > 1:
        yield _whole(replace(topic[0], also=_title(topic, run)), _names(topic), run, width, color)


def _whole(paragraph: Paragraph, names: Sequence[str], run: RunView, width: int, color: bool) -> list[str]:
    """A sentence once; of files whose numbers differ, that of one, which is named."""
    many = len(names) > 1
    here = f"; here {paragraph.names[0]}" if many and paragraph.also and paragraph.names else ""
    sentences = () if any(map(is_command, paragraph.cures)) else paragraph.cures
    files, also = f"{files_in_short(names, run)}{here}", "" if many else paragraph.also
    return paragraph_lines(replace(paragraph, files=files, also=also, cures=sentences), width, color)


def _cut(topic: Sequence[Paragraph], run: RunView, width: int, color: bool, more: int) -> list[str]:
    """The beginning of the first sentence, in a line and so many more."""
    room = width - len(text.ELLIPSIS)
    if not more:
        topic = [replace(topic[0], also="", names=_names(topic))]
    *_, told = _forms(topic, run, room, color)
    lines = told[: more + 1]
    return [*lines[:-1], lines[-1] + text.ELLIPSIS]


def _named(topics: Sequence[Sequence[Paragraph]], run: RunView, width: int) -> list[str]:
    """Rules by name, or by code where they are many, with their files."""
    told = [_title(topic, run) for topic in topics]
    lines = text.wrap(f"{', '.join(told)} (-v)", width, "  and ", "    ")
    if len(lines) <= 2:
        return lines
    counts = [(topic[0].code, len(_names(topic))) for topic in topics]
    told = [f"{code} ({text.plural(n, 'file')})" if n else code for code, n in counts]
    return text.wrap(f"{', '.join(told)} (-v)", width, "  and ", "    ")


def _title(topic: Sequence[Paragraph], run: RunView) -> str:
    """`R503 step-count-mismatch (9 files)`."""
    names = _names(topic)
    many = len(names) > MOST_NAMED
    return replace(topic[0], files=text.plural(len(names), "file") if many else files_in_short(names, run)).title


def _names(topic: Iterable[Paragraph]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for paragraph in topic for name in paragraph.names))


def files_in_short(names: Sequence[str], run: RunView) -> str:
    """`5 of 10 files, epochs 0 to 3`; few by name; empty where only one can be meant."""
    if len(names) <= MOST_NAMED and len(names) < len(run.rows):
        return ", ".join(names)
    if len(names) >= len(run.rows):
        return text.plural(len(names), "file") if len(names) > 1 else ""
    epochs = sorted({run.epochs[name] for name in names if name in run.epochs})
    first, last = (epochs[0], epochs[-1]) if epochs else (0, 0)
    span = f", epochs {first:,} to {last:,}" if first < last else f", epoch {first:,}" if epochs else ""
    return f"{len(names)} of {len(run.rows)} files{span}"


def _terse_notes(run: RunView, width: int) -> list[str]:
    """Notes and questions in a line."""
    told = [f"worth knowing: {', '.join(topic[0].code for topic in _by_rule(run.notes))}"] if run.notes else []
    told += [f"not checked: {text.plural(len(run.open_points), 'question')}"] if run.open_points else []
    return text.wrap(f"{'; '.join(told)} (-v)", width, "  ", "    ") if told else []


def _note_lines(run: RunView, width: int) -> list[str]:
    """Notes by name, one question in full, and several by what would settle them."""
    named = ", ".join(_title(topic, run) for topic in _by_rule(run.notes))
    lines = text.wrap(f"{named} (-v)", width, "  worth knowing: ", "    ") if named else []
    if len(run.open_points) == 1:
        lines += text.wrap(str(run.open_points[0]), width, "  ", "    ")
    elif run.open_points:
        settles = dict.fromkeys(point.settle for point in run.open_points if point.settle)
        questions = f"{len(run.open_points)} questions"
        questions += f", which {', '.join(settles)} would settle" if settles else ""
        lines += text.wrap(f"{questions} (-v)", width, "  not checked: ", "    ")
    return lines


def _cure_lines(run: RunView) -> list[str]:
    """Each command that cures something once, with what it cures; what the answer says of the run is not said again."""
    cures: dict[str, list[str]] = {}
    for paragraph in run.serious:
        for cure in filter(is_command, paragraph.cures):
            if cure == run.all_repairs or not cure.startswith(f"{PROGRAM}migrate"):
                cures.setdefault(cure, []).append(paragraph.code)
    answered = {line.command for line in run.answer.lines} | {run.answer.command} if run.answer else set()
    lines = [
        f"  cure of {', '.join(dict.fromkeys(codes))}: {cure}" for cure, codes in cures.items() if cure not in answered
    ]
    if len(lines) <= MOST_CURES:
        return lines
    return [*lines[:MOST_CURES], f"  and {text.plural(len(lines) - MOST_CURES, 'command')} more (-v)"]


def paragraph_lines(paragraph: Paragraph, width: int, color: bool) -> list[str]:
    """A group of findings: what, in how many files, the consequence; then the cure on its own line."""
    indent = " " * 7
    lines = text.wrap(f"{paragraph.title}: {paragraph.message}", width, "  ", indent)
    lines[0] = lines[0].replace(paragraph.rule, text.styled(paragraph.rule, paragraph.severity, color), 1)
    if paragraph.also:
        lines += text.wrap(paragraph.also, width, f"{indent}also ", indent + "     ")
    for cure in paragraph.cures:
        head = f"{indent}cure: "
        lines += [head + cure] if is_command(cure) else text.wrap(cure, width, head, indent + "      ")
    return lines
