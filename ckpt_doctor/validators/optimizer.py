"""Family O: the optimizer's state against the model's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ckpt_doctor.types import Case, Run, TensorRef, python_value, wrapper_of
from ckpt_doctor.types.record import once
from ckpt_doctor.validators import shaped_optimizers
from ckpt_doctor.validators.rule import Problem, listing, rule
from ckpt_doctor.validators.slots import MOMENTS

_MOMENTS = (*MOMENTS, "momentum_buffer", "sum")
"""Optimizer state that has its parameter's shape (torch/optim/adam.py, sgd.py, rmsprop.py, adadelta.py, adagrad.py)."""

ADAM_PARTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam reads of a parameter's state without a default (torch/optim/adam.py, `_init_group`)."""

Form = frozenset[tuple[str, object]]
"""What a strict load compares: every key of a model with its shape."""


def _indices(case: Case) -> list[int | str | float] | None:
    """The parameter indices of all param groups; None when the optimizer state is not of torch's form (L302, L303)."""
    groups = case.at("optimizer", "param_groups")
    if not isinstance(groups, (list, tuple)):
        return None
    indices: list[int | str | float] = []
    for group in groups:
        params = group.get("params") if isinstance(group, dict) else None
        if not isinstance(params, (list, tuple)):
            return None
        plain = [index for index in map(python_value, params) if isinstance(index, (int, str, float))]
        if len(plain) < len(params):
            return None
        indices += plain
    return indices


@rule("O701", "optimizer-model-mismatch", "error", others=shaped_optimizers.foreign_moments, each=True)
def optimizer_model_mismatch(case: Case) -> Iterator[Problem]:
    """The optimizer is not one of this model: more parameters than the model has tensors, or moments of foreign shapes.

    `load_state_dict` refuses another number of groups or parameters. Moments of another shape are accepted and make the
    first `optimizer.step()` fail. Of a file that no known trainer wrote, a warning where one model and one optimizer
    are in it and most moments fit no tensor of the model.

    Example: the optimizer of a run with another `--d_model` put beside the weights of this one.

    Cure: take model and optimizer from one checkpoint.

    Source: torch/optim/optimizer.py, `Optimizer.load_state_dict`; torch/optim/adam.py.
    """
    model, state, indices = case.at("model"), case.at("optimizer", "state"), _indices(case)
    if case.checkpoint.layout != "training" or not isinstance(model, dict) or indices is None:
        return
    if not indices:
        yield Problem(
            "the optimizer has no parameters: load_state_dict refuses another number of groups or parameters",
            where=case.where("optimizer", "param_groups"),
            found=0,
        )
        return
    weights = [value for value in model.values() if isinstance(value, TensorRef)]
    frozen = 0 if case.trains_all or not isinstance(state, dict) else sum(not state.get(index) for index in indices)
    if len(indices) - frozen > len(weights):  # weights that are not trained may be left out
        yield Problem(
            f"the optimizer covers {len(indices)} parameters, the model has {len(weights)} tensors",
            where=case.where("optimizer", "param_groups"),
            found=len(indices),
            expected=f"at most {len(weights)}",
        )
        return
    known = set(indices)
    if len(known) < len(indices):
        yield Problem(
            "a parameter is in the optimizer's param groups twice: moments go to the wrong parameters",
            where=case.where("optimizer", "param_groups"),
            found=[str(index) for index, count in Counter(indices).items() if count > 1][:5],
        )
        return
    if not isinstance(state, dict):
        return
    available = Counter(weight.shape for weight in weights)
    for index, entry in state.items():
        moments = [entry.get(name) for name in _MOMENTS] if isinstance(entry, dict) else []
        shapes = [moment.shape for moment in moments if isinstance(moment, TensorRef)]
        if not shapes:
            continue
        shape = shapes[0]
        available[shape] -= 1
        if available[shape] < 0 or any(other != shape for other in shapes):
            yield Problem(
                f"parameter {index} of the optimizer has moments of shape {list(shape)}, which no (further) tensor of "
                "the model has: the first step after the resume fails",
                where=f"{case.where('optimizer', 'state')}.{index}",
                found=list(shape),
            )
            return
    unknown = [str(index) for index in state if index not in known]
    if unknown:
        yield Problem(
            f"the optimizer has state for {len(unknown)} parameters that none of its groups names",
            where=case.where("optimizer", "state"),
            found=unknown[:5],
        )


@rule("O702", "missing-optimizer-state", "warning", others=shaped_optimizers.missing_state, each=True)
def missing_optimizer_state(case: Case) -> Iterator[Problem]:
    """Some or all trained parameters have no moments, or not all of them.

    Adam starts anew for a parameter without state: its averages are empty and its bias correction begins at step 1, so
    the first updates are larger and losses diverge from the second step on. State that lacks one of its parts stops the
    first step with a KeyError. Moments cannot be recovered.

    A run under AMP whose steps were all skipped has none yet and is left alone, as is a parameter that has none in any
    checkpoint of the run (it never got a gradient). Of a file that no known trainer wrote, a note: its script may
    freeze those parameters.

    Example: a checkpoint made of a legacy state_dict by `migrate --upgrade`.

    Cure: take the optimizer from a sibling of the same step, if there is one.

    Source: trainer contract, fact 2 and section 9; torch/optim/adam.py, `_init_group`.
    """
    if case.checkpoint.layout != "training" or not case.has("optimizer") or not case.state.global_step:
        return
    state, indices = case.at("optimizer", "state"), _indices(case)
    scaler = case.at("scaler")
    if isinstance(scaler, dict) and scaler and not state:
        return
    if case.at("optimizer") is None:
        yield Problem(
            "no optimizer state: Adam starts anew, with a fresh one's rate until the schedule sets another, and losses "
            "diverge from the second step on",
            where=case.where("optimizer"),
        )
        return
    if not indices or not isinstance(state, dict) or not state.keys() <= set(indices):
        return  # L302, L303 and O701 speak of these
    missing = [index for index in indices if not state.get(index)]
    if not case.trains_all and len(missing) == len(indices):
        return  # O705 speaks of it
    if missing and not _same_in_siblings(case, missing):
        yield Problem(
            f"{len(missing)} of {len(indices)} trained parameters have no moments: Adam starts anew for them",
            where=case.where("optimizer", "state"),
            found=len(indices) - len(missing),
            expected=len(indices),
            severity=None if case.trains_all or _had_before(case, missing) else "info",
        )
    entries = {index: entry for index, entry in state.items() if isinstance(entry, dict) and entry}
    if not any({"exp_avg", "exp_avg_sq"} & entry.keys() for entry in entries.values()):
        return
    adam, highest = _of_adam(case), _of_adam(case, with_highest=True)
    for index, entry in entries.items():
        if index not in adam:
            continue
        needed = (*ADAM_PARTS, *(["max_exp_avg_sq"] if index in highest else []))
        lacking = next((part for part in needed if part not in entry), None)
        if lacking is not None:
            yield Problem(
                f"parameter {index} of the optimizer has no `{lacking}`: the trainer stops with KeyError: '{lacking}'",
                where=f"{case.where('optimizer', 'state')}.{index}",
                found=[str(part) for part in entry],
                expected=list(needed),
                severity="error",
            )
            return


def _of_adam(case: Case, with_highest: bool = False) -> set[object]:
    """The indices of the param groups of torch's Adam; with `with_highest` those in which it has `amsgrad` on.

    Only torch's Adam and AdamW have that key. Others keep a part of the moments, or others, under the same names."""
    groups: Any = case.at("optimizer", "param_groups")  # dicts with params: _indices() has looked
    wanted = (group for group in groups if "amsgrad" in group and (python_value(group["amsgrad"]) or not with_highest))
    return {parameter for group in wanted for parameter in group["params"]}


def _same_in_siblings(case: Case, missing: list[int | str | float]) -> bool:
    """Whether every other checkpoint of the run lacks the very same parameters' state (they never had a gradient)."""
    files, held = once(case.run, f"states of {case.where('optimizer')}", lambda: _held_in(case))
    own = case.run.owns(case.checkpoint.path) and bool(case.at("optimizer", "state"))
    return files > own and not any(held[index] for index in missing)


def _held_in(case: Case) -> tuple[int, Counter[object]]:
    """How many checkpoints of the run have a state of this optimizer, and how many of these one of each parameter.

    Counted once a run: of one with frozen parameters every file asks."""
    states = [state for _, state in _states(case)]
    return len(states), Counter(index for state in states for index, entry in state.items() if entry)


def _had_before(case: Case, missing: list[int | str | float]) -> bool:
    """Whether an earlier checkpoint of the run has the state of one of these parameters, as far as it has this one's.

    One that the run began to train later has none in it."""
    now = case.state.global_step or 0
    own = case.at("optimizer", "state")
    held = [index for index, entry in own.items() if entry] if isinstance(own, dict) else []
    before = [state for step, state in _states(case) if step < now and all(map(state.get, held))]
    return any(state.get(index) for state in before for index in missing)


def _states(case: Case) -> Iterator[tuple[int, dict[Any, Any]]]:
    """The step of each checkpoint of the run, and the state that it has of this optimizer."""
    for member in (m for m in case.run.members if m.checkpoint.layout == "training"):
        for one in member.optimizers:
            state = one.at("optimizer", "state") if one.path("optimizer") == case.path("optimizer") else None
            if isinstance(state, dict) and state:
                yield member.state.global_step or 0, state


@rule("O703", "different-models", "warning", "run")
def different_models(run: Run) -> Iterator[Problem]:
    """Checkpoints of one run have different models.

    Files of two runs share a folder. The trainer loads strictly: a model built for one refuses the other.

    Example: a `checkpoint` with 42 model keys beside step checkpoints with 38.

    Cure: move the files of the other run away.

    Source: trainer contract, section 5 (the model is loaded strictly).
    """
    forms: dict[Form, list[str]] = {}
    for member in run.members:
        model = member.at("model") if member.checkpoint.layout == "training" else None
        if isinstance(model, dict) and model and None not in model.values():  # L303 speaks of None
            prefix = wrapper_of(model) or ""  # L304 speaks of prefixes that all keys have
            form: Form = frozenset(
                (str(key).removeprefix(prefix), value.shape if isinstance(value, TensorRef) else type(value))
                for key, value in model.items()
            )
            forms.setdefault(form, []).append(member.label)
    if len(forms) < 2:
        return
    usual = max(forms, key=lambda form: len(forms[form]))
    for form, names in forms.items():
        if form != usual:
            yield Problem(
                f"{listing(names, 3)} and {listing(forms[usual], 3)} hold different models "
                f"({_difference(form, usual)}): a model built for one refuses the other",
                where=listing(names, 3),
            )


def _difference(form: Form, usual: Form) -> str:
    """Where two models first differ, by name."""
    mine, theirs = dict(form), dict(usual)
    key = min(mine.keys() ^ theirs.keys(), default=None) or min(key for key, shape in form ^ usual)
    if key not in mine or key not in theirs:
        return f"only the {'first' if key in mine else 'second'} has `{key}`"
    return f"`{key}` is {_form(mine[key])} in the first, {_form(theirs[key])} in the second"


def _form(shape: object) -> str:
    return f"of shape {list(shape)}" if isinstance(shape, tuple) else "no tensor"


RULES = (optimizer_model_mismatch, missing_optimizer_state)
RUN_RULES = (different_models,)
