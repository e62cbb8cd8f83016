"""Paths -> a plan: for each file the edits that cure it, and what was refused for want of evidence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckpt_doctor import audit, trainers
from ckpt_doctor.errors import EditRefused, UsageError, WriteRefused
from ckpt_doctor.inert import edits
from ckpt_doctor.migrators import OF_ANY_FILE, Fix
from ckpt_doctor.remote import local
from ckpt_doctor.repair.plans import NAMES, FilePlan, RepairPlan, Request, RunPlan
from ckpt_doctor.trainers import ByHand
from ckpt_doctor.types import (
    Case,
    Checkpoint,
    EarlyStoppingState,
    Edit,
    Evidence,
    FileReport,
    Finding,
    KeyPath,
    Member,
    Refusal,
    Run,
    option_of,
    same_score,
    trusts,
)
from ckpt_doctor.writer import cost, part_changes, unit_cost

ACCOMPANYING = ("plain-scalars", "to-cpu")
"""Fixes of notes: `--all` applies them to a file that it rewrites anyway, and rewrites no file for them alone."""
ASKED_BY = {"R510": ("sync-rng",), "P413": ("fix-epoch", "sync-scheduler")}
"""Findings without a fix, and the fixes that say why there is none."""


def plan(
    paths: Path | str | Sequence[Path | str] = (audit.DEFAULT_PATH,),
    *,
    fixes: Collection[str] = NAMES,
    best_score: float | None = None,
    val_loss: float | None = None,
    in_place: bool = False,
    output: Path | str | None = None,
    **given: Any,
) -> RepairPlan:
    """Plan the repair of checkpoints; arguments and errors as of `migrate`. Reads each file once and writes nothing."""
    if in_place and output is not None:
        raise UsageError("in_place and output exclude each other")
    unknown = sorted(set(fixes) - set(NAMES))
    if unknown:
        raise UsageError(f"unknown fix {unknown[0]!r}; there are {', '.join(NAMES)}")
    request = Request(
        **audit.stated(given),
        fixes=frozenset(fixes),
        score=_score(best_score, val_loss),
        mode="in-place" if in_place else "replace" if output is None else "output",
        output=None if output is None else local(output),
    )
    audit.counting(request.ignore, request.trust)  # which says what is no rule and no package
    wanted = {file for path in audit.existing(paths) for file in audit.checkpoint_files(path)}
    runs = audit.find_runs(wanted).items()
    return RepairPlan(request, tuple(plan_run(folder, files, request) for folder, files in runs))


def _score(score: float | None, val_loss: float | None) -> float | None:
    if score is not None and val_loss is not None:
        raise UsageError("best_score and val_loss exclude each other")
    if val_loss is not None:
        score = -val_loss
    if score is not None and not score <= 0:
        instead = f"; give --val-loss {score:g}" if score > 0 else ""
        raise UsageError(f"best_score {score:g} is impossible: it is minus the best loss{instead}")
    return score


def plan_run(folder: Path, files: Sequence[Path], request: Request) -> RunPlan:
    """Plan files of one run, with those beside them as evidence."""
    read = tuple(audit.with_siblings(folder, files))
    plans = plan_read(folder, read, range(len(files)), request)
    return RunPlan(folder, tuple(_with_cost(file, request) for file in plans), read)


def plan_read(folder: Path, read: Sequence[Checkpoint], numbers: Iterable[int], request: Request) -> Iterator[FilePlan]:
    """Plan some of a run's checkpoints, all of which are read already; `numbers` are their places among them."""
    run, members = audit.understand(folder, read, request.facts, request.logs, request.trainer)
    for number in numbers:
        file = plan_file(_case(members[number], run, request), request)
        if request.everything and _sets_a_count(file):
            file = _completed(file, request, folder, read, number)
        yield file


def _case(member: Member, run: Run, request: Request) -> Case:
    case = audit.case_of(member, run, gate=True, by_hand=ByHand(epoch=request.epoch))
    if request.score is None:
        return case
    by_hand = given_by_hand(case, request.score)
    return audit.case_of(member, run, gate=True, by_hand=ByHand(by_hand, request.epoch))


def _sets_a_count(file: FilePlan) -> bool:
    """Whether a step or an epoch is written into a training checkpoint; an upgrade writes all that goes with them."""
    if file.case.by_shape:
        return False  # a label that differs from the siblings' would be taken for another count
    whole = file.checkpoint.layout == "training" and all(edit.donor is None for edit in file.edits)
    counts = (file.case.path("epoch"), file.case.path("step"))
    return whole and any(edit.path in counts for edit in file.edits)


def _completed(file: FilePlan, request: Request, folder: Path, read: Sequence[Checkpoint], number: int) -> FilePlan:
    """The plan with the edits that only a right count calls for: the run's mode and rates are inferred from it."""
    try:
        root = edits.apply(read[number].root, file.edits)
    except EditRefused:
        return file  # writing comes to the same end, and says so
    counted = [*read[:number], replace(read[number], root=root), *read[number + 1 :]]
    run, members = audit.understand(folder, counted, request.facts, request.logs, request.trainer)
    more = plan_file(_case(members[number], run, request), request)
    known = {(edit.path, edit.op) for edit in file.edits}
    fresh = tuple(edit for edit in more.edits if edit.op == "set" and (edit.path, edit.op) not in known)
    if not fresh:
        return file
    applied = tuple(dict.fromkeys([*file.applied, *more.applied]))
    return replace(file, edits=(*file.edits, *fresh), applied=applied, notes=(*file.notes, *more.notes))


def _with_cost(file: FilePlan, request: Request) -> FilePlan:
    """The plan with its cost; of a unit also the changes of its parts, which the cost is taken from."""
    checkpoint = file.checkpoint
    if not file.edits:
        return file
    with suppress(OSError, EditRefused, WriteRefused):  # writing comes to the same end, and says so
        if checkpoint.program is None:
            changes = part_changes(checkpoint, file.edits)
            return replace(file, changes=changes, cost=unit_cost(checkpoint, changes, request.mode, request.output))
        size = checkpoint.program.length + _brought_in(file.edits, checkpoint)
        return replace(file, cost=cost(checkpoint, size, request.mode, request.output))
    return file


def _brought_in(planned: Sequence[Edit], checkpoint: Checkpoint) -> int:
    """Bytes that come from other files: tensors, and what describes them."""
    donors = {id(edit.donor): edit.donor for edit in planned if edit.donor}
    descriptions = sum(donor.program.length for donor in donors.values() if donor.program)
    return descriptions + sum(storage.nbytes for storage in edits.adopt(planned, checkpoint)[1])


def plan_file(case: Case, request: Request) -> FilePlan:
    """The plan for a file: the edits of the requested fixes that its findings call for, in their order."""
    file = FilePlan(case, audit.judge(case, audit.counting((), request.trust)))
    if blocking := _blocking(file.before, request):
        first = blocking[0]
        refusal = Refusal("migrate", f"{first.code} {first.name}: {first.message}", first.fix or "")
        return replace(file, refusals=(refusal,))
    if case.checkpoint.program is not None or case.checkpoint.parts:
        file = _drafted(file, request)
    return file if file.edits or file.refusals else replace(file, reason=_nothing_to_do(file, request))


def _blocking(file: FileReport, request: Request) -> list[Finding]:
    """The findings that keep a file from being edited: damage, and what would run foreign code."""
    unsafe = [f for f in file.serious if f.code in ("S201", "S204") and not trusts(request.trust, f)]
    return [*(f for f in file.serious if f.code[0] == "F" and not f.migration), *unsafe]


def _drafted(file: FilePlan, request: Request) -> FilePlan:
    case = file.case
    ours = audit.is_ours(case.member, case.run)
    called = {name for f in request.counting(file.before) for name in (f.migration, *ASKED_BY.get(f.code, ())) if name}
    disproved = case.run.facts.disproved if ours else {}
    refusals = [_disproved("migrate", disproved)] if disproved and request.everything else []
    if _is_upgraded(case, request) and not ours and not request.everything:
        refusals.append(Refusal("upgrade", "no known trainer wrote this file", "the path of a run folder"))
    planned: list[Edit] = []
    notes: list[str] = []
    applied: list[Fix] = []
    for fix in _fitting(case, request, case.run.trainer if ours else ""):
        accompanies = bool(planned) and fix.name in ACCOMPANYING and not case.checkpoint.parts
        if request.everything and fix.name not in called and not accompanies:
            continue
        if disproved and fix not in OF_ANY_FILE:
            refusals += [] if request.everything else [_disproved(fix.name, disproved)]
            continue
        made = fix.plan(case)
        if fix.name in called or not request.everything:
            refusals += made.refusals
        if made.edits:
            settled = [edit.path for edit in planned if edit.op == "set"]  # by a fix that knew the true value
            upgraded = any(earlier.name == "upgrade" for earlier in applied)
            more = [_below_model(edit) if upgraded else edit for edit in made.edits]
            planned += [edit for edit in more if edit.op != "set" or not is_under(edit.path, settled)]
            applied.append(fix)
            notes += made.notes
    return replace(file, edits=tuple(planned), refusals=tuple(refusals), notes=tuple(notes), applied=tuple(applied))


def _is_upgraded(case: Case, request: Request) -> bool:
    return case.checkpoint.layout == "state-dict" and "upgrade" in request.fixes


def _fitting(case: Case, request: Request, owner: str) -> Iterator[Fix]:
    """The requested fixes that the owner has; an upgrade writes the resume point's values itself."""
    asked = (fix for fix in trainers.fixes(owner) if fix.name in request.fixes)
    upgraded = _is_upgraded(case, request)
    return (fix for fix in asked if not upgraded or fix in OF_ANY_FILE or fix.name == "upgrade")


def _nothing_to_do(file: FilePlan, request: Request) -> str:
    """Why nothing is edited. A file needs nothing only where no finding remains that a repair would be for."""
    if file.checkpoint.program is None and not file.checkpoint.parts:
        return "it cannot be edited: its pickle is not in one piece, as torch.save writes it"
    if not audit.is_ours(file.case.member, file.case.run):
        return "nothing to repair: no known trainer wrote this file, so its training state is not judged"
    left = [f for f in request.counting(file.before) if not f.migration]
    told = [f"{f.code} {f.name} remains: {f.fix or 'no edit to the file can fix it'}" for f in left]
    return "; ".join(["needs none of these repairs" if all(f.fix for f in left) else "nothing to repair", *told])


def _disproved(name: str, disproved: Mapping[str, str]) -> Refusal:
    fact, contradiction = next(iter(disproved.items()))
    return Refusal(name, f"P408 facts-disagree: {contradiction}", f"leave out {option_of(fact)}, or correct it")


def is_under(path: KeyPath, others: Collection[KeyPath]) -> bool:
    """Whether a path is, or leads through, one of the others."""
    return any(path[: len(other)] == other for other in others)


def _below_model(edit: Edit) -> Edit:
    """An edit of a bare state_dict, once the upgrade has put it under `model`."""
    return edit if edit.op == "relocate" else replace(edit, path=("model", *edit.path))


def given_by_hand(case: Case, given: float) -> Evidence[EarlyStoppingState]:
    """The state that a given best_score stands for. The counter comes from other evidence where there is any."""
    known = case.resume.early_stopping
    score = known.value.best_score if known is not None else None
    against = ""
    if known is not None and same_score(score, given):
        waited, source = known.value.counter, known.source
    else:
        if known is not None and score is not None:
            against = f" against {score:.7f} ({known.source})"
        waited = 0 if case.member.role == "best" else case.state.counter or 0
        source = "0 in a best checkpoint" if case.member.role == "best" else "the file's" if waited else "the default"
    state = EarlyStoppingState(given, -given, waited)
    return Evidence(state, f"given by hand{against}; counter: {source}", given=True)
