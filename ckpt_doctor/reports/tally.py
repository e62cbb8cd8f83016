"""What a report counts, run by run: so its last lines need no run again once each is rendered and dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TypeVar

from ckpt_doctor.reports import text
from ckpt_doctor.reports.groups import located, unchecked
from ckpt_doctor.types import A_COPY, FileReport, RunReport, Severity
from ckpt_doctor.types.record import record

W = TypeVar("W")
_IN_A_COPY = "what only a local copy shows (-v)"
OUTLOOKS = ("ok", "differs", "open", "needs facts", "not judged", "impossible", "repairable", "broken")
"""What a file's outlook can be, in the order in which they are counted."""


@record(frozen=True)
class Tally:
    """The counts of one run, or of all."""

    units: int = 0
    """Checkpoints."""
    files: int = 0
    """Their files: several where a checkpoint is a folder."""
    size: int = 0
    """Bytes of the checkpoints."""
    file_bytes: int = 0
    """Bytes of their files."""
    read: int = 0
    """Bytes that were read: those that came from servers, where a URL was given."""
    requests: int = 0
    """To these servers."""
    outlooks: Mapping[str, int] = field(default_factory=dict)
    verdicts: Mapping[str, int] = field(default_factory=dict)
    severities: Mapping[Severity, int] = field(default_factory=dict)
    """Severity -> how many findings have it."""
    codes: tuple[str, ...] = ()
    """Of the findings, each once, in the order of SARIF's results."""
    deep_only: tuple[str, ...] = ()
    """What only `--deep` looks at."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show but that nothing was found."""
        return not self.units and not self.severities


def tally(run: RunReport) -> Tally:
    """The counts of one run."""
    files = [one for unit in run.files for one in (unit.parts or (unit,))]
    found = [item.finding for item in located(run)]
    return Tally(
        len(run.files),
        len(files),
        sum(unit.checkpoint.size for unit in run.files),
        sum(file.checkpoint.size for file in files),
        run.received or sum(map(bytes_read, run.files)),
        run.requests,
        _counted(unit.outlook for unit in run.files),
        _counted(unit.verdict for unit in run.files),
        _counted(finding.severity for finding in found),
        tuple(dict.fromkeys(finding.code for finding in found)),
        deep_only(run.files),
    )


def _counted(words: Iterable[W]) -> dict[W, int]:
    return dict(Counter(words))  # of no other type, which marshal would not take


def total(tallies: Iterable[Tally]) -> Tally:
    """The counts of all runs together."""
    units = files = size = file_bytes = read = requests = 0
    outlooks, verdicts, severities = Counter[str](), Counter[str](), Counter[Severity]()
    codes, deep = dict[str, None](), dict[str, None]()
    for one in tallies:
        units += one.units
        files += one.files
        size += one.size
        file_bytes += one.file_bytes
        read += one.read
        requests += one.requests
        outlooks.update(one.outlooks)
        verdicts.update(one.verdicts)
        severities.update(one.severities)
        codes.update(dict.fromkeys(one.codes))
        deep.update(dict.fromkeys(one.deep_only))
    return Tally(
        units, files, size, file_bytes, read, requests, outlooks, verdicts, severities, tuple(codes), tuple(deep)
    )


def bytes_read(file: FileReport) -> int:
    """How much of a file was read; parts that were read twice count once."""
    checkpoint = file.checkpoint
    return min(checkpoint.size, checkpoint.bytes_read + (checkpoint.deep.bytes_read if checkpoint.deep else 0))


def deep_only(files: Iterable[FileReport]) -> tuple[str, ...]:
    """What only `--deep` looks at, or a local copy shows, and nobody has looked at."""
    items = [item for item, _ in unchecked(files)]
    found = dict.fromkeys(text.clean(item.what) for item in items if item.settle == "--deep")
    return (*found, *([_IN_A_COPY] if any(item.settle == A_COPY for item in items) else ()))


def omitted(whats: Iterable[str]) -> str:
    """The same in a sentence: `Not checked: stored checksums and NaN (--deep).`; empty when nothing is left."""
    told = list(whats)
    deep = " and ".join(what for what in told if what != _IN_A_COPY)
    left = "; ".join([*([f"{deep} (--deep)"] if deep else ()), *([_IN_A_COPY] if _IN_A_COPY in told else ())])
    return f"Not checked: {left}." if left else ""


def summary(counts: Tally, seconds: float, missed: str = "") -> str:
    """`3 checkpoints: 2 ok, 1 repairable. Not checked: ... 0.09 s, 210 KB read of 9.3 GiB.`."""
    told = [_count(counts.outlooks[word], word) for word in OUTLOOKS if word in counts.outlooks]
    sentences = [f"{text.plural(counts.units, 'checkpoint')}: {', '.join(told)}."]
    if left := omitted(counts.deep_only):
        sentences.append(left)
    if missed:
        sentences.append(f"{missed}.")
    asked = f"{text.plural(counts.requests, 'request')}, " if counts.requests else ""
    sentences.append(f"{text.seconds(seconds)}, {asked}{text.size(counts.read)} read of {text.size(counts.size)}.")
    return " ".join(sentences)


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word.replace('needs', 'need').replace('differs', 'differ')}"
