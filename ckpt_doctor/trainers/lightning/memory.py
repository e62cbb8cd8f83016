"""What a run remembers of its best model: whether a file's memory fits its place, and how a lost one is rebuilt."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from ckpt_doctor.inert.lines import ENOUGH
from ckpt_doctor.remote import is_url
from ckpt_doctor.trainers.lightning.callbacks import Saver, Stopper, savers, stoppers
from ckpt_doctor.trainers.lightning.history import history_of, kept, name_of
from ckpt_doctor.trainers.lightning.layout import is_measured, is_weights_only
from ckpt_doctor.trainers.lightning.loops import loops_of
from ckpt_doctor.types import Case, Checkpoint, KeyPath, Member, Run, mapping_of, real
from ckpt_doctor.types.record import once, record

_MOST_OF_A_STEP = 8
"""Files of one step that are compared."""
OF_A_LOGGER = re.compile(r"[/\\]version_\d+[/\\]checkpoints\Z")
"""The end of the folder that the default logger gives ModelCheckpoint."""


def folder_of(checkpoint: Checkpoint) -> str:
    """The folder of a file, as ModelCheckpoint names its `dirpath` (`os.path.realpath`)."""
    return os.path.realpath(checkpoint.path.absolute().parent)


def is_within(folder: str, dirpath: str) -> bool:
    """Whether a folder is `dirpath` or lies below it (names may contain folders: `{epoch}/{val/loss}`).

    A logger whose `save_dir` is relative gives a relative `dirpath`, from the folder in which training was started: no
    file names that one, so any that has these folders below it may be it.
    """
    if PurePath(dirpath).is_absolute():
        return folder == dirpath or Path(folder).is_relative_to(PurePath(dirpath))
    there = Path(folder).parts
    wanted = tuple(part for part in Path(os.path.normpath(dirpath)).parts if part != os.pardir)
    return any(there[at : at + len(wanted)] == wanted for at in range(len(there) - len(wanted) + 1))


def moved_savers(case: Case) -> list[Saver]:
    """The ModelCheckpoints that remember something under another folder, where none of them saves to this one."""
    checkpoint = case.checkpoint
    if is_url(checkpoint.path):
        return []  # where a copy in a bucket is resumed nobody knows
    held = [saver for saver in savers(checkpoint) if saver.text("dirpath")]
    places = {folder_of(checkpoint), str(checkpoint.path.absolute().parent)}
    if not held or any(is_within(place, saver.text("dirpath")) for saver in held for place in places):
        return []
    return [saver for saver in held if saver.best_k or saver.text("last_model_path")]


def lies_with_its_run(case: Case, saver: Saver) -> bool:
    """Whether another file that this ModelCheckpoint keeps lies beside this one, or another one that keeps this."""
    own, history = case.checkpoint.path.name, history_of(case.run)
    if kept(saver) & history.names - {own}:
        return True
    by_itself = sum(s.text("dirpath") == saver.text("dirpath") and own in kept(s) for s in savers(case.checkpoint))
    return history.keepers.get(saver.text("dirpath"), Counter())[own] > by_itself


def newest_step(saver: Saver) -> int | None:
    """The highest step of the files that a ModelCheckpoint keeps, by their names; None where these do not show it."""
    return max((step for path in saver.best_k if (step := _step_of(path)) is not None), default=None)


# --- a memory that was lost ------------------------------------------------------------------------------------------


@record(frozen=True)
class Lost:
    """A callback's state that siblings have and this file lacks."""

    path: KeyPath
    kind: str
    """`ModelCheckpoint` or `EarlyStopping`."""
    donor: Member
    """The sibling that has it."""
    value: Mapping[str, Any] | None
    """The state that this file should have; None where no file proves it."""
    told: str
    """Where it comes from, or why it is not proven."""


Steps = Mapping[str, int]
"""Name of a file -> the step that it holds."""


def lost(case: Case) -> list[Lost]:
    """The callbacks' states that this file lacks although the run kept them when it was saved.

    That is so where the file has no state of any callback, or where an earlier file has the state and a later one too:
    a callback may have been added on the way. One with other arguments for the same monitored value takes its place."""
    member, history = case.member, history_of(case.run)
    mine, checkpoint = case.state.global_step, case.checkpoint
    if is_weights_only(checkpoint) or loops_of(checkpoint) is None or mine is None:
        return []
    found = []
    for path, holders in history.memories.items():
        first = next((holder for holder in holders if holder.checkpoint.path != checkpoint.path), None)
        if first is None or _remembers(checkpoint, first, path):
            continue
        others = [holder for holder in holders if holder.checkpoint.path != checkpoint.path]
        later = [other for other in others if (other.state.global_step or 0) > mine]
        earlier = [other for other in others if (other.state.global_step or 0) <= mine]
        if checkpoint.get("callbacks") and not (earlier and later):
            continue
        donor = (later or others)[0]
        found.append(_rebuilt(member, donor, path, history.steps if later else {}))
    return found


def _remembers(checkpoint: Checkpoint, other: Member, path: KeyPath) -> bool:
    """Whether a file has the state of a callback, or of another one of its kind for the same value."""
    own, its = (mapping_of(one.get(*path)) or {} for one in (checkpoint, other.checkpoint))
    if own and not (its.get("best_k_models") and own.get("best_model_score", 0) is None):
        return True
    for of in (savers, stoppers):
        wanted = next((one.monitor for one in of(other.checkpoint) if one.path == path), None)
        if wanted is not None:
            return any(one.monitor == wanted and one.path != path for one in of(checkpoint))
    return True


def _rebuilt(member: Member, donor: Member, path: KeyPath, steps: Steps) -> Lost:
    saver = next((one for one in savers(donor.checkpoint) if one.path == path), None)
    if saver is not None:
        kind, made = "ModelCheckpoint", _saver(member, donor, saver, steps)
    else:
        stopper = next(one for one in stoppers(donor.checkpoint) if one.path == path)
        kind, made = "EarlyStopping", _stopper(member, donor, stopper, steps)
    return Lost(path, kind, donor, None, made) if isinstance(made, str) else Lost(path, kind, donor, *made)


def _cut(member: Member, saver: Saver, known: Steps) -> dict[str, Any] | str:
    """The files that the callback had saved up to this one, each with its score; or why they are not known."""
    steps = {path: known.get(name_of(path)) or _step_of(path) for path in saver.best_k}
    if None in steps.values():
        return "the names of the files in best_k_models do not show their steps"
    mine, loops = member.state.global_step or 0, loops_of(member.checkpoint)
    cut = {path: value for path, value in saver.best_k.items() if (steps[path] or 0) <= mine}
    own = [path for path in cut if steps[path] == mine]
    if len(own) != 1 or loops is None or len(cut) != loops.start:
        return "the later file does not keep a score of every epoch up to this one (save_top_k=-1 does)"
    return dict(sorted(cut.items(), key=lambda item: steps[item[0]] or 0))


def _step_of(path: str) -> int | None:
    match = re.search(r"step=(\d{1,18})", name_of(path))
    return int(match[1]) if match else None


def _saver(member: Member, donor: Member, saver: Saver, steps: Steps) -> tuple[Mapping[str, Any], str] | str:
    """ModelCheckpoint's state when a file was saved, and where it comes from; or why it is not known."""
    if not steps:
        return "no later file of the run has the scores up to this one"
    cut = _cut(member, saver, steps)
    if isinstance(cut, str):
        return cut
    values = {path: known for path, value in cut.items() if (known := real(value)) is not None}
    if not saver.mode or len(values) < len(cut):
        return "the scores, or whether lower is better, are not known"
    pick, worst = (min, max) if saver.mode == "min" else (max, min)
    best, last, own = pick(values, key=values.__getitem__), worst(values, key=values.__getitem__), next(reversed(cut))
    state = {
        **saver.state,
        "best_model_score": cut[best],
        "best_model_path": best,
        "current_score": cut[own],
        "best_k_models": cut,
        "kth_best_model_path": last,
        "kth_value": cut[last],
    }
    return state, f"best_k_models of {donor.label} up to step {member.state.global_step:,}"


def _stopper(member: Member, donor: Member, stopper: Stopper, steps: Steps) -> tuple[Mapping[str, Any], str] | str:
    """As `_saver`, of EarlyStopping."""
    saver = next((s for s in savers(donor.checkpoint) if s.monitor == stopper.monitor and s.mode == stopper.mode), None)
    if not steps or saver is None:
        return "no later file of the run has the scores that EarlyStopping monitors"
    cut = _cut(member, saver, steps)
    if isinstance(cut, str):
        return cut
    whole = _cut(donor, saver, steps)
    told = (real(stopper.state.get("best_score")), stopper.count("wait_count"))
    if isinstance(whole, str) or _replayed(whole, stopper.mode) != told:
        return "EarlyStopping replayed over the scores differs from its state in the later file (min_delta?)"
    best, waited = _replay(cut, stopper.mode)
    state = {**stopper.state, "wait_count": waited, "best_score": cut[best], "stopped_epoch": 0}
    if "stopping_reason" in state:
        state.update(stopping_reason=0, stopping_reason_message=None)
    source = f"EarlyStopping replayed over the scores that {donor.label} keeps"
    return state, f"{source}, up to step {member.state.global_step:,}"


def _replay(cut: Mapping[str, Any], mode: str) -> tuple[str, int]:
    """The best file and the checks since, with a `min_delta` of 0."""
    best, waited = "", 0
    for path, value in cut.items():
        now, before = real(value), real(cut[best]) if best else None
        better = now is not None and (before is None or (now < before if mode == "min" else now > before))
        best, waited = (path, 0) if better else (best, waited + 1)
    return best, waited


def _replayed(cut: Mapping[str, Any], mode: str) -> tuple[float | None, int]:
    best, waited = _replay(cut, mode)
    return (real(cut[best]) if best else None), waited


def dirpath_here(checkpoint: Checkpoint, saver: Saver) -> str:
    """The `dirpath` with which a ModelCheckpoint takes its memory up in the folder of the file.

    A relative one is relative again, and as deep: it comes from a logger whose `save_dir` is relative, which names it
    so again; ModelCheckpoint compares the texts."""
    folder, old = folder_of(checkpoint), saver.text("dirpath")
    if PurePath(old).is_absolute() or PureWindowsPath(old).is_absolute():
        return folder
    depth = sum(part != os.pardir for part in Path(os.path.normpath(old)).parts)
    return str(Path(*Path(folder).parts[-depth:]))


def remapped(checkpoint: Checkpoint, saver: Saver) -> Iterator[tuple[str, object]]:
    """The paths of a ModelCheckpoint as they are in the folder of the file: key, value."""
    folder, old = dirpath_here(checkpoint, saver), saver.text("dirpath")

    def here(path: str) -> str:
        below = path[len(old) :] if path.startswith(old) else f"/{name_of(path)}"
        return folder + re.sub(r"\\", "/", below) if path else path

    yield "dirpath", folder
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        if saver.text(key):
            yield key, here(saver.text(key))
    if saver.best_k:
        yield "best_k_models", {here(path): value for path, value in saver.best_k.items()}


@record(frozen=True)
class LeftOut:
    """A check at the end of the epoch that comes after the save, and that no resume makes up for."""

    waiting: Saver | Stopper
    is_sure: bool
    """Whether this epoch has one, by the epochs in which the run had a validation."""


def check_left_out(member: Member, run: Run) -> LeftOut | None:
    """What a resume from a file of an epoch's last batch leaves out; None where it leaves out nothing."""
    checkpoint, loops = member.checkpoint, loops_of(member.checkpoint)
    if loops is None or not loops.is_before_checks or not is_measured(checkpoint):
        return None
    saver = next((saver for saver in savers(checkpoint) if saver.checks_epochs), None)
    waiting = next(iter(stoppers(checkpoint)), saver)
    periods = history_of(run).periods
    due = [epochs for epochs in periods if not (loops.epoch + 1) % epochs]
    return LeftOut(waiting, 1 in periods or len(due) == len(periods)) if waiting is not None and due else None


# --- a memory of another moment --------------------------------------------------------------------------------------


def saved_later(case: Case) -> tuple[Member, Saver] | None:
    """A file of the same step that another ModelCheckpoint saved after this one, and that callback's state in this one.

    The callbacks check one after the other, and each file has what those before it have counted."""
    found = once(case.run, "files of each step", lambda: _files_of_steps(case.run))
    for other, saver in found.get(_moment(case.member), ()):
        own = next((one for one in savers(case.checkpoint) if one.path == saver.path), None)
        steps = history_of(case.run).steps
        counted = {steps.get(name_of(path), _step_of(path)) for path in own.best_k} if own is not None else set()
        if own is not None and case.state.global_step not in counted:
            return other, own
    return None


def _moment(member: Member) -> tuple[int | None, int | None]:
    loops = loops_of(member.checkpoint)
    return member.state.global_step, None if loops is None else loops.checked


def _files_of_steps(run: Run) -> Mapping[object, Sequence[tuple[Member, Saver]]]:
    """Several files of one step, each with the ModelCheckpoint that has it among its best."""
    found: dict[object, list[Member]] = {}
    for member in run.members:
        found.setdefault(_moment(member), []).append(member)
    several = {moment: members[:_MOST_OF_A_STEP] for moment, members in found.items() if len(members) > 1}
    return {moment: [(one, s) for one in members for s in _its_savers(one)] for moment, members in several.items()}


def _its_savers(member: Member) -> Iterator[Saver]:
    for saver in savers(member.checkpoint):
        if saver.monitor and member.checkpoint.path.name in {name_of(path) for path in saver.best_k}:
            yield saver


def stopper_apart(member: Member, run: Run) -> Stopper | None:
    """An EarlyStopping whose state in this file alone does not follow from one check to the next."""
    found: Mapping[KeyPath, str] = once(run, "stoppers apart", lambda: dict(_stoppers_apart(run)))
    return next((one for one in stoppers(member.checkpoint) if found.get(one.path) == member.label), None)


def _stoppers_apart(run: Run) -> Iterator[tuple[KeyPath, str]]:
    """Where an EarlyStopping keeps its state -> the file between others without which all of them follow."""
    history = history_of(run)
    for path, holders in history.memories.items() if history.periods == range(1, 2) else ():
        checks: dict[int, tuple[Stopper, str]] = {}
        for member in holders:
            loops, stopper = loops_of(member.checkpoint), _stopper_at(member, path)
            if loops is not None and stopper is not None:
                checks[loops.checked] = stopper, member.label
        order = sorted(checks)
        off = [at for at in range(1, len(order)) if not _follows(checks, order[at - 1], order[at])]
        if len(order) <= ENOUGH or not 0 < len(off) < 3:
            continue
        alone = [at for at in sorted({off[0] - 1, *off}) if _is_alone(checks, order, off, at)]
        if len(alone) == 1 and 0 < alone[0] < len(order) - 1:
            yield path, checks[order[alone[0]]][1]


def _stopper_at(member: Member, path: KeyPath) -> Stopper | None:
    return next((one for one in stoppers(member.checkpoint) if one.path == path), None)


def _is_alone(checks: Mapping[int, tuple[Stopper, str]], order: list[int], off: list[int], at: int) -> bool:
    """Whether all others follow each other without one."""
    joined = not 0 < at < len(order) - 1 or _follows(checks, order[at - 1], order[at + 1])
    return joined and set(off) <= {at, at + 1}


def _follows(checks: Mapping[int, tuple[Stopper, str]], before: int, after: int) -> bool:
    """Whether EarlyStopping can come from one state to the next in as many checks as there are epochs in between."""
    one, other = checks[before][0], checks[after][0]
    best, later = real(one.state.get("best_score")), real(other.state.get("best_score"))
    waited, now = one.count("wait_count"), other.count("wait_count")
    if best is None or later is None or waited is None or now is None or not one.mode:
        return True
    if now >= after - before:
        return later == best and now == waited + after - before
    return later < best if one.mode == "min" else later > best
