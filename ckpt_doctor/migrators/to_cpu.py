"""`--to-cpu`: storages tagged with an accelerator are tagged `cpu`."""

from __future__ import annotations

from ckpt_doctor.migrators.migration import Migration, Plan, refused
from ckpt_doctor.types import Case, Edit

NAME = "to-cpu"


def _plan(case: Case) -> Plan:
    """Change the device tag of every storage to `cpu`, so that `torch.load` without `map_location` works anywhere.

    The tag is part of the description, not of the bytes; a trainer that moves its model to a GPU does so as before.
    """
    if case.checkpoint.container == "torch-tar":
        return refused(
            NAME, "in a tar file the tags stand between the bytes of the storages", "torch.load, then torch.save"
        )
    devices = sorted({tensor.device for tensor in case.checkpoint.tensors} - {"cpu", "meta", ""})
    edits = [Edit((), device, "cpu", "the device tag of the storages", "relocate") for device in devices]
    return Plan(tuple(edits))


MIGRATION = Migration(NAME, _plan, cures=("L305",))
