"""`--fix-best-path`: the folder in which the files lie into ModelCheckpoint's state."""

from __future__ import annotations

from ckpt_doctor.migrators import Fix, Plan
from ckpt_doctor.trainers.lightning.memory import dirpath_here, folder_of, moved_savers, remapped
from ckpt_doctor.types import Case, Edit

NAME = "fix-best-path"


def _plan(case: Case) -> Plan:
    """Write the folder in which the file lies into `dirpath` and the paths of the kept files.

    ModelCheckpoint takes its memory up only where `dirpath` is the folder that it saves to. The scores stay as they
    are. The script must then save to that folder as well: `ModelCheckpoint(dirpath=...)`. A relative `dirpath`, which a
    logger with a relative `save_dir` gives, stays relative, and training must begin where it leads to that folder."""
    checkpoint, folder, moved = case.checkpoint, folder_of(case.checkpoint), moved_savers(case)
    edits = [
        Edit((*saver.path, key), saver.state.get(key), after, f"the file is in {folder}")
        for saver in moved
        for key, after in remapped(checkpoint, saver)
        if saver.state.get(key) != after
    ]
    notes = [_note(folder, dirpath_here(checkpoint, saver)) for saver in moved] if edits else []
    return Plan(tuple(edits), notes=tuple(dict.fromkeys(notes)))


def _note(folder: str, dirpath: str) -> str:
    """How to resume so that ModelCheckpoint saves to the folder under the very name that is now in the file."""
    if folder == dirpath:
        return f"resume with ModelCheckpoint(dirpath={folder!r})"
    root = folder.removesuffix(dirpath)
    return f"resume in {root} with the logger whose save_dir, name and version give {dirpath}, and no dirpath"


FIX = Fix(NAME, _plan, cures=("E610",))
