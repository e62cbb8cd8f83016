"""L303 and O707: whether the trainer can compute with what it finds, slot by slot, as `slots.SLOTS` has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckpt_doctor.types import Case, KeyPath, NotChecked, NumpyScalar, TensorRef, dotted, mapping_of, python_value
from ckpt_doctor.types.record import kept
from ckpt_doctor.validators.contents import (
    and_more,
    describe,
    is_ours,
    is_resumed,
    momenta_to_come,
    rates_to_come,
    unusable,
    whole_number,
)
from ckpt_doctor.validators.files import UNTRUSTED
from ckpt_doctor.validators.rule import Problem, rule
from ckpt_doctor.validators.shaped import shapes_of
from ckpt_doctor.validators.shaped_values import invalid_values
from ckpt_doctor.validators.slot_kinds import LARGEST_COUNT, Fault
from ckpt_doctor.validators.slots import (
    COUNTERS,
    MOMENTS,
    RATE,
    SHARE,
    SLOTS,
    Condition,
    Held,
    Known,
    Slot,
    looked_up,
    places,
)

LIKE_ONE = "it counts like one, but the trainer never writes it"


@rule("L303", "wrong-type", "error", "file", each=True)
def wrong_type(case: Case) -> Iterator[Problem]:
    """A value is of a type that the trainer cannot compute with.

    `range(start_epoch, ...)` and the names of step folders need integers, `load_state_dict` needs dicts and lists,
    `optimizer.step()` needs numbers, the random generators need their own states. A flag or a tensor of one element
    counts like an integer, but the trainer never writes one: a warning.

    Example: `epoch` is the string "3", or `global_step` is 120.0.

    Cure: `ckpt-doctor migrate --fix-epoch` for `epoch` and `global_step` where the value stands for a whole number or
    the run proves it, `--add-best-score` for `counter`; for the rest another checkpoint of the run.

    Source: trainer contract, sections 5, 6 and 9 (`epoch`, `global_step` and `counter` are int);
    torch/optim/optimizer.py, `Optimizer.load_state_dict`; torch/optim/lr_scheduler.py, `LRScheduler.step`.
    """
    root = case.checkpoint.root
    yield from _exchanged(case)
    if not is_resumed(case):
        return
    if not isinstance(root, dict):
        yield Problem(
            f"the file holds {describe(root)}, not a dict: the trainer finds no model in it",
            found=describe(root),
            expected="a dict",
        )
        return
    yield from _problems(case, "type")
    model = case.at("model")
    refused = "load_state_dict refuses it"
    if not isinstance(model, dict) or case.checkpoint.layout == "other":
        is_unread = model is None and bool(case.checkpoint.parts)  # what is wrong with that file is said of it
        if case.has("model") and not is_unread:
            yield unusable(case.path("model"), model, "a state_dict", "load_state_dict cannot take it")
        return
    plain = (type(None), str, bytes, int, float, NumpyScalar, list, tuple) if is_ours(case) else (type(None),)
    for name, value in model.items():
        if isinstance(value, plain) and not str(name).endswith("_extra_state"):
            yield unusable(case.path("model", str(name)), value, "a tensor", refused)


def _exchanged(case: Case) -> Iterator[Problem]:
    """The optimizer's state under the scheduler's name and the other way round: a call that confused the two."""
    shapes = shapes_of(case)
    optimizers = [one.path for one in shapes.optimizers if _is_named(one.path, "sched", "optim")]
    schedulers = [one.path for one in shapes.schedulers if _is_named(one.path, "optim", "sched")]
    if optimizers and schedulers and not case.checkpoint.parts and not case.several:
        yield Problem(
            f"{dotted(schedulers[0])} holds a scheduler's state, and {dotted(optimizers[0])} an optimizer's: the two "
            "were exchanged when the file was saved, and load_state_dict stops with KeyError: 'param_groups'",
            where=dotted(schedulers[0]),
            expected="an optimizer's state_dict",
            fix="exchange the two keys, where the script saves and in the file",
            severity="warning",
        )


def _is_named(path: KeyPath, word: str, other: str) -> bool:
    name = dotted(path).lower()
    return word in name and other not in name


@rule("O707", "invalid-value", "error", "file", each=True)
def invalid_value(case: Case) -> Iterator[Problem | NotChecked]:
    """A value in optimizer, schedule, counters or random state with which the trainer raises, trains to NaN or jumps.

    `load_state_dict` asks for none of the ranges that the constructors of optimizers and schedulers demand. It takes a
    negative `eps`, a `betas` of 1, a NaN: the first step then raises, makes every weight NaN, or goes where the
    uninterrupted run never went. A 0-d tensor counts as the number in it; a beta of 0 is legal. Of a file that no known
    trainer wrote, the ranges of numbers are judged in every optimizer, scheduler and scaler that has torch's form.

    Example: `weight_decay` NaN; `total_steps` -5, which leaves the rate where it is for good; `last_epoch` 140.5.

    Cure: another checkpoint of the run; `ckpt-doctor migrate --fix-epoch` for `epoch` and `global_step`,
    `--add-best-score` for `counter`, where the run proves the true one.

    Source: the constructors and `step` of torch/optim/adam.py and its neighbours; torch/optim/lr_scheduler.py,
    `OneCycleLR.get_lr`, `CosineAnnealingLR.get_lr`; torch/amp/grad_scaler.py, `load_state_dict`;
    torch/random.py, `set_rng_state`.
    """
    if not is_resumed(case):
        yield from invalid_values(case)
        return
    if not isinstance(case.checkpoint.root, dict):
        return
    yield from _problems(case, "value")
    for slot, path, value, count in _faults(case, "unread"):
        what = f"{dotted(path)}{and_more(count)}"
        if isinstance(value, TensorRef):
            yield NotChecked(what, "the bytes of the tensor were not read", "another copy of the file")
        else:
            why = f"it is {describe(value)}, which ckpt-doctor does not load: it may or may not be {slot.must.says}"
            yield NotChecked(what, why, "load the file with torch and look at it")
    yield from _base_rates(case)
    parts = ("optimizer", "scheduler")
    faulty = [slot for kind in ("type", "value") for slot, *_ in _faults(case, kind) if slot.parts[0] in parts]
    if case.next_step_fails and case.schedule.moves is not False and all(slot.severity == "info" for slot in faulty):
        yield Problem(f"the scheduler's next step fails: {case.next_step_fails}", where="scheduler")


def _base_rates(case: Case) -> Iterator[Problem]:
    """Base rates of another number of param groups, where the next step pairs the two (`LambdaLR.get_lr`)."""
    base, groups = case.at("scheduler", "base_lrs"), case.at("optimizer", "param_groups")
    if not (isinstance(base, list) and isinstance(groups, list)) or "LambdaLR" not in _conditions(case):
        return
    if len(base) != len(groups):
        yield Problem(
            f"`{case.where('scheduler', 'base_lrs')}` has {len(base):,} rates for {len(groups):,} param groups: "
            "scheduler.step() raises",
            where=case.where("scheduler", "base_lrs"),
            found=len(base),
            expected=len(groups),
            fix="",
        )


def _problems(case: Case, kind: Fault) -> Iterator[Problem]:
    for slot, path, value, count in _faults(case, kind):
        if slot.name in COUNTERS:
            yield _no_count(case, slot, value)
        else:
            yield unusable(path, value, slot.must.says, slot.otherwise, count, slot.severity)


def _faults(case: Case, kind: Fault) -> Iterator[tuple[Slot, KeyPath, object, int]]:
    """Slots with a fault of one kind: the first place of each, what is there, and in how many places the same is so."""
    for slot, faults in _all_faults(case):
        wrong = [(path, value) for path, value, found in faults if found == kind]
        if wrong:
            yield slot, *wrong[0], len(wrong)


@kept
def _all_faults(case: Case) -> list[tuple[Slot, list[tuple[KeyPath, object, Fault]]]]:
    """Slots, and where each has which fault."""
    return list(_slots_with_faults(case))


def _slots_with_faults(case: Case) -> Iterator[tuple[Slot, list[tuple[KeyPath, object, Fault]]]]:
    held, state = _conditions(case), case.path("optimizer", "state")
    known: Known = {}
    indices = (index for _, index in _places(case, ("optimizer", "param_groups", "*", "params", "*"), known))
    tied = {index for index in map(python_value, indices) if isinstance(index, (int, str, float))}
    for slot in (*SLOTS, *_cycled(case)):
        if slot.when and slot.when not in held:
            continue
        wrong = [
            (path, value, fault)
            for path, value in _places(case, slot.parts, known)
            # What belongs to no parameter is copied as it is (torch/optim/optimizer.py, `load_state_dict`)
            if (fault := slot.must.fault(value)) is not None
            and (slot.parts[:2] != ("optimizer", "state") or len(path) <= len(state) or path[len(state)] in tied)
        ]
        if wrong:
            yield slot, wrong


def problems_of(slots: Iterable[Slot], root: object, path: KeyPath = ()) -> Iterator[Problem]:
    """What is wrong with the slots that a trainer alone has, whose names begin at a path of the checkpoint."""
    for slot in slots:
        held = places(root, slot.parts, path)
        if found := [(where, value) for where, value in held if slot.must.fault(value) in ("type", "value")]:
            yield unusable(*found[0], slot.must.says, slot.otherwise, len(found), slot.severity)


def _places(case: Case, parts: tuple[str, ...], known: Known) -> Held:
    """Where a slot of the table is in the file, wherever the trainer keeps it; what leads there is looked up once."""
    first = parts[0]
    if parts[:1] not in known:
        is_read = case.has(first) and not _is_unread(case, first)
        known[parts[:1]] = [(case.path(first), case.at(first))] if is_read else []
    return looked_up(parts, known)


def _is_unread(case: Case, slot: str) -> bool:
    """Whether a slot's file, one of several, was not read to its end, of which family F speaks."""
    name, unit = case.path(slot)[0], case.checkpoint
    cut = (part for part in unit.parts if (part.damage and part.root is None) or part.is_damaged(*UNTRUSTED))
    return any(unit.name_of(part) == name for part in cut)


def _conditions(case: Case) -> set[Condition]:
    held: set[Condition] = {"ours" if is_ours(case) else "foreign"}
    held.add("part" if case.checkpoint.parts or len(case.path("optimizer")) > 1 else "key")
    state = case.at("optimizer", "state")
    names = (
        {name for entry in state.values() if isinstance(entry, dict) for name in entry}
        if isinstance(state, dict)
        else set()
    )
    if (is_ours(case) and not names) or {"exp_avg", "exp_avg_sq"} <= names <= {"step", *MOMENTS[:3]}:
        held.add("adam")
    else:
        held.add("other")
    if case.schedule.moves is not False:
        held.add("moving")
        if case.state.scheduler in ("OneCycleLR", "CosineAnnealingLR"):
            held.add(case.state.scheduler)
        elif "lr_lambdas" in (mapping_of(case.at("scheduler")) or ()):
            held.add("LambdaLR")
    return held


def _cycled(case: Case) -> Iterator[Slot]:
    """The keys of the param groups that a OneCycleLR computes its next rates and momenta from."""
    spoils = "scheduler.step() raises, or makes rates that no run has"
    for must, names in ((RATE, rates_to_come(case.member)), (SHARE, momenta_to_come(case.member))):
        for name in names:
            yield Slot(f"optimizer.param_groups[*].{name}", must, spoils)


def _no_count(case: Case, slot: Slot, value: object) -> Problem:
    key = case.where(slot.name)
    like_one = isinstance(value, bool) or (isinstance(value, TensorRef) and value.numel == 1)
    if slot.name == "patience":
        migration = "add-best-score" if case.resume.early_stopping else None
    else:
        counts_epochs = "epoch" in case.member.places
        known = case.resume.global_step is not None and not (counts_epochs and case.resume.epoch is None)
        proven = known or (case.run.facts.steps_per_epoch is None and whole_number(value) is not None)
        migration = "fix-epoch" if proven and is_ours(case) else None
    too_large = isinstance(value, int) and abs(value) >= LARGEST_COUNT
    is_count = isinstance(case.at(slot.name), (int, float)) and not like_one
    if too_large:
        why = ": no run gets there"
    elif is_count and slot.must.fault(value) == "value":
        why = f", which no run counts to: {slot.otherwise}"
    else:
        why = f", not an integer: {LIKE_ONE if like_one else slot.otherwise}"
    return Problem(
        f"`{key}` is {describe(value)}{why}",
        where=key,
        found=describe(value),
        expected=slot.must.says,
        migration=migration,
        severity="warning" if like_one else None,
    )


RULES = (wrong_type, invalid_value)
