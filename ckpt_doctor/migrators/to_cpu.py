"""`--to-cpu`: storages tagged with an accelerator are tagged `cpu`."""

from __future__ import annotations

from ckpt_doctor.migrators.fix import Fix, Plan, refused
from ckpt_doctor.types import Case, Edit

NAME = "to-cpu"


def _plan(case: Case) -> Plan:
    """Change the device tag of every storage to `cpu`, so that `torch.load` without `map_location` works anywhere.

    The tag is part of the description, not of the bytes. A trainer whose model is on a GPU resumes there as before:
    `load_state_dict` copies weights into the model's parameters and moves moments to their devices. Adam's `step` goes
    where its group wants it. With `capturable` or `fused` it is moved to the parameter's device as well. Without them
    it stays where `torch.load` put it, and the CPU is where a fresh optimizer has it. The states of random generators,
    CUDA's too, are CPU tensors. All of this holds for any file loaded with `map_location="cpu"`, as this trainer does.

    Two cases depend on where `torch.load` puts a tensor. PyTorch 1.x moves no `step`, so that a `capturable` group
    needs `map_location` there. A rate that is a tensor is moved by no version; CUDA graphs want it on the GPU.

    Source: torch/optim/optimizer.py, `_process_value_according_to_param_policy`; torch/optim/adam.py, `_init_group` and
    the check of `capturable`; torch/cuda/random.py, `set_rng_state`.
    """
    devices = sorted({tensor.device for tensor in case.checkpoint.tensors} - {"cpu", "meta", ""})
    if devices and not case.checkpoint.has_editable_tags:
        reason = f"in a {case.checkpoint.container} file the tags are among the bytes of the storages"
        return refused(NAME, reason, "load it where that device is, then torch.save")
    edits = [Edit((), device, "cpu", "the device tag of the storages", "relocate") for device in devices]
    return Plan(tuple(edits))


FIX = Fix(NAME, _plan, cures=("L305",))
