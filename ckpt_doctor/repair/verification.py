"""Comparison of what was written with what was planned. A written file counts only after it passed."""

from __future__ import annotations

import marshal
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from ckpt_doctor import audit
from ckpt_doctor.errors import VerificationFailed
from ckpt_doctor.inert.tree import same
from ckpt_doctor.readers.tensor_bytes import read_scalars
from ckpt_doctor.repair.planning import is_under
from ckpt_doctor.repair.plans import FilePlan
from ckpt_doctor.trainers import UNKNOWN, ByHand, trainer_named
from ckpt_doctor.types import Adopted, Checkpoint, FileReport, KeyPath, Run, TensorInfo
from ckpt_doctor.writer import PartChange


def verified(written: Checkpoint, root: object, planned: FilePlan, adopted: Sequence[Adopted]) -> FileReport:
    """The written file, judged; VerificationFailed unless it is what was planned, and better.

    It must read back as the planned tree, with every tensor on the bytes that it had; the findings that the fixes
    cure must be gone and none may be new.
    """
    _ensure_planned(written, root)
    _ensure_same_tensors(planned.checkpoint, written, _replaced(planned), adopted, planned.case.path("rng"))
    return _judged_again(written, planned)


def verified_unit(written: Checkpoint, changes: Sequence[PartChange], planned: FilePlan) -> FileReport:
    """As `verified`, of a unit of several files: the changed parts as planned, all others as they were."""
    unit = planned.checkpoint
    before = {unit.name_of(part): part for part in unit.parts}
    after = {written.name_of(part): part for part in written.parts}
    changed = {change.name: change for change in changes}
    rng = planned.case.path("rng")
    if after.keys() != before.keys() | changed.keys():
        raise VerificationFailed("the written folder does not hold the planned files; nothing was changed")
    for name, part in after.items():
        change = changed.get(name)
        _ensure_planned(part, change.root if change else before[name].root)
        if name in before and (change is None or change.part is not None):
            replaced = {path[1:] for path in _replaced(planned) if path[0] == name}
            inside = rng[1:] if rng[0] == name else None
            _ensure_same_tensors(before[name], part, replaced, change.adopted if change else (), inside)
    return _judged_again(written, planned)


def _replaced(planned: FilePlan) -> set[KeyPath]:
    return {edit.path for edit in planned.edits if edit.op == "set"}


def _ensure_planned(written: Checkpoint, root: object) -> None:
    difference = None if _is_same_json(written, root) else same(written.root, root)
    if difference is not None:
        raise VerificationFailed(f"what was written does not read back as planned ({difference}); nothing was changed")


def _is_same_json(written: Checkpoint, planned: object) -> bool:
    """Whether a JSON file says what was planned, to the last bit. Its values share nothing, as those of pickles do."""
    one: Any = written.root
    other: Any = planned
    try:
        return written.container == "json" and marshal.dumps(one, 2) == marshal.dumps(other, 2)
    except ValueError:  # nested too deep, or planned with more than JSON has
        return False


def _judged_again(written: Checkpoint, planned: FilePlan) -> FileReport:
    """The result, judged; VerificationFailed where one is left that a fix cures, or one is new."""
    case = planned.case
    ours = audit.is_ours(case.member, case.run)
    member = (trainer_named(case.run.trainer) if ours else UNKNOWN).member_of(written, read_scalars)
    # Judged as what it will be: the temporary name is no defect of the file.
    damage = tuple(damage for damage in written.damage if damage.kind != "unfinished-write")
    place = case.checkpoint.path
    parts = tuple(replace(part, path=place / written.name_of(part)) for part in written.parts)
    settled = replace(written, path=place, damage=damage, parts=parts)
    was = case.member
    member = replace(member, checkpoint=settled, role=was.role, named_step=was.named_step, own_label=was.own_label)
    others = tuple(m for m in case.run.members if m.checkpoint.path != case.checkpoint.path)
    run: Run = replace(case.run, members=(*others, member) if ours else others)
    given = case.resume.early_stopping
    stopping = given if given is not None and given.given else None
    case_after = audit.case_of(member, run, gate=True, by_hand=ByHand(stopping))
    after = audit.judge(case_after, lambda finding, _path: finding.code[0] != "S")  # the plan let those pass
    cured = {code for fix in planned.applied for code in fix.cures}
    allowed = {code for fix in planned.applied for code in fix.reveals}
    names = {fix.name for fix in planned.applied}
    refused = {refusal.migration for refusal in planned.refusals}
    for finding in after.findings:
        left = finding.code in cured and finding.migration not in refused and finding.migration in names
        new = finding.severity != "info" and finding.code not in {f.code for f in planned.before.findings} | allowed
        if left or new:
            kind = "is still there" if left else "would be new"
            raise VerificationFailed(f"{finding.code} {finding.name} {kind} ({finding.message}); nothing was changed")
    return after


def _views(tensors: Iterable[TensorInfo]) -> set[object]:
    """Which views of which bytes the tensors are; two tensors may be the same one."""
    return {(t.storage.key, t.storage_offset, t.shape, t.stride, t.dtype) for t in tensors}


def _ensure_same_tensors(
    old: Checkpoint,
    new: Checkpoint,
    replaced: Collection[KeyPath] = (),
    adopted: Sequence[Adopted] = (),
    rng: KeyPath | None = None,
) -> None:
    """Every tensor of the old file is in the new one, as the same view of the same bytes.

    But for those that were replaced: a rate that the old file held as a tensor of one element, an entry of a training
    checkpoint that is itself a tensor, where a score belongs, and the random state (at `rng`) as a whole. What was
    adopted from another file comes on top."""
    numbers = {
        t.path
        for t in old.tensors
        if all(size == 1 for size in t.shape) or (old.layout == "training" and len(t.path) == 1)
    }
    gone = {path for path in numbers if is_under(path, replaced)}
    if rng is not None and rng in replaced:
        gone |= {t.path for t in old.tensors if t.path[: len(rng)] == rng}
    kept = [t for t in old.tensors if t.path not in gone]
    new_keys = {storage.key for storage in adopted}
    stayed = [t for t in new.tensors if t.storage.key not in new_keys]
    if not (_views(kept) <= _views(stayed) <= _views(old.tensors)):  # what was replaced may stay at another place
        raise VerificationFailed("the tensors of the written file are not those of the original; nothing was changed")
    shift = {t.storage.key: t.storage.offset for t in new.tensors}
    moved = {(shift[t.storage.key] or 0) - (t.storage.offset or 0) for t in old.tensors if t.storage.key in shift}
    if old.container == "torch-zip" and moved - {0}:
        raise VerificationFailed("tensor records were moved; nothing was changed")
