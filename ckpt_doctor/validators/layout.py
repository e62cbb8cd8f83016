"""Family L: what the checkpoint is made of."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.types import Case, KeyPath, model_path, wrapper_of
from ckpt_doctor.validators.contents import is_ours
from ckpt_doctor.validators.files import UNTRUSTED
from ckpt_doctor.validators.rule import Problem, rule
from ckpt_doctor.validators.shaped import shapes_of


@rule("L304", "wrapped-keys", "error", "file", migration="strip-prefix")
def wrapped_keys(case: Case) -> Iterator[Problem]:
    """Every model key carries the prefix of a wrapping module.

    `model.state_dict()` was taken from a model wrapped by DistributedDataParallel (`module.`) or `torch.compile`
    (`_orig_mod.`); loading into the bare model is strict and fails on every key.

    Example: `module.mapping_layer.weight` where the trainer has `mapping_layer.weight`.

    Cure: `ckpt-doctor migrate --strip-prefix`.

    Source: trainer contract, section 5 (the model is loaded strictly); torch/nn/parallel/distributed.py,
    torch/_dynamo/eval_frame.py (`OptimizedModule._orig_mod`).
    """
    ours = is_ours(case)
    if case.checkpoint.container == "safetensors" or case.checkpoint.parts:
        return  # of a unit each file is judged by itself
    for path, model in _models(case, ours):
        prefix = wrapper_of(model)
        if prefix:
            yield Problem(
                f"every model key starts with `{prefix}`: a bare model refuses all of them (load_state_dict is strict)"
                + ("" if case.loads_bare else "; that is right if your script loads them into a wrapped model"),
                where=".".join(map(str, path)) or "model",
                found=prefix,
                severity="error" if case.loads_bare else "info",
            )


def _models(case: Case, ours: bool) -> Iterator[tuple[KeyPath, object]]:
    if ours:
        path = model_path(case.checkpoint)
        yield path, case.checkpoint.get(*path)
    else:
        yield from ((model.path, model.value) for model in shapes_of(case).models)


@rule("L305", "device-bound", "info", "file", migration="to-cpu")
def device_bound(case: Case) -> Iterator[Problem]:
    """Storages are tagged with an accelerator.

    `torch.load` without `map_location` puts them back on that very device and fails where it does not exist. Trainers
    that load with `map_location='cpu'` are not affected.

    Example: saved on `cuda:1`, loaded on a machine with one GPU.

    Cure: pass `map_location`, or `ckpt-doctor migrate --to-cpu`.

    Source: torch/serialization.py, `default_restore_location`.
    """
    devices = sorted({tensor.device for tensor in case.checkpoint.tensors} - {"cpu", "meta", ""})
    # A file that is cut off has worse troubles, and no migration touches it.
    if devices and case.checkpoint.container != "safetensors" and not case.checkpoint.is_damaged(*UNTRUSTED):
        shown = ", ".join(devices[:4]) + (" …" if len(devices) > 4 else "")
        how = "torch.load without map_location needs that device"
        if case.maps_to_cpu:
            how += " (this trainer maps to cpu)"
        if case.checkpoint.container == "pickle":
            how = "loading needs that device, and pickle.load takes no map_location"
        fix = None if case.checkpoint.has_editable_tags else ""
        yield Problem(f"tensors are tagged {shown}: {how}", found=devices, fix=fix)


RULES = (wrapped_keys, device_bound)
