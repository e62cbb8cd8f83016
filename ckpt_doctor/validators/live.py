"""Live rules: what `load_state_dict` of the script's own model, optimizer and scheduler will say to the file.

`resume.check_resume` describes the objects it was handed; the rules see shapes and names, never torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ckpt_doctor.types import Checkpoint, InertDict, TensorRef
from ckpt_doctor.types.record import record
from ckpt_doctor.validators.rule import Problem, rule

Shape = tuple[int, ...]

OWN_KEYS = {"OneCycleLR": "total_steps", "CosineAnnealingLR": "T_max"}
"""A key that only this scheduler's state has."""
MOMENTS = ("exp_avg", "momentum_buffer")


@record(frozen=True)
class LiveCase:
    """A checkpoint, and the objects that it is about to be loaded into; None for one that was not handed over."""

    checkpoint: Checkpoint
    model: Mapping[str, Shape | None] | None = None
    """state_dict key -> shape; None for a value that is no tensor."""
    optimizer: Sequence[Sequence[Shape]] | None = None
    """The shapes of the parameters, per param group."""
    scheduler: str | None = None
    """The class's name."""


def _saved_model(case: LiveCase) -> Mapping[object, object] | None:
    layout = case.checkpoint.layout
    saved = case.checkpoint.get("model") if layout == "training" else case.checkpoint.root
    return saved if layout != "other" and isinstance(saved, Mapping) else None


@rule("L307", "model-keys-mismatch", "error", "live")
def model_keys_mismatch(case: LiveCase) -> Iterator[Problem]:
    """The model of the script has other keys than the file.

    The trainer loads strictly: one missing or unexpected key, and `load_state_dict` raises after the whole file has
    been read.

    Example: resumed with `--llm_layers 16` where the checkpoint was trained with 32.

    Cure: start the script with the options that the run was trained with.

    Source: torch/nn/modules/module.py, `Module.load_state_dict(strict=True)`.
    """
    saved = _saved_model(case)
    if case.model is None or saved is None:
        return
    missing = [key for key in case.model if key not in saved and not _is_made_up_for(key, saved)]
    unexpected = [str(key) for key in saved if key not in case.model]
    if missing or unexpected:
        parts = [f"{len(missing)} keys of the model are missing ({_some(missing)})"] if missing else []
        parts += [f"{len(unexpected)} keys are unexpected ({_some(unexpected)})"] if unexpected else []
        yield Problem(
            f"load_state_dict will refuse the model: {', '.join(parts)}",
            where="model",
            found=unexpected[:20],
            expected=missing[:20],
        )


def _is_made_up_for(key: str, saved: Mapping[object, object]) -> bool:
    """Whether torch supplies the missing key: BatchNorm's step counter, for states of before version 2 of the module.

    A plain dict of tensors has lost its versions and counts as old (torch/nn/modules/batchnorm.py, `_NormBase`).
    """
    module, _, name = key.rpartition(".")
    if name != "num_batches_tracked":
        return False
    states = saved.source.states if isinstance(saved, InertDict) else []
    versions: object = next(
        (state["_metadata"] for state in states if isinstance(state, dict) and "_metadata" in state), {}
    )
    about = versions.get(module) if isinstance(versions, Mapping) else None
    version = about.get("version") if isinstance(about, Mapping) else None
    return not isinstance(version, int) or version < 2


@rule("L308", "model-shape-mismatch", "error", "live")
def model_shape_mismatch(case: LiveCase) -> Iterator[Problem]:
    """A tensor of the file has another shape than the script's model.

    `load_state_dict` raises, strict or not.

    Example: resumed with another `--d_model` or `--pred_len`.

    Cure: start the script with the options that the run was trained with.

    Source: torch/nn/modules/module.py, `Module._load_from_state_dict` (which lets one-element tensors into scalars).
    """
    saved, live = _saved_model(case), case.model
    if live is None or saved is None:
        return
    wrong = [
        (str(key), value.shape, live[key])
        for key, value in saved.items()
        if isinstance(key, str) and isinstance(value, TensorRef) and not _fits(value.shape, live.get(key))
    ]
    if wrong:
        key, found, expected = wrong[0]
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield Problem(
            f"load_state_dict will refuse the model: {key} is {list(found)} in the file, {list(expected or ())} in the "
            f"model{more}",
            where=f"model.{key}",
            found=list(found),
            expected=list(expected or ()),
        )


def _fits(saved: Shape, live: Shape | None) -> bool:
    return live is None or saved == live or (len(saved) == 1 and live == ())


@rule("O704", "optimizer-groups-mismatch", "error", "live")
def optimizer_groups_mismatch(case: LiveCase) -> Iterator[Problem]:
    """The optimizer of the script has other param groups than the file.

    Another number of groups or of parameters in one makes `load_state_dict` raise. Moments of another shape are taken
    without a word, and the first `optimizer.step()` fails on them.

    Example: a layer was frozen or freed between the run and its resume.

    Cure: start the script with the options and the code that the run was trained with.

    Source: torch/optim/optimizer.py, `Optimizer.load_state_dict`.
    """
    saved = case.checkpoint.get("optimizer", "param_groups")
    if case.optimizer is None or not isinstance(saved, (list, tuple)):
        return
    indices = [list(group["params"]) if isinstance(group, dict) and "params" in group else [] for group in saved]
    sizes, expected = [len(group) for group in indices], [len(group) for group in case.optimizer]
    if sizes != expected:
        yield Problem(
            f"load_state_dict will refuse the optimizer: parameters per group are {sizes}, the script has {expected}",
            where="optimizer.param_groups",
            found=sizes,
            expected=expected,
        )
        return
    flat = [index for group in indices for index in group]
    for index, shape in zip(flat, (shape for group in case.optimizer for shape in group), strict=True):
        moments = [case.checkpoint.get("optimizer", "state", index, name) for name in MOMENTS]
        found = next((moment.shape for moment in moments if isinstance(moment, TensorRef)), shape)
        if found != shape:
            yield Problem(
                f"parameter {index} of the optimizer has moments of shape {list(found)}, the script's is {list(shape)}",
                where=f"optimizer.state.{index}",
                found=list(found),
                expected=list(shape),
            )
            return


@rule("R507", "scheduler-class-mismatch", "error", "live")
def scheduler_class_mismatch(case: LiveCase) -> Iterator[Problem]:
    """The scheduler of the script is of another class than the one whose state the file holds.

    A scheduler takes any dict for its state without a word: its first step then fails, or computes from the leftovers
    of another schedule.

    Example: a run trained with OneCycleLR, resumed by a command that builds CosineAnnealingLR.

    Cure: resume with the options that the run was trained with.

    Source: torch/optim/lr_scheduler.py, `LRScheduler.load_state_dict`.
    """
    state, own = case.checkpoint.get("scheduler"), case.scheduler
    if own in OWN_KEYS and isinstance(state, Mapping) and state and OWN_KEYS[own] not in state:
        yield Problem(
            f"the script's scheduler is {own}, the file holds another one's state (no {OWN_KEYS[own]})",
            where="scheduler",
            found=sorted(map(str, state))[:20],
            expected=own,
        )


def _some(keys: Sequence[object]) -> str:
    return ", ".join(map(str, keys[:3])) + (" ..." if len(keys) > 3 else "")


RULES = (model_keys_mismatch, model_shape_mismatch, optimizer_groups_mismatch, scheduler_class_mismatch)
