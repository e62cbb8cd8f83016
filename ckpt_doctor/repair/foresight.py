"""A judged run -> what `migrate` would do to its files, by the plan that its dry run makes; and what they would be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ckpt_doctor import audit
from ckpt_doctor.errors import EditRefused
from ckpt_doctor.inert import edits
from ckpt_doctor.repair.planning import plan_read
from ckpt_doctor.repair.plans import FilePlan, Request
from ckpt_doctor.types import Checkpoint, FileReport, RunReport


def every_repair(ask: audit.Ask) -> Request:
    """What `migrate --all` asks for, with what was given to a scan."""
    return Request(ask.facts, ask.logs, ask.ignore, ask.trust, ask.trainer)


def foresee(run: RunReport, paths: Iterable[Path], request: Request) -> Iterator[FilePlan]:
    """Plans of these files of a run in their order, each made when it is asked for, without reading one again."""
    read = _read(run)
    numbers = {checkpoint.path: number for number, checkpoint in enumerate(read)}
    return plan_read(run.run.path, read, (numbers[path] for path in paths), request)


def foresee_one(run: RunReport, path: Path, request: Request) -> FilePlan:
    """The plan of one file."""
    return next(foresee(run, [path], request))


def _read(run: RunReport) -> list[Checkpoint]:
    """The checkpoints of a run: those that were judged, and those beside them that are evidence."""
    found = {file.checkpoint.path: file.checkpoint for file in run.files}
    for member in run.run.members:
        found.setdefault(member.checkpoint.path, member.checkpoint)
    return list(found.values())


def repaired(run: RunReport, planned: FilePlan, request: Request) -> FileReport | None:
    """The file as it would be judged once its plan is carried out; None where that cannot be told before."""
    checkpoint = planned.checkpoint
    try:
        root = edits.apply(checkpoint.root, planned.edits)
    except EditRefused:
        return None
    wrapped = any(edit.op == "wrap" for edit in planned.edits)
    after = replace(checkpoint, root=root, layout="training" if wrapped else checkpoint.layout)
    read = [after if one.path == checkpoint.path else one for one in _read(run)]
    changed, members = audit.understand(run.run.path, read, request.facts, request.logs, request.trainer)
    member = next(member for member in members if member.checkpoint.path == checkpoint.path)
    return audit.judge(audit.case_of(member, changed, gate=True), audit.counting((), request.trust))


def is_complete(planned: FilePlan) -> bool:
    """Whether a dry run would carry out all that the file's findings call for."""
    return planned.result.status == "planned" and planned.result.complete
