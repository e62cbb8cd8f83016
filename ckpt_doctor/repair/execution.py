"""Paths -> repaired files: judge, plan edits, write, judge again. Nothing counts before it has been read back."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ckpt_doctor import audit
from ckpt_doctor.audit import checkpoint_files, existing, existing_logs
from ckpt_doctor.errors import EditRefused, UsageError, WriteRefused
from ckpt_doctor.inert import edits, names, pickle_writer
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.repair.planning import Planned, Request, given_by_hand, plan_edits
from ckpt_doctor.repair.verification import verified
from ckpt_doctor.trainers import ByHand, fix_names
from ckpt_doctor.types import (
    Case,
    Checkpoint,
    Finding,
    Given,
    KeyPath,
    Member,
    MigrationResult,
    NumpyScalar,
    Proof,
    Run,
)
from ckpt_doctor.version import __version__
from ckpt_doctor.writer import came_out, interrupted, recover, write
from ckpt_doctor.writer import undo as take_back
from ckpt_doctor.writer.locking import run_lock

_COUNTS: tuple[KeyPath, ...] = (("epoch",), ("global_step",))
_PROOFS: Mapping[Proof, str] = {
    "file": "byte for byte as before",
    "rest": "byte for byte as before; the tensors, which a migration never touches, were not read",
    "checksums": "as before by its checksums; the older version that migrated it kept no hash to compare with",
    "none": "as before, but not compared with a hash",
}
NAMES = fix_names()


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
    progress: Callable[[Path, int], None] | None = None,
) -> list[MigrationResult]:
    """Repair checkpoints. `fixes` are names of migrations; all of them means every repair that findings call for.

    Each file is replaced atomically; with `in_place` it is edited itself, with a folder `output` the results go there.
    `ignore` takes rules (`E601`, `E`, a name) whose findings call for nothing, `trust` packages that loading a file may
    call into: a file that calls any other is left alone.

    A result per file. Raises UsageError for a path that does not exist, an unknown fix, or values that cannot be; what
    cannot be done to a single file is in its result.
    """
    if in_place and output is not None:
        raise UsageError("in_place and output exclude each other")
    unknown = sorted(set(fixes) - set(NAMES))
    if unknown:
        raise UsageError(f"unknown fix {unknown[0]!r}; there are {', '.join(NAMES)}")
    if best_score is None and val_loss is not None:
        best_score = -val_loss
    if best_score is not None and not best_score <= 0:
        raise UsageError(
            f"best_score {best_score:g} cannot be: it is minus the best loss; give --val-loss {best_score:g}"
        )
    request = Request(
        fixes=frozenset(fixes),
        everything=set(fixes) == set(NAMES),
        facts=facts or {},
        logs=existing_logs(logs),
        ignored=frozenset(audit.codes(ignore)),
        trusted=audit.packages(trust),
        stopping=best_score,
        epoch=epoch,
        mode="in-place" if in_place else "replace" if output is None else "output",
        output=None if output is None else Path(output),
        dry_run=dry_run,
        verify_torch=verify_torch,
        trainer=trainer,
        progress=progress,
    )
    wanted = {file for path in existing(paths) for file in checkpoint_files(path)}
    results: list[MigrationResult] = []
    for folder, files in audit.find_runs(wanted).items():
        results += _migrate_run(folder, files, request)
    return results


def _migrate_run(folder: Path, files: Sequence[Path], request: Request) -> list[MigrationResult]:
    """All files of one run, under its lock: evidence is read once, before the first file changes.

    Results that go elsewhere need no lock here, and the run may stand where nothing can be written.
    """
    if request.dry_run or request.mode == "output":
        return _migrate_files(folder, files, request)
    try:
        with run_lock(folder) as held:
            rolled_back, stuck = _roll_back(files)
            results = [*_migrate_files(folder, [file for file in files if file not in stuck], request), *stuck.values()]
    except WriteRefused as error:  # no lock to be had: nothing was begun
        return [MigrationResult(file, "failed", message=str(error)) for file in files]
    if held.note:
        results = [replace(r, notes=(*r.notes, held.note)) if r.receipt else r for r in results]
    note = "an earlier migration of it had been cut off, and was rolled back first"
    return [replace(r, notes=(note, *r.notes)) if r.path in rolled_back else r for r in results]


def _roll_back(files: Sequence[Path]) -> tuple[list[Path], dict[Path, MigrationResult]]:
    """Take back what earlier runs left half done: the files of which that was so, and those that stay as they are."""
    done: list[Path] = []
    stuck: dict[Path, MigrationResult] = {}
    for file in files:
        try:
            if (interrupted(file) or came_out(file)) and recover(file):
                done.append(file)
        except WriteRefused as error:
            stuck[file] = MigrationResult(file, "failed", message=str(error))
    return done, stuck


def _migrate_files(folder: Path, files: Sequence[Path], request: Request) -> list[MigrationResult]:
    siblings = audit.siblings_of(folder, files)
    checkpoints = [audit.open_file(path) for path in (*files, *siblings)]
    run, members = audit.understand(folder, checkpoints, request.facts, request.logs, request.trainer)
    results = []
    for number, member in enumerate(members[: len(files)]):
        planned = plan_edits(_case(member, run, request), request)
        if request.everything and _sets_a_count(planned):
            planned = _completed(planned, request, folder, checkpoints, number)
        results.append(_carry_out(planned, request))
    return results


def _case(member: Member, run: Run, request: Request) -> Case:
    case = audit.case_of(member, run, gate=True, by_hand=ByHand(epoch=request.epoch))
    if request.stopping is None:
        return case
    by_hand = given_by_hand(case, request.stopping)
    return audit.case_of(member, run, gate=True, by_hand=ByHand(by_hand, request.epoch))


def _sets_a_count(planned: Planned) -> bool:
    """Whether a step or an epoch is written into a training checkpoint; an upgrade writes all that goes with them."""
    whole = planned.case.checkpoint.layout == "training" and all(edit.donor is None for edit in planned.edits)
    return whole and any(edit.path in _COUNTS for edit in planned.edits)


def _completed(
    planned: Planned, request: Request, folder: Path, checkpoints: Sequence[Checkpoint], number: int
) -> Planned:
    """With what shows only once a count is right: mode and rates of the run are inferred from it."""
    try:
        root = edits.apply(checkpoints[number].root, planned.edits)
    except EditRefused:
        return planned  # writing comes to the same end, and says so
    counted = [*checkpoints[:number], replace(checkpoints[number], root=root), *checkpoints[number + 1 :]]
    run, members = audit.understand(folder, counted, request.facts, request.logs, request.trainer)
    more = plan_edits(_case(members[number], run, request), request)
    known = {(edit.path, edit.op) for edit in planned.edits}
    fresh = tuple(edit for edit in more.edits if edit.op == "set" and (edit.path, edit.op) not in known)
    if not fresh:
        return planned
    applied = tuple(dict.fromkeys([*planned.applied, *more.applied]))
    return replace(planned, edits=(*planned.edits, *fresh), applied=applied, notes=(*planned.notes, *more.notes))


def _carry_out(planned: Planned, request: Request) -> MigrationResult:
    case = planned.case
    result = MigrationResult(
        case.checkpoint.path,
        "refused" if planned.refusals else "unchanged",
        planned.edits,
        planned.refusals,
        before=planned.before,
        after=planned.before,
        notes=planned.notes,
        earlier=len(case.checkpoint.migrations),
    )
    if not planned.edits:
        return replace(result, message="" if planned.refusals else _nothing_done(planned, request))
    if request.dry_run:
        return replace(result, status="planned", message=f"{len(planned.edits)} edits, nothing written (--dry-run)")
    try:
        named, adopted = edits.adopt(planned.edits, case.checkpoint)
        root = edits.apply(case.checkpoint.root, named)
        found: list[tuple[Finding, ...]] = []

        def verify(path: Path) -> None:
            found.append(verified(path, root, planned, adopted))
            if request.verify_torch:
                from ckpt_doctor.repair.torch_check import compare_loaded  # torch is imported for this only

                compare_loaded(case.checkpoint.path, path, planned.edits)

        on_bytes = request.progress
        receipt = write(
            case.checkpoint,
            pickle_writer.dump(root, container=case.checkpoint.container),
            _record(planned),
            adopted=adopted,
            mode=request.mode,
            output=request.output,
            verify=verify,
            progress=(lambda count: on_bytes(case.checkpoint.path, count)) if on_bytes else None,
        )
    except WriteRefused as error:
        return replace(result, status="failed", edits=(), message=str(error))
    message = f"{len(planned.edits)} edits, read back and verified"
    if request.mode == "output":
        message += f", written to {receipt.path}"
    return replace(
        result,
        status="migrated",
        message=message,
        receipt=receipt,
        after=found[-1],
        notes=(*planned.notes, *receipt.notes),
    )


def _nothing_done(planned: Planned, request: Request) -> str:
    """That a file needs nothing is said only where nothing is left that a repair would be for."""
    if planned.case.checkpoint.program is None:
        return (
            "nothing in this file can be replaced: its pickle does not lie there in one piece, as torch.save writes it"
        )
    if not audit.is_ours(planned.case.member, planned.case.run):
        return "nothing to repair in what holds for every file; its training state is not judged"
    left = [f for f in planned.before if f.severity != "info" and f.code not in request.ignored and not f.migration]
    told = [f"{f.code} {f.name} remains: {f.fix or 'no edit to the file can fix it'}" for f in left]
    return "; ".join(["needs none of these repairs" if all(f.fix for f in left) else "nothing to repair", *told])


def _record(planned: Planned) -> dict[str, object]:
    """What a person reads later: what was changed, from which evidence, by which version."""
    return {
        "tool_version": __version__,
        "migrations": [migration.name for migration in planned.applied],
        "edits": [
            {"key": e.key, "op": e.op, "before": _json(e.before), "after": _json(e.after), "evidence": e.evidence}
            for e in planned.edits
        ],
    }


def _json(value: object) -> object:
    """A value of an edit for the record: numbers and texts as they are, the rest as a short text."""
    if isinstance(value, NumpyScalar):
        value = value.value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else repr(value)
    if isinstance(value, (list, tuple)) and len(value) <= 16:
        return [_json(item) for item in value]
    return f"<{type(value).__name__} of {len(value)}>" if isinstance(value, (list, tuple, dict)) else repr(value)[:80]


def undo(paths: Path | str | Sequence[Path | str], *, in_place: bool = False) -> list[MigrationResult]:
    """Take the last migration of each file back, byte for byte; a result per file, `undone` where it was done."""
    results = []
    for path in existing(paths):
        for file in sorted(checkpoint_files(path)):
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
    return results
