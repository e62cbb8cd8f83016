"""A judged file -> the edits that cure it, and what was refused for want of evidence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ckpt_doctor import audit, trainers
from ckpt_doctor.migrators import Migration
from ckpt_doctor.types import (
    Case,
    EarlyStoppingState,
    Edit,
    Evidence,
    Finding,
    Given,
    KeyPath,
    Mode,
    Refusal,
    option_of,
    same_score,
    trusts,
)

EVERYWHERE = ("strip-prefix", "plain-scalars", "to-cpu")
"""Migrations that make sense for any torch file, whichever trainer wrote it."""
ACCOMPANYING = ("plain-scalars", "to-cpu")
"""Cures of mere notes: `--all` applies them to a file that it rewrites anyway, and never rewrites one for them."""
ASKED_BY = {"R510": ("sync-rng",), "P413": ("fix-epoch", "sync-scheduler")}
"""Findings without a cure, and the migrations that say why there is none."""


@dataclass(frozen=True)
class Request:
    """What was asked for, for every file of a call."""

    fixes: frozenset[str]
    """Names of fixes."""
    everything: bool
    facts: Given
    logs: Sequence[Path]
    ignored: Collection[str]
    """Codes of findings that a person accepts."""
    trusted: Collection[str]
    """Packages that loading a file may call into."""
    stopping: float | None
    """best_score given by hand."""
    epoch: int | None
    """Finished epochs of a bare state_dict, given by hand."""
    mode: Mode
    output: Path | None
    dry_run: bool
    verify_torch: bool
    trainer: str
    """For which a person claims the files; empty: each run's is recognised."""
    progress: Callable[[Path, int], None] | None


@dataclass(frozen=True)
class Planned:
    """The edits for one file, with what they rest on."""

    case: Case
    before: tuple[Finding, ...]
    edits: tuple[Edit, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    applied: tuple[Migration, ...] = ()


def plan_edits(case: Case, request: Request) -> Planned:
    """What the asked-for migrations that findings call for make of a file, in their order."""
    before = audit.judge(case).findings
    planned = Planned(case, before)
    unsafe = [f for f in before if f.code in ("S201", "S204") and f.severity != "info"]
    damaged = [f for f in before if f.code[0] == "F" and f.severity != "info"]
    blocking = damaged + [f for f in unsafe if not trusts(request.trusted, f)]
    if blocking:
        first = blocking[0]
        refusal = Refusal("migrate", f"{first.code} {first.name}: {first.message}", first.fix or "")
        return replace(planned, refusals=(refusal,))
    if case.checkpoint.program is None:
        return planned
    serious = [f for f in before if f.severity != "info" and f.code not in request.ignored]
    called = {name for f in serious for name in (f.migration, *ASKED_BY.get(f.code, ())) if name}
    ours = audit.is_ours(case.member, case.run)
    to_upgrade = case.checkpoint.layout == "state-dict" and "upgrade" in request.fixes
    edits_: list[Edit] = []
    refusals_: list[Refusal] = []
    disproved = case.run.facts.disproved if ours else {}
    notes: list[str] = []
    applied: list[Migration] = []
    upgraded = False
    if disproved and request.everything:
        refusals_.append(_disproved("migrate", disproved))
    owner = case.run.trainer if ours else ""
    if to_upgrade and not ours and not request.everything:
        refusals_.append(Refusal("upgrade", "no trainer is known that wrote this file", "the path of a run folder"))
    for migration in (fix for fix in trainers.fixes(owner) if fix.name in request.fixes):
        if to_upgrade and migration.name not in (*EVERYWHERE, "upgrade"):
            continue  # the upgrade writes the resume point's values itself
        if request.everything and migration.name not in called and not (edits_ and migration.name in ACCOMPANYING):
            continue
        if disproved and migration.name not in EVERYWHERE:
            if not request.everything:
                refusals_.append(_disproved(migration.name, disproved))
            continue
        plan = migration.plan(case)
        if migration.name in called or not request.everything:
            refusals_ += plan.refusals
        if plan.edits:
            settled = [edit.path for edit in edits_ if edit.op == "set"]  # by a migration that knew the true value
            more = [_below_model(edit) if upgraded else edit for edit in plan.edits]
            edits_ += [edit for edit in more if edit.op != "set" or not is_under(edit.path, settled)]
            applied.append(migration)
            notes += plan.notes
            upgraded = upgraded or migration.name == "upgrade"
    return replace(planned, edits=tuple(edits_), refusals=tuple(refusals_), notes=tuple(notes), applied=tuple(applied))


def _disproved(name: str, disproved: Mapping[str, str]) -> Refusal:
    fact, contradiction = next(iter(disproved.items()))
    return Refusal(name, f"P408 facts-disagree: {contradiction}", f"leave out {option_of(fact)}, or correct it")


def is_under(path: KeyPath, others: Collection[KeyPath]) -> bool:
    """Whether a path is, or leads through, one of the others."""
    return any(path[: len(other)] == other for other in others)


def _below_model(edit: Edit) -> Edit:
    """An edit of a bare state_dict, once the upgrade has put it under `model`."""
    return edit if edit.op == "relocate" else replace(edit, path=("model", *edit.path))


def given_by_hand(case: Case, best_score: float) -> Evidence[EarlyStoppingState]:
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
