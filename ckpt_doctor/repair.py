"""Paths -> repaired files: judge, plan edits, write, judge again. Nothing counts before it has been read back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ckpt_doctor import __version__, audit, edits, program
from ckpt_doctor.discovery import checkpoint_files, existing, existing_logs
from ckpt_doctor.errors import UsageError, VerificationFailed, WriteRefused
from ckpt_doctor.locking import run_lock
from ckpt_doctor.migrators import ALL, Migration
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.tensor_bytes import read_scalars
from ckpt_doctor.trainers import time_llm
from ckpt_doctor.tree import same
from ckpt_doctor.types import (
    Adopted,
    Case,
    Checkpoint,
    EarlyStoppingState,
    Edit,
    Evidence,
    Facts,
    Finding,
    KeyPath,
    NumpyScalar,
    Refusal,
    Run,
    same_score,
)
from ckpt_doctor.writer import Mode, Receipt, interrupted, recover, write
from ckpt_doctor.writer import undo as take_back

Status = Literal["migrated", "planned", "unchanged", "refused", "failed", "undone"]
NAMES = tuple(migration.name for migration in ALL)
EVERYWHERE = ("strip-prefix", "plain-scalars", "to-cpu")
"""Migrations that make sense for any torch file, whichever trainer wrote it."""
ACCOMPANYING = ("sync-rng", "plain-scalars", "to-cpu")
"""Cures of mere notes: `--all` applies them to a file that it rewrites anyway, and never rewrites one for them."""

_RANDOM_STATE: KeyPath = ("rng_state",)


@dataclass(frozen=True)
class MigrationResult:
    """What became of one file."""

    path: Path
    status: Status
    edits: tuple[Edit, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    message: str = ""
    receipt: Receipt | None = None
    before: tuple[Finding, ...] = ()
    after: tuple[Finding, ...] = ()
    """Findings of the result; those of `before` where nothing was written."""
    notes: tuple[str, ...] = ()
    earlier: int = 0
    """How many migrations the file had before this one."""


@dataclass(frozen=True)
class _Request:
    """What was asked for, for every file of a call."""

    migrations: tuple[Migration, ...]
    everything: bool
    facts: Facts
    logs: Sequence[Path]
    ignored: Collection[str]
    """Codes of findings that a person accepts."""
    stopping: float | None
    """best_score given by hand."""
    epoch: int | None
    """Finished epochs of a bare state_dict, given by hand."""
    mode: Mode
    output: Path | None
    dry_run: bool
    verify_torch: bool
    progress: Callable[[Path, int], None] | None


@dataclass(frozen=True)
class _Planned:
    """The edits for one file, with what they rest on."""

    case: Case
    before: tuple[Finding, ...]
    edits: tuple[Edit, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    applied: tuple[Migration, ...] = field(default=())


def migrate(
    paths: Path | str | Sequence[Path | str] = (audit.DEFAULT_PATH,),
    *,
    fixes: Collection[str] = NAMES,
    facts: Facts | None = None,
    logs: Sequence[Path | str] = (),
    ignore: Sequence[str] = (),
    best_score: float | None = None,
    val_loss: float | None = None,
    epoch: int | None = None,
    in_place: bool = False,
    output: Path | str | None = None,
    dry_run: bool = False,
    verify_torch: bool = False,
    progress: Callable[[Path, int], None] | None = None,
) -> list[MigrationResult]:
    """Repair checkpoints. `fixes` are names of migrations; all of them means every repair that findings call for.

    Each file is replaced atomically; with `in_place` it is edited itself, with a folder `output` the results go there.
    `ignore` takes rules (`E601`, `E`, a name) whose findings call for nothing.

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
    request = _Request(
        migrations=tuple(migration for migration in ALL if migration.name in fixes),
        everything=set(fixes) == set(NAMES),
        facts=facts or Facts(),
        logs=existing_logs(logs),
        ignored=frozenset(audit.codes(ignore)),
        stopping=best_score,
        epoch=epoch,
        mode="in-place" if in_place else "replace" if output is None else "output",
        output=None if output is None else Path(output),
        dry_run=dry_run,
        verify_torch=verify_torch,
        progress=progress,
    )
    wanted = {file for path in existing(paths) for file in checkpoint_files(path)}
    results: list[MigrationResult] = []
    for folder, files in time_llm.find_runs(wanted).items():
        results += _migrate_run(folder, files, request)
    return results


def _migrate_run(folder: Path, files: Sequence[Path], request: _Request) -> list[MigrationResult]:
    """All files of one run, under its lock: evidence is read once, before the first file changes.

    Results that go elsewhere need no lock here, and the run may stand where nothing can be written.
    """
    if request.dry_run or request.mode == "output":
        return _migrate_files(folder, files, request)
    try:
        with run_lock(folder) as held:
            rolled_back = [file for file in files if interrupted(file) and recover(file)]
            results = _migrate_files(folder, files, request)
    except WriteRefused as error:  # no lock to be had: nothing was begun
        return [MigrationResult(file, "failed", message=str(error)) for file in files]
    if held.note:
        results = [replace(r, notes=(*r.notes, held.note)) if r.receipt else r for r in results]
    note = "an earlier migration of it had been cut off, and was rolled back first"
    return [replace(r, notes=(note, *r.notes)) if r.path in rolled_back else r for r in results]


def _migrate_files(folder: Path, files: Sequence[Path], request: _Request) -> list[MigrationResult]:
    siblings = audit.siblings_of(folder, files)
    checkpoints = [audit.open_file(path) for path in (*files, *siblings)]
    run, members = audit.understand(folder, checkpoints, request.facts, request.logs)
    results = []
    for member in members[: len(files)]:
        case = audit.case_of(member, run, gate=True, epoch=request.epoch)
        if request.stopping is not None:
            by_hand = _by_hand(case, request.stopping)
            case = audit.case_of(member, run, gate=True, stopping=by_hand, epoch=request.epoch)
        planned = _plan(case, request)
        results.append(_carry_out(planned, request))
    return results


def _by_hand(case: Case, best_score: float) -> Evidence[EarlyStoppingState]:
    """The state that a given best_score stands for. The counter comes from other evidence where there is any."""
    known = case.resume.early_stopping
    score = known.value.best_score if known is not None else None
    against = ""
    if known is not None and same_score(score, best_score):
        counter, count = known.value.counter, f"counter: {known.source}"
    else:
        if known is not None and score is not None:
            against = f" against {score:.7f} ({known.source})"
        if case.member.role == "best":
            counter, count = 0, "counter: 0 in a best checkpoint"
        else:
            counter = case.state.counter or 0
            count = "counter: the file's" if case.state.counter else "counter: the default"
    state = EarlyStoppingState(best_score, -best_score, counter)
    return Evidence(state, f"given by hand{against}; {count}", given=True)


def _plan(case: Case, request: _Request) -> _Planned:
    before = audit.judge(case).findings
    planned = _Planned(case, before)
    blocking = [f for f in before if f.code[0] == "F" or f.code == "S201"]
    if blocking:
        first = blocking[0]
        refusal = Refusal("migrate", f"{first.code} {first.name}: {first.message}", first.fix or "")
        return replace(planned, refusals=(refusal,))
    if case.checkpoint.program is None:
        return planned
    called = {f.migration for f in before if f.migration and f.severity != "info" and f.code not in request.ignored}
    ours = audit.is_ours(case.member, case.run)
    to_upgrade = case.checkpoint.layout == "state-dict" and any(m.name == "upgrade" for m in request.migrations)
    edits_: list[Edit] = []
    refusals_: list[Refusal] = []
    disproved = case.run.facts.disproved
    notes: list[str] = []
    applied: list[Migration] = []
    upgraded = False
    for migration in request.migrations:
        if migration.name not in EVERYWHERE and not ours and case.checkpoint.layout != "state-dict":
            continue
        if to_upgrade and migration.name not in (*EVERYWHERE, "upgrade"):
            continue  # the upgrade writes the resume point's values itself
        if request.everything and migration.name not in called and not (edits_ and migration.name in ACCOMPANYING):
            continue
        if disproved and migration.name not in EVERYWHERE:
            name, contradiction = next(iter(disproved.items()))
            settle = f"leave out --{name.replace('_', '-')}, or correct it"
            refusals_.append(Refusal(migration.name, f"P408 facts-disagree: {contradiction}", settle))
            continue
        plan = migration.plan(case)
        if migration.name in called or not request.everything:
            refusals_ += plan.refusals
        if plan.edits:
            settled = [edit.path for edit in edits_ if edit.op == "set"]  # by a migration that knew the true value
            more = [_below_model(edit) if upgraded else edit for edit in plan.edits]
            edits_ += [edit for edit in more if edit.op != "set" or not _is_under(edit.path, settled)]
            applied.append(migration)
            notes += plan.notes
            upgraded = upgraded or migration.name == "upgrade"
    return replace(planned, edits=tuple(edits_), refusals=tuple(refusals_), notes=tuple(notes), applied=tuple(applied))


def _is_under(path: KeyPath, others: Collection[KeyPath]) -> bool:
    return any(path[: len(other)] == other for other in others)


def _below_model(edit: Edit) -> Edit:
    """An edit of a bare state_dict, once the upgrade has put it under `model`."""
    return edit if edit.op == "relocate" else replace(edit, path=("model", *edit.path))


def _carry_out(planned: _Planned, request: _Request) -> MigrationResult:
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
        return replace(result, message="" if planned.refusals else _needs_nothing(case, request))
    if request.dry_run:
        return replace(result, status="planned", message=f"{len(planned.edits)} edits, nothing written (--dry-run)")
    try:
        named, adopted = edits.adopt(planned.edits, case.checkpoint)
        root = edits.apply(case.checkpoint.root, named)
        verified: list[tuple[Finding, ...]] = []

        def verify(path: Path) -> None:
            verified.append(_verified(path, root, planned, adopted))
            if request.verify_torch:
                from ckpt_doctor.torch_check import compare_loaded  # torch is imported for this only

                compare_loaded(case.checkpoint.path, path, planned.edits)

        on_bytes = request.progress
        receipt = write(
            case.checkpoint,
            program.dump(root, container=case.checkpoint.container),
            _record(planned),
            adopted=adopted,
            mode=request.mode,
            output=request.output,
            verify=verify,
            progress=(lambda count: on_bytes(case.checkpoint.path, count)) if on_bytes else None,
        )
    except (WriteRefused, KeyError) as error:
        return replace(result, status="failed", edits=(), message=str(error))
    message = f"{len(planned.edits)} edits, read back and verified"
    if request.mode == "output":
        message += f", written to {receipt.path}"
    return replace(
        result,
        status="migrated",
        message=message,
        receipt=receipt,
        after=verified[-1],
        notes=(*planned.notes, *receipt.notes),
    )


def _needs_nothing(case: Case, request: _Request) -> str:
    late, shuffle = case.late_random_state, case.run.facts.shuffle
    open_question = request.everything and late is not None and late.cure is not None and shuffle is None
    return "needs none of these repairs" + ("; if the train loader shuffles, give --shuffle" if open_question else "")


def _record(planned: _Planned) -> dict[str, object]:
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


def _verified(path: Path, root: object, planned: _Planned, adopted: Sequence[Adopted]) -> tuple[Finding, ...]:
    """Findings of the written file; VerificationFailed unless it is what was planned, and better.

    It must read back as the planned tree, with every tensor on the bytes that it had; the findings that the migrations
    cure must be gone and none may be new.
    """
    case = planned.case
    written = open_checkpoint(path)
    difference = same(written.root, root)
    if difference is not None:
        raise VerificationFailed(f"what was written does not read back as planned ({difference}); nothing was changed")
    replaced = {edit.path for edit in planned.edits if edit.op == "set"}
    _ensure_same_tensors(case.checkpoint, written, replaced, adopted)
    member = time_llm.member_of(written, read_scalars)
    # Judged as what it will be: the temporary name is no defect of the file.
    damage = tuple(damage for damage in written.damage if damage.kind != "unfinished-write")
    settled = replace(written, path=case.checkpoint.path, damage=damage)
    member = replace(member, checkpoint=settled, role=case.member.role, named_step=case.member.named_step)
    others = tuple(m for m in case.run.members if m.checkpoint.path != case.checkpoint.path)
    run: Run = replace(case.run, members=(*others, member) if audit.is_ours(case.member, case.run) else others)
    given = case.resume.early_stopping
    stopping = given if given is not None and given.given else None
    after = audit.judge(audit.case_of(member, run, gate=True, stopping=stopping)).findings
    cured = {code for migration in planned.applied for code in migration.cures}
    allowed = {code for migration in planned.applied for code in migration.reveals}
    refused = {refusal.migration for refusal in planned.refusals}
    for finding in after:
        left = finding.code in cured and finding.migration not in refused and finding.migration in _names(planned)
        new = finding.severity != "info" and finding.code not in {f.code for f in planned.before} | allowed
        if left or new:
            kind = "is still there" if left else "would be new"
            raise VerificationFailed(f"{finding.code} {finding.name} {kind} ({finding.message}); nothing was changed")
    return after


def _names(planned: _Planned) -> set[str]:
    return {migration.name for migration in planned.applied}


def _ensure_same_tensors(
    old: Checkpoint, new: Checkpoint, replaced: Collection[KeyPath] = (), adopted: Sequence[Adopted] = ()
) -> None:
    """Every tensor of the old file is in the new one, as the same view of the same bytes.

    But for those that were replaced: a rate or a score that the old file held as a tensor of one element, and the
    random state as a whole. What was adopted from another file comes on top."""
    numbers = {t.path for t in old.tensors if all(size == 1 for size in t.shape)}
    gone = {path for path in numbers if _is_under(path, replaced)}
    if _RANDOM_STATE in replaced:
        gone |= {t.path for t in old.tensors if t.path[:1] == _RANDOM_STATE}
    kept = [t for t in old.tensors if t.path not in gone]
    new_keys = {storage.key for storage in adopted}
    stayed = [t for t in new.tensors if t.storage.key not in new_keys]
    mine = sorted((t.storage.key, t.storage_offset, t.shape, t.stride, t.dtype) for t in kept)
    yours = sorted((t.storage.key, t.storage_offset, t.shape, t.stride, t.dtype) for t in stayed)
    if mine != yours:
        raise VerificationFailed("the tensors of the written file are not those of the original; nothing was changed")
    shift = {t.storage.key: t.storage.offset for t in new.tensors}
    moved = {(shift[t.storage.key] or 0) - (t.storage.offset or 0) for t in old.tensors if t.storage.key in shift}
    if old.container == "torch-zip" and moved - {0}:
        raise VerificationFailed("tensor records were moved; nothing was changed")


def undo(paths: Path | str | Sequence[Path | str], *, in_place: bool = False) -> list[MigrationResult]:
    """Take the last migration of each file back, byte for byte; a result per file, `undone` where it was done."""
    results = []
    for path in existing(paths):
        for file in sorted(checkpoint_files(path)):
            try:
                receipt = take_back(file, in_place=in_place)
            except WriteRefused as error:
                if path.is_dir() and not open_checkpoint(file).migrations:
                    continue  # of a folder, only the migrated files are meant
                results.append(MigrationResult(file, "refused", message=str(error)))
                continue
            message = f"{receipt.previous_size:,} -> {receipt.new_size:,} bytes, byte for byte as before"
            results.append(MigrationResult(file, "undone", message=message, notes=receipt.notes))
    return results
