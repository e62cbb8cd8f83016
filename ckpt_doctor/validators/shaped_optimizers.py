"""Family O for everyone's files: optimizers and scalers that are recognised by their shape."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator

from ckpt_doctor.inert.moments import moment_of
from ckpt_doctor.inert.shapes import Optimizer, Part, Shapes, find, settings
from ckpt_doctor.types import Case, Global, Member, TensorRef, dotted, real
from ckpt_doctor.types.record import once
from ckpt_doctor.validators.contents import which
from ckpt_doctor.validators.rule import Problem, rule
from ckpt_doctor.validators.shaped import begun, own_shapes, shapes_of, sibling_with
from ckpt_doctor.validators.slots import MOMENTS

_MOMENTS = frozenset({*MOMENTS, "momentum_buffer"})
"""State that has its parameter's shape in torch's own optimizers (torch/optim/adam.py and its neighbours)."""
_NUMBERS = frozenset({"step", "mu_product", "eta", "mu"})
_BYTES = ("uint8", "int8", "float8_e4m3fn", "float8_e5m2")
_MOST_PARTNERS = 8
_OWN = _MOMENTS | _NUMBERS
"""All of their state. An optimizer that keeps anything else may fold, quantize or project its moments."""


def foreign_moments(case: Case) -> Iterator[Problem]:
    """O701: most moments of the only optimizer have shapes that no tensor of the only model has.

    A few such may be of a head or a loss with parameters of its own, which the script saves elsewhere or not at all.
    """
    shapes = own_shapes(case)
    models = {_form(model): model for model in shapes.trained}
    if len(models) != 1 or len(shapes.optimizers) != 1:
        return
    (model,), (optimizer,) = models.values(), shapes.optimizers
    moments = _shapes_of_moments(optimizer)
    available = Counter(value.shape for value in model.value.values() if isinstance(value, TensorRef))
    if all(len(shape) < 2 for shape in moments.values()) and any(len(shape) > 1 for shape in available):
        return  # flattened, as FSDP and fused optimizers do
    foreign = []
    for index, shape in moments.items():
        available[shape] -= 1
        if available[shape] < 0:
            foreign.append(index)
    if 2 * len(foreign) > len(moments):
        first = foreign[0]
        yield Problem(
            f"{len(foreign)} of {len(moments)} parameters of the optimizer{which(case, 'optimizer')} have moments of "
            f"shapes that no (further) tensor of {dotted(model.path) or 'the model'} has, the first of them "
            f"{list(moments[first])}: an optimizer of another model, whose first step fails",
            where=dotted((*optimizer.path, "state", first)),
            found=list(moments[first]),
            severity="warning",
        )


def _form(model: Part) -> frozenset[tuple[object, object]]:
    return frozenset((key, getattr(value, "shape", None)) for key, value in model.value.items())


def _shapes_of_moments(optimizer: Optimizer) -> dict[str | int, tuple[int, ...]]:
    """Parameter -> the shape of its moments; empty for an optimizer that does not keep them as torch's own do."""
    found: dict[str | int, tuple[int, ...]] = {}
    for index, entry in optimizer.state.items():
        if not isinstance(entry, dict) or len(entry) > len(_OWN) or not entry.keys() <= _OWN:
            return {}
        moments = [entry[name] for name in entry.keys() & _MOMENTS if isinstance(entry[name], TensorRef)]
        if len({moment.shape for moment in moments}) > 1 or any("float" not in moment.dtype for moment in moments):
            return {}
        if moments:
            found[index] = moments[0].shape
    return found


def missing_state(case: Case) -> Iterator[Problem]:
    """O702: parameters without moments beside others that have them. Frozen and unused ones never get any."""
    for optimizer in own_shapes(case).optimizers:
        known = optimizer.stateful()
        missing = [index for index in known if not optimizer.state.get(index)]
        if 0 < len(missing) < len(known):
            yield Problem(
                f"{len(missing)} of {len(known)} parameters{which(case, 'optimizer', 'of')}"
                " have no optimizer state: right for frozen and unused ones; for any other the optimizer starts anew",
                where=dotted((*optimizer.path, "state")),
                found=len(known) - len(missing),
                expected=len(known),
                severity="info",
            )


@rule("O705", "optimizer-reset", "warning", "file")
def optimizer_reset(case: Case) -> Iterator[Problem]:
    """An optimizer that needs a state has none at all, and training has begun.

    Adam and its kin keep averages of every parameter, SGD with momentum a buffer. Without them the optimizer starts
    anew: its first updates are larger, and losses leave the uninterrupted run's path from the second step on. An
    optimizer is saved like that when it was made anew before the save, or is another object than the one that trains.
    A note where another optimizer of the file, or one in another model's file of its number, has state, and no file of
    the run that is no later has this one's: it may not have been stepped yet. Nothing is said while
    a scaler may have skipped every step so far. A wrapper around an optimizer (SAM) saves a state of its own, in which
    the averages of the optimizer inside are missing.

    Example: `optimizer_state_dict` of Adam with 4 parameters and an empty `state` after epoch 3.

    Cure: none in the file: moments cannot be computed. Resume from a checkpoint that has them, or accept the restart.

    Source: torch/optim/adam.py and torch/optim/sgd.py, `_init_group`; torch/amp/grad_scaler.py, `step`.
    """
    shapes = shapes_of(case)
    evidence = begun(shapes)
    for optimizer in shapes.optimizers:
        if lost := _lost_averages(optimizer):
            yield Problem(
                f"the optimizer's state has no {lost} of any parameter, as where a wrapper (SAM) saves its own state "
                "and not that of the optimizer inside: the averages start anew at each resume",
                where=dotted((*optimizer.path, "state")) or "state",
                expected=lost,
                fix="save and load the inner optimizer's state_dict as well",
            )
    if not evidence or _all_skipped(shapes):
        return
    beside = any(optimizer.state for optimizer in shapes.optimizers) or _has_stepped_partner(case)
    for optimizer in shapes.optimizers:
        needing = optimizer.stateful()
        if needing and not optimizer.state:
            name = f" {dotted(optimizer.path)}" if len(shapes.optimizers) > 1 else ""
            yield Problem(
                f"the optimizer{name} has {len(needing):,} parameters and no state at {evidence}: it starts anew, and "
                "losses leave the uninterrupted run's path from the second step on",
                where=dotted((*optimizer.path, "state")) or "state",
                found=0,
                expected=len(needing),
                severity="info" if beside and not _was_stepped(case, optimizer) else None,
            )


def _was_stepped(case: Case, optimizer: Optimizer) -> bool:
    """Whether a file of the run that is no later has state of the same optimizer. Looked for once a run.

    No later by its label and by the steps of all its optimizers: one of the two may be of another moment."""

    def stepped() -> dict[object, list[tuple[int, float]]]:
        having: dict[object, list[tuple[int, float]]] = {}
        for member in case.run.members:
            at = _moment(member)
            for one in find(member.checkpoint).optimizers if at is not None else ():
                if one.state and at is not None:
                    having.setdefault((one.path, _model_of(member)), []).append(at)
        return {path: _earliest(moments) for path, moments in having.items()}

    now = _moment(case.member)
    begun_at = once(case.run, "stepped", stepped).get((optimizer.path, _model_of(case.member)), ())
    before = bisect_right(begun_at, now[0], key=lambda one: one[0]) if now is not None else 0
    return now is not None and before > 0 and bool(begun_at[before - 1][1] <= now[1])


def _model_of(member: Member) -> frozenset[object]:
    """What tells the files of one model from those of another."""
    return frozenset(map(_form, find(member.checkpoint).trained))


def _has_stepped_partner(case: Case) -> bool:
    """Whether a file of another model with the same number has an optimizer's state: `G_400.pth` beside `D_400.pth`."""

    def stepped() -> dict[tuple[int, ...], list[Member]]:
        found: dict[tuple[int, ...], list[Member]] = {}
        for member in case.run.members:
            if any(one.state for one in find(member.checkpoint).optimizers):
                found.setdefault(moment_of(member.checkpoint.path.name), []).append(member)
        return found

    numbers = moment_of(case.checkpoint.path.name)
    partners = once(case.run, "with moments", stepped).get(numbers, [])[:_MOST_PARTNERS] if numbers else []
    return any(_model_of(one) != _model_of(case.member) for one in partners)


def _earliest(moments: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    """For each label the fewest steps that a file of it, or of a lower one, has."""
    found: dict[int, float] = {}
    fewest = float("inf")
    for label, steps in sorted(moments):
        found[label] = fewest = min(fewest, steps)
    return sorted(found.items())


def _moment(member: Member) -> tuple[int, float] | None:
    """The label, and the most steps of an optimizer, no bound where none counts them; None without a label."""
    label = member.state.global_step if member.state.epoch is None else member.state.epoch
    steps = (one.step for one in find(member.checkpoint).optimizers)
    return None if label is None else (label, max((step for step in steps if step is not None), default=float("inf")))


def _lost_averages(optimizer: Optimizer) -> str:
    """What torch's Adam or SGD keeps of every parameter and no parameter has, although there is state; else empty.

    State of 8 bits is that of an optimizer that keeps the averages under names of its own."""
    keys = set[object]().union(*(entry for entry in optimizer.entries))
    if any(isinstance(v, TensorRef) and v.dtype in _BYTES for entry in optimizer.entries for v in entry.values()):
        return ""
    for group in optimizer.groups:
        if {"betas", "amsgrad"} <= group.keys():
            wanted = "exp_avg"
        elif {"dampening", "nesterov"} <= group.keys() and (real(group.get("momentum")) or 0) > 0:
            wanted = "momentum_buffer"
        else:
            return ""
        if not keys or wanted in keys:
            return ""
    return wanted if optimizer.groups else ""


def _all_skipped(shapes: Shapes) -> bool:
    """Whether a scaler has not counted a step without overflow since its scale last changed."""
    return any(not real(scaler.value.get("_growth_tracker")) for scaler in shapes.scalers)


_HALF = ("fp16", "float16", "torch.float16", "16-mixed", "16-true", "half")
_DTYPE_NAMES = ("dtype", "amp_dtype", "precision", "mixed_precision")


@rule("O706", "scaler-missing", "info", "file")
def scaler_missing(case: Case) -> Iterator[Problem]:
    """Training used float16, and no state of a gradient scaler is saved.

    A fresh GradScaler begins at 65,536 again. It skips the first steps until the scale fits, and each skipped step
    is one that the uninterrupted run made. That float16 was used is known from the saved command or from a sibling that
    has a scaler; without either nothing is said, as of bfloat16, which needs no scaler.

    Example: nanoGPT's `ckpt.pt` with `config["dtype"]` "float16".

    Cure: none in the file; save `scaler.state_dict()` beside the optimizer's.

    Source: torch/amp/grad_scaler.py, `GradScaler.__init__` and `update`.
    """
    shapes = shapes_of(case)
    if not shapes.optimizers or shapes.scalers or any(_may_scale(name) for name in shapes.names):
        return
    why = _half_by_settings(case) or _half_by_siblings(case)
    if why:
        yield Problem(
            f"no scaler state, and {why}: a fresh scaler skips steps until its scale fits",
            where="scaler",
        )


def _may_scale(name: str) -> bool:
    """Whether a key may be of another kind of scaler (apex's `amp`, DeepSpeed's `loss_scaler`, `loss_scale`)."""
    name = name.lower()
    return "scale" in name or name in ("amp", "mixedprecision", "amp_state")


def _half_by_settings(case: Case) -> str:
    for name, value in settings(case.checkpoint):
        named = isinstance(value, (str, Global)) and str(value) in _HALF
        if (name in _DTYPE_NAMES and named) or (name == "fp16" and value is True):
            return f"the saved command has {name}={value}"
    return ""


def _half_by_siblings(case: Case) -> str:
    sibling = sibling_with(case, _has_scaler)
    return f"{sibling.name} has one" if sibling is not None else ""


def _has_scaler(shapes: Shapes) -> bool:
    return bool(shapes.scalers)


RULES = (optimizer_reset, scaler_missing)
