"""What a run remembers of its best model: whether a file's memory fits its place, and how a lost one is rebuilt."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from ckpt_doctor.trainers.lightning.callbacks import Saver, Stopper, savers, score, stoppers
from ckpt_doctor.trainers.lightning.layout import is_weights_only
from ckpt_doctor.trainers.lightning.loops import loops_of
from ckpt_doctor.types import Case, Checkpoint, KeyPath, Member

OF_A_LOGGER = re.compile(r"[/\\]version_\d+[/\\]checkpoints\Z")
"""The end of the folder that the default logger gives ModelCheckpoint."""


def folder_of(checkpoint: Checkpoint) -> str:
    """The folder of a file, as ModelCheckpoint names its `dirpath` (`os.path.realpath`)."""
    return os.path.realpath(checkpoint.path.absolute().parent)


def name_of(path: str) -> str:
    """The last part of a path of this or another system."""
    return re.split(r"[/\\]", path)[-1]


def is_within(folder: str, dirpath: str) -> bool:
    """Whether a folder is `dirpath` or lies below it (names may contain folders: `{epoch}/{val/loss}`)."""
    return folder == dirpath or Path(folder).is_relative_to(PurePath(dirpath))


def moved_savers(case: Case) -> list[Saver]:
    """The ModelCheckpoints that remember something under another folder, where none of them saves to this one."""
    checkpoint = case.checkpoint
    held = [saver for saver in savers(checkpoint) if saver.text("dirpath")]
    if not held or any(is_within(folder_of(checkpoint), saver.text("dirpath")) for saver in held):
        return []
    return [saver for saver in held if saver.best_k or saver.text("last_model_path")]


def lies_with_its_run(case: Case, saver: Saver) -> bool:
    """Whether another file that this ModelCheckpoint keeps lies beside this one, or another one that keeps this."""
    own, around = case.checkpoint.path.name, {path.name for path in case.run.unjudged}
    for member in case.run.members:
        around.add(member.checkpoint.path.name)
        same = (other for other in savers(member.checkpoint) if other.text("dirpath") == saver.text("dirpath"))
        if member.checkpoint.path.name != own and any(own in _kept(other) for other in same):
            return True
    return bool((_kept(saver) & around) - {own})


def _kept(saver: Saver) -> set[str]:
    return {name_of(path) for path in (*saver.best_k, saver.text("last_model_path")) if path}


# --- a memory that was lost ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lost:
    """A callback's state that siblings have and this file lacks."""

    path: KeyPath
    kind: str
    """`ModelCheckpoint` or `EarlyStopping`."""
    donor: Member
    """The sibling that has it."""
    value: Mapping[str, Any] | None
    """The state that this file should have; None where no file proves it."""
    why: str = ""
    """Why it is not proven."""
    evidence: str = ""


def lost(case: Case) -> list[Lost]:
    """The callbacks' states that this file lacks and a later sibling, or any, has."""
    member, mine = case.member, case.state.global_step
    if is_weights_only(case.checkpoint) or loops_of(case.checkpoint) is None or mine is None:
        return []
    steps = {m.checkpoint.path.name: m.state.global_step for m in case.run.members}
    others = [m for m in case.run.members if m.checkpoint.path != case.checkpoint.path and m.state.global_step]
    later = sorted((m for m in others if (m.state.global_step or 0) > mine), key=lambda m: m.state.global_step or 0)
    held = {part.path for part in (*savers(case.checkpoint), *stoppers(case.checkpoint))}
    found: dict[KeyPath, Lost] = {}
    for donor in (*later, *others):
        for saver in savers(donor.checkpoint):
            if saver.monitor and saver.path not in held and saver.path not in found:
                found[saver.path] = _saver(member, donor, saver, steps if donor in later else {})
        for stopper in stoppers(donor.checkpoint):
            if stopper.path not in held and stopper.path not in found:
                found[stopper.path] = _stopper(member, donor, stopper, steps if donor in later else {})
    return list(found.values())


Steps = Mapping[str, "int | None"]
"""Name of a file -> the step that it holds."""


def _cut(member: Member, saver: Saver, known: Steps) -> dict[str, Any] | str:
    """The files that the callback had saved up to this one, each with its score; or why they are not known."""
    steps = {path: known.get(name_of(path)) or _step_of(path) for path in saver.best_k}
    if None in steps.values():
        return "the names of the files that are kept do not say their steps"
    mine, loops = member.state.global_step or 0, loops_of(member.checkpoint)
    kept = {path: value for path, value in saver.best_k.items() if (steps[path] or 0) <= mine}
    own = [path for path in kept if steps[path] == mine]
    if len(own) != 1 or loops is None or len(kept) != loops.start:
        return "the later file does not keep a score of every epoch up to this one (save_top_k=-1 does)"
    return dict(sorted(kept.items(), key=lambda item: steps[item[0]] or 0))


def _step_of(path: str) -> int | None:
    match = re.search(r"step=(\d{1,18})", name_of(path))
    return int(match[1]) if match else None


def _saver(member: Member, donor: Member, saver: Saver, steps: Steps) -> Lost:
    def without(why: str) -> Lost:
        return Lost(saver.path, "ModelCheckpoint", donor, None, why)

    if not steps:
        return without("no later file of the run has the scores up to this one")
    kept = _cut(member, saver, steps)
    if isinstance(kept, str):
        return without(kept)
    values = {path: score(value) for path, value in kept.items()}
    if not saver.mode or None in values.values():
        return without("the scores, or whether lower is better, are not known")
    pick = min if saver.mode == "min" else max
    worst = max if saver.mode == "min" else min
    best, last, own = pick(values, key=_by(values)), worst(values, key=_by(values)), next(reversed(kept))
    state = {
        **saver.state,
        "best_model_score": kept[best],
        "best_model_path": best,
        "current_score": kept[own],
        "best_k_models": kept,
        "kth_best_model_path": last,
        "kth_value": kept[last],
    }
    evidence = f"{donor.label}: its best_k_models up to step {member.state.global_step:,}"
    return Lost(saver.path, "ModelCheckpoint", donor, state, "", evidence)


def _by(values: Mapping[str, float | None]) -> Any:
    return lambda path: values[path]


def _stopper(member: Member, donor: Member, stopper: Stopper, steps: Steps) -> Lost:
    def without(why: str) -> Lost:
        return Lost(stopper.path, "EarlyStopping", donor, None, why)

    saver = next((s for s in savers(donor.checkpoint) if s.monitor == stopper.monitor and s.mode == stopper.mode), None)
    if not steps or saver is None:
        return without("no later file of the run has the scores that it monitors")
    kept = _cut(member, saver, steps)
    if isinstance(kept, str):
        return without(kept)
    whole = _cut(donor, saver, steps)
    told = (score(stopper.state.get("best_score")), stopper.count("wait_count"))
    if isinstance(whole, str) or _replayed(whole, stopper.mode) != told:
        return without("EarlyStopping replayed over the scores is not what the later file has (min_delta?)")
    best, waited = _replay(kept, stopper.mode)
    state = {**stopper.state, "wait_count": waited, "best_score": kept[best], "stopped_epoch": 0}
    if "stopping_reason" in state:
        state.update(stopping_reason=0, stopping_reason_message=None)
    evidence = (
        f"EarlyStopping replayed over the scores that {donor.label} keeps, up to step {member.state.global_step:,}"
    )
    return Lost(stopper.path, "EarlyStopping", donor, state, "", evidence)


def _replay(kept: Mapping[str, Any], mode: str) -> tuple[str, int]:
    """The best file and the checks since, with a `min_delta` of 0."""
    best, waited = "", 0
    for path, value in kept.items():
        now, before = score(value), score(kept[best]) if best else None
        better = now is not None and (before is None or (now < before if mode == "min" else now > before))
        best, waited = (path, 0) if better else (best, waited + 1)
    return best, waited


def _replayed(kept: Mapping[str, Any], mode: str) -> tuple[float | None, int]:
    best, waited = _replay(kept, mode)
    return (score(kept[best]) if best else None), waited


def remapped(checkpoint: Checkpoint, saver: Saver) -> Iterator[tuple[str, object]]:
    """The paths of a ModelCheckpoint as they are in the folder of the file: key, value."""
    folder, old = folder_of(checkpoint), saver.text("dirpath")

    def here(path: str) -> str:
        below = path[len(old) :] if path.startswith(old) else f"/{name_of(path)}"
        return folder + re.sub(r"\\", "/", below) if path else path

    yield "dirpath", folder
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        if saver.text(key):
            yield key, here(saver.text(key))
    if saver.best_k:
        yield "best_k_models", {here(path): value for path, value in saver.best_k.items()}
