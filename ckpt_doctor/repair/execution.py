"""A plan -> files: written, judged again, taken back. A written file counts only after it was read back."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ckpt_doctor import audit, reports
from ckpt_doctor.errors import WriteRefused, not_written
from ckpt_doctor.inert import edits, names, pickle_writer
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.folders import open_unit
from ckpt_doctor.remote import RemotePath, as_path, is_url
from ckpt_doctor.repair.fetching import on_this_machine
from ckpt_doctor.repair.planning import plan, plan_run
from ckpt_doctor.repair.plans import NAMES, FilePlan, RepairPlan, Request, RunPlan
from ckpt_doctor.repair.verification import verified, verified_unit
from ckpt_doctor.types import (
    Checkpoint,
    Edit,
    FileReport,
    Given,
    MigrationResult,
    Migrations,
    Proof,
    Receipt,
    python_value,
    stamp_of,
)
from ckpt_doctor.version import __version__
from ckpt_doctor.writer import came_out, interrupted, part_changes, recover, write, write_unit
from ckpt_doctor.writer import undo as take_back
from ckpt_doctor.writer.locking import run_lock

Progress = Callable[[Path, int], None]
"""Called with a file and the number of its bytes written since the last call."""
_PLANNED_ANEW = "a checkpoint of this run changed after the plan was made, so the plan was made again"
_ROLLED_BACK = "an earlier migration of it had been cut off, and was rolled back first"
_PROOFS: dict[Proof, str] = {
    "file": "byte for byte as before",
    "rest": "byte for byte as before; the tensors, which a migration never touches, were not read",
    "checksums": "as before by its checksums; the older version that migrated it kept no hash to compare with",
    "none": "as before, but not compared with a hash",
}


def migrate(
    paths: Path | str | Sequence[Path | str] = (audit.DEFAULT_PATH,),
    *,
    fixes: Collection[str] = NAMES,
    facts: Given | None = None,
    logs: Sequence[Path | str] = (),
    ignore: Sequence[str] = (),
    trust: Sequence[str] = (),
    best_score: float | None = None,
    val_loss: float | None = None,
    epoch: int | None = None,
    in_place: bool = False,
    output: Path | str | None = None,
    dry_run: bool = False,
    verify_torch: bool = False,
    trainer: str = "",
    progress: Progress | None = None,
) -> Migrations:
    """Repair checkpoints: plan the edits and, unless it is a `dry_run`, write them.

    Each file is replaced atomically, each unit of several files as a whole. No tensor is changed, and every value that
    is written comes from evidence that its edit names.

    Args:
        paths: files, units, run folders or trees.
        fixes: names of fixes, `sync-scheduler` for example; all of them means every repair that findings call for.
        facts, logs, ignore, trust, trainer: as for `scan`; findings of `ignore` call for nothing.
        best_score: minus the best validation loss, given by hand.
        val_loss: the best validation loss, instead of `best_score`.
        epoch: finished epochs of bare weights that become a training checkpoint.
        in_place: edit the file itself, without a copy; refused for units.
        output: write the results to this folder instead.
        dry_run: write nothing.
        verify_torch: also load each result with torch before it counts.
        progress: called with a file and the bytes of it written since the last call.

    Returns:
        A result per checkpoint: what was changed from which evidence, what was refused and why.

    Raises:
        UsageError: a path that does not exist, an unknown fix, impossible values. What cannot be done to a single
            checkpoint is in its result.

    Example:
        >>> [result.status for result in migrate(["checkpoints"], fixes=["sync-scheduler"])]
        ['migrated']
    """
    planned = plan(
        paths,
        fixes=fixes,
        facts=facts,
        logs=logs,
        ignore=ignore,
        trust=trust,
        best_score=best_score,
        val_loss=val_loss,
        epoch=epoch,
        in_place=in_place,
        output=output,
        trainer=trainer,
    )
    results = planned.results if dry_run else apply(planned, verify_torch=verify_torch, progress=progress)
    return Migrations(results, reports.migrated)


def apply(
    planned: RepairPlan, *, verify_torch: bool = False, progress: Progress | None = None
) -> list[MigrationResult]:
    """Write what was planned, run by run under the run's lock; a result per file.

    Where a checkpoint of a run was saved anew or rolled back since it was planned, the plan of that run is made again,
    from what is there now, and a note says so. `verify_torch` has torch load each result as well before it counts.
    """
    for run in planned.runs:
        if isinstance(run.folder, RemotePath) and planned.request.mode != "output":
            raise not_written(run.folder, "migrate", "give --output DIR, where the repaired checkpoints go")
    carry_out = partial(_carry_out, request=planned.request, verify_torch=verify_torch, progress=progress)
    return [result for run in planned.runs for result in _apply_to_run(run, planned.request, carry_out)]


def _apply_to_run(
    run: RunPlan, request: Request, carry_out: Callable[[FilePlan], MigrationResult]
) -> list[MigrationResult]:
    """The results of a run's files. Those that go elsewhere need no lock: the run's own folder may be read-only."""
    if request.mode == "output":
        return [carry_out(file) for file in run.files]
    paths = [file.checkpoint.path for file in run.files]
    try:
        with run_lock(run.folder) as held:
            rolled_back, stuck = _roll_back(paths)
            told = dict.fromkeys(paths, _PLANNED_ANEW) if _is_stale(run) else {}
            told |= dict.fromkeys(rolled_back, _ROLLED_BACK)
            if told or stuck:
                run = plan_run(run.folder, [path for path in paths if path not in stuck], request)
            results = [*map(carry_out, run.files), *stuck.values()]
    except WriteRefused as error:  # no lock to be had: nothing was begun
        return [MigrationResult(path, "failed", message=str(error)) for path in paths]
    if held.note:
        results = [replace(r, notes=(*r.notes, held.note)) if r.receipt else r for r in results]
    return [replace(r, notes=(told[r.path], *r.notes)) if r.path in told else r for r in results]


def _is_stale(run: RunPlan) -> bool:
    """Whether a checkpoint that the plan rests on is not the one that was read."""
    try:
        return any(one.stamp is not None and stamp_of(one.path.stat()) != one.stamp for one in run.read)
    except OSError:  # it was removed
        return True


def _roll_back(files: Sequence[Path]) -> tuple[list[Path], dict[Path, MigrationResult]]:
    """Roll back what earlier runs left half done: the files that were, and the results of those that could not be."""
    done: list[Path] = []
    stuck: dict[Path, MigrationResult] = {}
    for file in files:
        try:
            if (interrupted(file) or came_out(file)) and recover(file):
                done.append(file)
        except WriteRefused as error:
            stuck[file] = MigrationResult(file, "failed", message=str(error))
    return done, stuck


def _carry_out(file: FilePlan, *, request: Request, verify_torch: bool, progress: Progress | None) -> MigrationResult:
    if not file.edits:
        return file.result
    try:
        receipt, after = _write(file, request, verify_torch, progress)
    except WriteRefused as error:
        return replace(file.result, status="failed", edits=(), message=str(error))
    message = f"{file.counted}, read back and verified"
    if request.mode == "output":
        message += f", written to {receipt.path}"
    notes = (*file.notes, *receipt.notes)
    done = replace(file.result, status="migrated", message=message, receipt=receipt, after=after.findings, notes=notes)
    return done if request.mode == "output" else replace(done, written=_as_it_lies(after.checkpoint))


def _as_it_lies(written: Checkpoint) -> Checkpoint | None:
    """What was read back, with the time that the writer gave the file; None where another one lies there now."""
    try:
        now = stamp_of(written.path.stat())
    except OSError:
        return None
    was = written.stamp
    is_it = was is not None and (now.device, now.inode, now.size) == (was.device, was.inode, was.size)
    return replace(written, stamp=now) if is_it else None


def _write(
    file: FilePlan, request: Request, verify_torch: bool, progress: Progress | None
) -> tuple[Receipt, FileReport]:
    """Write what was planned for a file; the result, judged."""
    done = partial(progress, file.checkpoint.path) if progress else None
    how: dict[str, Any] = {"mode": request.mode, "output": request.output, "progress": done}
    with on_this_machine(file, request.output, done) as (checkpoint, planned):
        return _written(file, checkpoint, planned, verify_torch, how)


def _written(
    file: FilePlan, checkpoint: Checkpoint, planned: Sequence[Edit], verify_torch: bool, how: dict[str, Any]
) -> tuple[Receipt, FileReport]:
    judged: list[FileReport] = []  # by the writer's call to verify, before the result counts
    if checkpoint.parts:
        changes = (checkpoint is file.checkpoint and file.changes) or part_changes(checkpoint, planned)
        parts = {checkpoint.name_of(part) for part in checkpoint.parts} | {change.name for change in changes}

        def verify_unit(path: Path) -> None:
            judged.append(verified_unit(open_unit(path, parts.__contains__), changes, file))

        return write_unit(checkpoint, changes, _record(file), verify=verify_unit, **how), judged[-1]
    named, adopted = edits.adopt(planned, checkpoint)
    root = edits.apply(checkpoint.root, named)

    def verify(path: Path) -> None:
        written = open_checkpoint(path)
        judged.append(verified(written, root, file, adopted))
        if verify_torch:
            from ckpt_doctor.repair.torch_check import compare_loaded  # torch is imported for this only

            compare_loaded(checkpoint, written, file.edits)

    program = pickle_writer.dump(root, container=checkpoint.container)
    return write(checkpoint, program, _record(file), adopted=adopted, verify=verify, **how), judged[-1]


def _record(file: FilePlan) -> dict[str, object]:
    """What a person reads later: what was changed, from which evidence, by which version."""
    return {
        "tool_version": __version__,
        "migrations": [fix.name for fix in file.applied],
        "edits": [
            {"key": e.key, "op": e.op, "before": _json(e.before), "after": _json(e.after), "evidence": e.evidence}
            for e in file.edits
        ],
    }


def _json(value: object) -> object:
    """A value of an edit for the record: numbers and texts as they are, the rest as a short text."""
    value = python_value(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else repr(value)
    if isinstance(value, (list, tuple)) and len(value) <= 16:
        return [_json(item) for item in value]
    return f"<{type(value).__name__} of {len(value)}>" if isinstance(value, (list, tuple, dict)) else repr(value)[:80]


def undo(paths: Path | str | Sequence[Path | str], *, in_place: bool = False) -> Migrations:
    """Take the last migration of each file or unit back, byte for byte.

    What is restored was hashed when it was set aside, and is compared before the present file is touched.

    Args:
        paths: files, units or folders; in a folder, the checkpoints that were migrated.
        in_place: cut the file itself back, without a copy.

    Returns:
        A result per checkpoint: `undone`, or `refused` with the reason, which leaves the present file as it is.

    Raises:
        UsageError: a path that does not exist.

    Example:
        >>> [result.status for result in undo(["checkpoints/run/checkpoint"])]
        ['undone']
    """
    results = []
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        if is_url(path):
            raise not_written(as_path(path), "undo", "the original is as it was")
    for path in audit.existing(paths):
        for file in sorted(audit.checkpoint_files(path)):
            try:
                receipt = take_back(file, in_place=in_place)
            except WriteRefused as error:
                beside = os.path.lexists(names.undo_file(Path(os.path.realpath(file))))
                if path.is_dir() and not beside and not open_checkpoint(file).migrations:
                    continue  # of a folder, only the migrated files are meant
                results.append(MigrationResult(file, "refused", message=str(error)))
                continue
            message = f"{receipt.previous_size:,} -> {receipt.new_size:,} bytes, {_PROOFS[receipt.proof]}"
            results.append(MigrationResult(file, "undone", message=message, notes=receipt.notes))
    return Migrations(results, reports.undone)
