"""What reading checkpoints to their last byte showed, kept in the run folder so that each is read once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

from ckpt_doctor.audit.judging import codes, with_findings
from ckpt_doctor.audit.scanning import read_through
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.inert.hashing import sha256
from ckpt_doctor.trainers import all_rules
from ckpt_doctor.types import Checkpoint, FileReport, Finding, Run
from ckpt_doctor.version import __version__

_LONGEST = 1 << 20
"""Bytes of the file; a checkpoint takes about 100."""

Remembered = dict[str, list[str]]
"""Identity of a file -> the codes of the errors that reading it showed."""


def identity(checkpoint: Checkpoint) -> str:
    """Names a file's content without reading it: size, mtime, inode and stored checksums, and who judged them."""
    files = checkpoint.parts or (checkpoint,)
    seen = [(astuple(f.stamp)[1:] if f.stamp else None, sorted(f.checksums.items())) for f in files]
    return sha256([repr((*seen, __version__)).encode()])


def load(run: Path) -> Remembered:
    """What is remembered of a run; nothing where the file is not ours or does not parse."""
    try:
        content = json.loads(names.read(names.remembered(run), _LONGEST))
    except (FileNotFoundError, WriteRefused, ValueError, RecursionError):
        return {}
    found = content.get("read") if isinstance(content, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: codes for name, codes in found.items() if _are_codes(codes)}


def shown_by_reading(before: FileReport, whole: FileReport) -> list[str]:
    """The codes of the errors without a cure that a file read to its last byte has beside those that it had before."""
    errors = {found.code for found in whole.findings if found.severity == "error" and found.migration is None}
    return sorted(errors - {found.code for found in before.findings})


def _are_codes(codes: object) -> bool:
    return isinstance(codes, list) and all(isinstance(code, str) for code in codes)


def store(run: Path, seen: Remembered, still: Sequence[str]) -> None:
    """Remember what was seen of the files that are `still` there. Where that cannot be, they are read again."""
    from ckpt_doctor.writer.files import publish, temporary_file  # here: a scan remembers nothing
    from ckpt_doctor.writer.recover import remove_leftovers
    from ckpt_doctor.writer.splice import to_json

    path = names.remembered(run)
    temporary = names.temporary(path)
    remove_leftovers(path, certain=False)
    with suppress(OSError), temporary_file(temporary, 0o666) as fd:
        with open(fd, "wb", closefd=False) as file:
            file.write(to_json({"read": {name: seen[name] for name in still if name in seen}}))
        if path.is_file() or not path.exists():
            publish(temporary, path)


class Memory:
    """Which files of a run were read to the last byte, and which errors that showed: each is read once."""

    def __init__(self, run_dir: Path, files: Sequence[FileReport], ignore: Sequence[str], trust: Sequence[str]) -> None:
        self._run_dir, self._ignore, self._trust = run_dir, ignore, trust
        self._names = {file.checkpoint.path: identity(file.checkpoint) for file in files}
        self._seen = load(run_dir)

    def is_sound(self, file: FileReport) -> bool:
        """Whether the file was read, and nothing that counts was found on the way."""
        shown = self._seen.get(self._names[file.checkpoint.path])
        return file.checkpoint.deep is not None or (shown is not None and codes(self._ignore).issuperset(shown))

    def read_through(self, file: FileReport, run: Run) -> FileReport:
        """The file, judged by what reading it shows or has shown."""
        name = self._names[file.checkpoint.path]
        if (shown := self._seen.get(name)) is not None:
            return with_findings(file, map(_known, shown), self._ignore)
        whole = read_through(file, run, trust=self._trust)
        self._seen[name] = shown_by_reading(file, whole)
        store(self._run_dir, self._seen, list(self._names.values()))
        return read_through(whole, run, self._ignore, self._trust)


def _known(code: str) -> Finding:
    name = next((rule.name for rule in all_rules() if rule.code == code), "")
    return Finding(code, name, "error", "seen when this very file was read to its last byte before")
