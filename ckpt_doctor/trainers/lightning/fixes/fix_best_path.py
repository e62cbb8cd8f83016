"""`--fix-best-path`: the folder in which the files lie into ModelCheckpoint's state."""

from __future__ import annotations

from ckpt_doctor.migrators import Migration, Plan
from ckpt_doctor.trainers.lightning.memory import folder_of, moved_savers, remapped
from ckpt_doctor.types import Case, Edit

NAME = "fix-best-path"


def _plan(case: Case) -> Plan:
    """Write the folder in which the file lies into `dirpath` and the paths of the kept files.

    ModelCheckpoint takes its memory up only where `dirpath` is the folder that it saves to. The scores stay as they
    are. The script must then save to that folder as well: `ModelCheckpoint(dirpath=...)`."""
    checkpoint, folder = case.checkpoint, folder_of(case.checkpoint)
    edits = [
        Edit((*saver.path, key), saver.state.get(key), after, f"the file is in {folder}")
        for saver in moved_savers(case)
        for key, after in remapped(checkpoint, saver)
        if saver.state.get(key) != after
    ]
    note = f"resume with ModelCheckpoint(dirpath={folder!r})"
    return Plan(tuple(edits), notes=(note,) if edits else ())


MIGRATION = Migration(NAME, _plan, cures=("E610",))
