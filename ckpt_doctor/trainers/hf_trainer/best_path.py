"""Where the best checkpoint is: the path that the state names, and the folder beside this one."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from ckpt_doctor.remote import is_url
from ckpt_doctor.trainers.hf_trainer.layout import FOLDER, STATE, run_of
from ckpt_doctor.trainers.shared_folders import number_behind
from ckpt_doctor.types import Member
from ckpt_doctor.types.record import record


@record(frozen=True)
class Place:
    """The best checkpoint of a state."""

    told: str
    """The path in the state: as the command gave the output folder."""
    name: str
    is_there: bool
    beside: Path | None
    """The folder of that name in the same run; None where there is none."""


def of(member: Member) -> Place | None:
    """Where the best checkpoint is; None where the state names none.

    A relative path holds from the folder in which the training was started. Which that was is not known; so it counts
    as right where its end is the end of this run's own path.
    """
    told = member.checkpoint.get(STATE, "best_model_checkpoint")
    if not isinstance(told, str) or not told or "\0" in told:
        return None
    parts = PureWindowsPath(told).parts if "\\" in told else PurePosixPath(told).parts
    name = parts[-1] if parts else ""
    run = run_path(member)
    beside = run / name if number_behind(FOLDER, name) is not None and (run / name).is_dir() else None
    here = run.parts
    around = tuple(part for part in parts[:-1] if part != ".")
    if ".." in around:
        around = around[len(around) - around[::-1].index("..") :]
    fits = not Path(told).is_absolute() and (not around or here[-len(around) :] == around)
    if is_url(run):  # where a copy in a bucket is resumed nobody knows: the name is all that can be compared
        return Place(told, name, beside is not None, beside)
    return Place(told, name, (fits and beside is not None) or _is_folder(told), beside)


def run_path(member: Member) -> Path:
    """The run folder, as a path that holds from everywhere."""
    run = run_of(member.checkpoint.path) or member.checkpoint.path.parent
    return run.absolute().parent.parent if run.name == ".." else run.absolute()


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:  # a name that is too long
        return False


def named_best(members: tuple[Member, ...]) -> str:
    """The name of the best checkpoint of a run: the one that its furthest state names."""
    known = [m for m in members if isinstance(m.checkpoint.get(STATE, "best_model_checkpoint"), str)]
    newest = max(known, key=lambda m: m.state.global_step or 0, default=None)
    place = of(newest) if newest is not None else None
    return place.name if place else ""
