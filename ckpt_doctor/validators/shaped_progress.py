"""Families P and E for everyone's files: counts that disagree, and the best value."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from ckpt_doctor.inert.moments import form_of
from ckpt_doctor.inert.shapes import Optimizer, Part, Shapes
from ckpt_doctor.types import Case, dotted, real
from ckpt_doctor.types.record import record
from ckpt_doctor.validators import series
from ckpt_doctor.validators.rule import Problem, rule
from ckpt_doctor.validators.shaped import begun, shapes_of, sibling_with

_FLAT_STEP = r"(?P<optimizer>.*?)\bstate\..+\.step"
"""A parameter's step in a distributed checkpoint (torch/distributed/checkpoint/state_dict.py, `get_state_dict`)."""


@rule("P409", "parts-disagree", "warning", "file")
def parts_disagree(case: Case) -> Iterator[Problem]:
    """Parts of one checkpoint come from different steps.

    Optimizer, scheduler and step count go forward together. Where two of the three have the very same count and the
    third is well away from it, that part comes from another step: copied from another checkpoint, written by a save
    that was cut off, or not loaded at an earlier resume. The resumed run mixes the two.

    Only what no healthy run shows is a finding. A scheduler may be stepped once an epoch, once in several steps, or
    several times a step; so a count counts as away only when it lies between half of the others' and two less. In a
    single file only OneCycleLR is judged, because a script may start any other schedule after its own warm-up. Adam's
    step is the highest of all parameters; several optimizers are not compared, nor weights with their averages. Files
    of a distributed checkpoint, and those of several ranks, are compared by their counts of steps and by Adam's, where
    each file has one step throughout: a save over an older one that was cut off leaves files of both. An optimizer that
    has, by its stored checksums, the moments of another moment's folder was copied from there.

    Example: Adam's `step` and `global_step` 20 with OneCycleLR's `last_epoch` 11.

    Cure: none by a rule for every trainer; take all parts from one checkpoint.

    Source: torch/optim/adam.py, `_single_tensor_adam`; torch/optim/lr_scheduler.py, `LRScheduler.step`.
    """
    yield from _files_disagree(case)
    yield from series.of_other_saves(case)
    shapes = shapes_of(case)
    if case.by_shape or not case.run.trainer:
        yield from _ranks_disagree(case, shapes)
    counts = _counts(shapes)
    if not counts:
        return
    for at, odd in enumerate(counts):
        one, other = (part for index, part in enumerate(counts) if index != at)
        away = one.value == other.value and one.value / 2 < odd.value < one.value - 1
        if away and (case.checkpoint.parts or (at == 0 and _is_one_cycle(shapes, one.value))):
            yield Problem(
                f"{dotted(odd.path)} is {odd.value:,.0f} where {dotted(one.path)} and {dotted(other.path)} are "
                f"{one.value:,.0f}: they come from different steps"
                + ("" if at else ", unless your script began another schedule on the way"),
                where=dotted(odd.path),
                found=odd.value,
                expected=one.value,
            )


def _files_disagree(case: Case) -> Iterator[Problem]:
    """Files of a distributed checkpoint with another step of the same optimizer than the others."""
    held: dict[str, dict[str, set[float]]] = defaultdict(lambda: defaultdict(set))
    for part in case.checkpoint.parts:
        flat = part.root.items() if part.container == "distcp" and isinstance(part.root, dict) else ()
        for key, value in flat:
            match = re.fullmatch(_FLAT_STEP, key) if isinstance(key, str) else None
            if match and (step := real(value)) is not None:
                held[match["optimizer"]][case.checkpoint.name_of(part)].add(step)
    for files in held.values():
        if any(len(steps) > 1 for steps in files.values()):
            continue  # layers that join late have made fewer steps
        (name, step), *others = ((name, next(iter(steps))) for name, steps in files.items())
        for other, found in others:
            if found != step:
                yield Problem(
                    f"Adam's steps are {step:,.0f} in {name} and {found:,.0f} in {other}: the files come from "
                    "different saves",
                    where=other,
                    found=found,
                    expected=step,
                )
                break


def _ranks_disagree(case: Case, shapes: Shapes) -> Iterator[Problem]:
    """Files of several ranks, which have one name but for the numbers in it, with other counts of steps."""
    if not case.checkpoint.parts:
        return
    counts = [_Count(str(part.path[0]), dotted(part.path[1:]), part.value) for part in shapes.steps]
    steps = [_Count(str(one.path[0]), _ADAM, one.step or 0) for one in shapes.optimizers if _is_of_one_step(one)]
    held: dict[tuple[str, str], list[_Count]] = defaultdict(list)
    for count in (*counts, *steps):
        held[form_of(count.file), count.what].append(count)
    told = set[str]()
    for first, *others in held.values():
        other = next((one for one in others if one.value != first.value), None)
        if other is not None and other.file not in told:
            told.add(other.file)
            yield _of_several_saves(first, other)
    engine = next((count for count in counts if count.what == "global_steps"), None)  # DeepSpeed's, with skipped ones
    ahead = next((one for one in steps if engine and one.value > engine.value), None)
    if engine and ahead and not told:
        yield _of_several_saves(engine, ahead)


_ADAM = "Adam's step"


@record(frozen=True)
class _Count:
    file: str
    what: str
    value: float


def _is_of_one_step(optimizer: Optimizer) -> bool:
    steps = {real(entry.get("step")) for entry in optimizer.entries}
    return len(steps) == 1 and None not in steps


def _of_several_saves(one: _Count, other: _Count) -> Problem:
    what = other.what if other.what != one.what else ""
    return Problem(
        f"{one.what} is {one.value:,.0f} in {one.file}, and {what}{' is ' if what else ''}{other.value:,.0f} in "
        f"{other.file}: the files come from different saves",
        where=other.file,
        found=other.value,
        expected=one.value,
    )


def _counts(shapes: Shapes) -> list[Part]:
    """Scheduler, optimizer and step count, where the checkpoint has one of each and all can be read; else nothing."""
    if len(shapes.optimizers) != 1 or len(shapes.schedulers) != 1 or not shapes.schedulers[0].counts:
        return []
    (optimizer,), (scheduler,) = shapes.optimizers, shapes.schedulers
    last, step = scheduler.last_epoch, optimizer.step
    counts = {part.value: part for part in shapes.steps}
    if last is None or step is None or len(counts) != 1:
        return []
    (count,) = counts.values()
    return [Part((*scheduler.path, "last_epoch"), last), Part((*optimizer.path, "state[*].step"), step), count]


def _is_one_cycle(shapes: Shapes, steps: float) -> bool:
    """Whether the schedule is a OneCycleLR that was long enough for all steps so far: it was not begun on the way."""
    scheduler = shapes.schedulers[0]
    total = real(scheduler.state.get("total_steps"))
    return scheduler.kind == "OneCycleLR" and total is not None and total >= steps


@rule("E611", "no-best-metric", "info", "file")
def no_best_metric(case: Case) -> Iterator[Problem]:
    """A best metric is kept in this training, and this checkpoint does not remember it.

    After a resume from it the first validation counts as the best so far, however bad it is, and its checkpoint
    overwrites the best model. That a best is kept is known from a sibling of the run that has one, or from the key of
    the checkpoint itself, which is None; in a checkpoint of several files None may mean that no metric is watched.
    Siblings are compared only where a known trainer owns the run.

    Example: `best_acc1` None at epoch 12.

    Cure: none in the file; give the script the best value of the log, or keep the best model elsewhere.

    Source: pytorch/examples imagenet/main.py, `best_acc1`; timm/utils/checkpoint_saver.py.
    """
    shapes = shapes_of(case)
    if _has_best(shapes) or not any(part.value >= 1 for part in shapes.epochs):
        return
    empty = next(iter(shapes.best), None) if not case.checkpoint.parts else None
    sibling = sibling_with(case, _has_best)
    if empty is not None:
        why = f"{dotted(empty.path)} is None after {begun(shapes)}"
    elif sibling is not None:
        why = f"no best value, and {sibling.name} has one"
    else:
        return
    yield Problem(
        f"{why}: the first validation after a resume counts as the best so far",
        where=dotted(empty.path) if empty else "",
    )


def _has_best(shapes: Shapes) -> bool:
    return any(part.value is not None for part in shapes.best)


RULES = (parts_disagree, no_best_metric)
