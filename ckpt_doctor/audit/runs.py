"""Files -> runs: which belong together, who wrote them, and what is known of the training command."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ckpt_doctor.audit.discovery import checkpoint_files, existing
from ckpt_doctor.audit.opening import read_file
from ckpt_doctor.errors import UsageError
from ckpt_doctor.readers.detect import is_unpacked
from ckpt_doctor.readers.file_view import WHOLE
from ckpt_doctor.readers.part_names import MARKERS
from ckpt_doctor.readers.tensor_bytes import read_scalars
from ckpt_doctor.readers.views import in_reach
from ckpt_doctor.remote import RemotePath
from ckpt_doctor.reports import quoted
from ckpt_doctor.trainers import UNKNOWN, Trainer, every, is_unit, known, trainer_named
from ckpt_doctor.types import A_COPY, Checkpoint, Given, Member, NotChecked, Run, TensorRef, option_of
from ckpt_doctor.validators.files import UNTRUSTED


def find_runs(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Checkpoint files grouped by run folder, both in path order."""
    runs: dict[Path, list[Path]] = {}
    for path in paths:
        runs.setdefault(run_folder(path), []).append(path)
    for files in runs.values():  # one by one, for the keys of ten thousand files take more room than a scan
        files.sort(key=_natural)
    return dict(sorted(runs.items(), key=lambda item: _natural(item[0])))


def run_folder(path: Path) -> Path:
    """The folder of the run that a file belongs to by its place."""
    return next(folder for trainer in every() if (folder := trainer.run_of(path)))


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key in which `step_900` comes before `step_1000`."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part)) if part.isdigit() and part.isascii() else (1, part) for part in parts]


def with_siblings(
    folder: Path, files: Sequence[Path], read: Mapping[Path, Checkpoint] | None = None
) -> list[Checkpoint]:
    """Checkpoints and, after them, others of the run that are read as evidence, unless they are `read` already.

    Those that a trainer itself would have put there, and those that belong to one of the files by their look.
    """
    opened = [read_file(path, read or {}) for path in in_reach(files)]
    seen: set[str] = set()

    def more(paths: Iterable[Path]) -> None:
        for path in paths:
            if not seen:
                seen.update(os.path.realpath(file) for file in files)
            if (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                opened.append(read_file(path, read or {}))

    more(path for trainer in known() for path in trainer.siblings(folder))
    more(path for trainer in known() for path in trainer.relatives(opened))
    return opened


def understand(
    folder: Path, checkpoints: Iterable[Checkpoint], given: Given, logs: Sequence[Path] = (), trainer: str = ""
) -> tuple[Run, list[Member]]:
    """The run that checkpoints of one folder belong to, with its facts and history; and a member for each of them.

    `Run.members` holds only those that the trainer owns and that could be read to the end. `trainer` names the one for
    which a person claims them; it gets what it can read.
    """
    checkpoints = list(checkpoints)
    owner, owned = _owner(folder, checkpoints, logs, trainer)
    if any(isinstance(checkpoint.path, RemotePath) for checkpoint in checkpoints):
        members = [_sampled(owner, checkpoint) for checkpoint in checkpoints]
    else:
        members = [owner.member_of(checkpoint, read_scalars) for checkpoint in checkpoints]
    ours = [m for m in members if m.checkpoint.path in owned and not m.checkpoint.is_damaged(*UNTRUSTED)]
    judged = {member.checkpoint.path for member in ours}
    others = tuple(checkpoint.path for checkpoint in checkpoints if checkpoint.path not in judged)
    ours = ours if owner is not UNKNOWN else []
    is_bare = any(checkpoint.layout == "state-dict" for checkpoint in checkpoints)  # whose place alone says whose it is
    placed = {one.name: frozenset(one.siblings(folder)) for one in known() if is_bare}
    is_by_shape = owner.by_shape or owner is UNKNOWN
    run = Run(
        folder,
        owner.name,
        tuple(ours),
        unjudged=others,
        by_shape=owner.by_shape,
        claimed=trainer,
        logs=tuple(logs),
        placed=placed,
        marked=_marked(folder) if is_by_shape else {},
        others=tuple(m for m in members if m.checkpoint.path not in judged) if is_by_shape else (),
    )
    its = {fact.name: given[fact.name] for fact in owner.facts if fact.name in given}
    run = owner.judging().understand(run, its, logs)
    return replace(run, not_checked=(*run.not_checked, *_not_of(owner, given.keys() - its.keys()))), members


def _marked(folder: Path) -> dict[str, str]:
    """The files and links in a folder that name the last checkpoint there, each with that one's name."""
    if isinstance(folder, RemotePath) or not any(os.path.lexists(folder / marker) for marker in MARKERS):
        return {}
    from ckpt_doctor.readers.sets import marked  # most runs have none

    return marked(folder)


def _sampled(owner: Trainer, checkpoint: Checkpoint) -> Member:
    """The member for a checkpoint behind a URL, with a note where not all of its small values were read."""
    asked: list[object] = []

    def read(part: Checkpoint, scalars: list[TensorRef]) -> list[int | float | bool | bytes | None]:
        values = read_scalars(part, scalars)
        asked.extend(values if part.size > WHOLE else ())
        return values

    member = owner.member_of(checkpoint, read)
    if None not in asked:
        return member
    why = f"the file is remote, and {asked.count(None):,} of {len(asked):,} were not read"
    note = NotChecked("single numbers, such as Adam's steps", why, A_COPY)
    return replace(member, checkpoint=replace(member.checkpoint, not_checked=(*checkpoint.not_checked, note)))


def _not_of(owner: Trainer, names: Iterable[str]) -> Iterator[NotChecked]:
    """That facts which a person gave are none of this trainer's; of no known trainer that goes without saying."""
    for name in sorted(names) if owner.name else ():
        yield NotChecked(option_of(name), f"the training command of {owner.name} has no such fact", "")


def _owner(
    folder: Path, checkpoints: Sequence[Checkpoint], logs: Sequence[Path], claimed_for: str
) -> tuple[Trainer, Collection[Path]]:
    if claimed_for:
        trainer = trainer_named(claimed_for)
        read = {checkpoint.path for checkpoint in checkpoints if trainer.reads(checkpoint)}
        return (trainer, read) if read else (UNKNOWN, ())
    for trainer in known():
        if owned := trainer.recognises(folder, checkpoints, logs):
            return trainer, owned
    return UNKNOWN, ()


def resume_file(path: Path) -> Path:
    """The checkpoint that a trainer loads when it is told to resume from PATH; UsageError where there is none."""
    if not existing(path)[0].is_dir() or is_unit(path, [entry.name for entry in path.iterdir()]):
        return path
    target = next((file for trainer in known() if (file := trainer.resume_target(path))), None)
    target = target or next((path / name for name in _marked(path).values()), None)
    if target is not None:
        return target
    below = list(checkpoint_files(path))
    if below and all(is_unpacked(file.parent) for file in below):
        return below[0]  # F116 says more than that there is nothing
    if len(below) == 1:
        return below[0]
    runs = find_runs(below)
    if list(runs) == [path]:
        found = f"{path} holds {len(below)} checkpoints"
        raise UsageError(f"{found}; `ckpt-doctor latest {quoted(path)}` finds the one to resume from")
    if not runs:
        raise UsageError(f"{path} holds nothing to resume from")
    names = [str(run) for run in runs]
    told = ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
    which = f"{len(names)} runs ({told}); name one of them" if len(names) > 1 else f"one run: check {quoted(names[0])}"
    raise UsageError(f"{path} is not a run itself, and holds {which}")


def several_runs(folder: Path) -> list[Path]:
    """The runs below a folder where they are several, and it is not one of them alone; none otherwise."""
    runs = [run for run in find_runs(checkpoint_files(folder)) if run != folder] if folder.is_dir() else []
    return runs if len(runs) > 1 else []


def one_run(folder: Path | str) -> Path:
    """The folder, if it is one run's. UsageError for one that is not there, is a file, or holds several runs."""
    path = existing(folder)[0]
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder")
    if runs := several_runs(path):
        names = ", ".join(str(run.relative_to(path)) for run in runs[:3]) + (", ..." if len(runs) > 3 else "")
        raise UsageError(f"{path} holds {len(runs)} runs ({names}); name one of them")
    return path
