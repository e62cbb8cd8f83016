"""What the parts of a checkpoint are by their shape, whoever wrote it: optimizers, schedulers, scalers, models, counts.

    shapes = find(checkpoint.root)
    shapes.optimizers[0].path      # ("optimizer_states", 0)

Looks as deep as trainers put a state_dict: at the top, in a list (`optimizer_states`), two levels further down. In a
unit of several files each file's root is one more level. What is recognised is not searched further.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property, lru_cache
from typing import Any, Literal

from ckpt_doctor.inert.scheduler_kinds import Kind, scheduler_kind
from ckpt_doctor.inert.tensor_list import walk_tensors
from ckpt_doctor.types import MODEL_KEYS, Checkpoint, KeyPath, NumpyScalar, Opaque, TensorRef, mapping_of, real
from ckpt_doctor.types.record import kept, record

DEPTH = 4
"""Levels of dicts and lists below the root of a file."""
MOST_ITEMS = 64
"""Of a list; longer ones are histories and vocabularies."""
LONGEST_COUNT = 100
"""Characters in the key of a count."""

Mapped = Mapping[Any, object]

_EPOCH = r"(cur_|current_|start_|global_)?epoch|epochs_run|(i_)?episode"
_STEP = (
    r"(global_|cur_|current_|train_|training_|env_|time)?(step|iter|iteration)s?|iter_num|num_(updates|timesteps)|n_iter|itr?"
    r"|total_it|update|batch_idx_train|steps_done"
)
_BEST = (
    r"best_?(val|valid|validation|test|eval|train)?_?"
    r"(loss|score|metric|acc|fitness|m?ap|f1|ppl|err|psnr|m?iou|prec|pred$|top_?1|dice|auc|bleu|[wc]er|m[sa]e|perf|reward|return)"
    r"\w*"
)
_PROGRESS = (
    *("meta", "extra_state", "train_state", "trainer_state", "progress", "client_state", "trainer", "state", "optim"),
    *("timestamp", "Timestamp"),
)
"""Under which keys counts lie that are not at the top. Elsewhere `epoch` and `step` are settings."""
_SETTINGS = ("args", "opt", "config", "cfg", "hparams", "hyper_parameters", "train_args", "training_args.bin")
_OF_AVERAGES = frozenset({"initial_accumulator_value", "centered", "decay_rate", "beta2_decay"})
"""Settings of Adagrad, RMSprop and Adafactor, which keep averages without `betas`."""
_COPY = r"(?i)ema|swa|averag|avg|shadow|teacher|target"


@record(frozen=True)
class Optimizer:
    """An optimizer's state_dict (torch/optim/optimizer.py, `Optimizer.state_dict`)."""

    path: KeyPath
    groups: tuple[Mapped, ...]
    state: Mapped

    @property
    def rates(self) -> list[object]:
        """The rate of every param group."""
        return [group.get("lr") for group in self.groups]

    @property
    def step(self) -> float | None:
        """The highest `step` of its parameters: those that had no gradient now and then have fewer."""
        steps = (real(entry.get("step")) for entry in self.entries)
        return max((step for step in steps if step is not None and step == step), default=None)

    @property
    def entries(self) -> Iterator[Mapped]:
        """The state of each parameter that has any."""
        return (entry for entry in self.state.values() if isinstance(entry, dict))

    @property
    def distinct_groups(self) -> dict[int, Mapped]:
        """The groups by their index, each object once: a pickle can name one a million times."""
        first = {id(group): index for index, group in reversed(tuple(enumerate(self.groups)))}
        return {index: self.groups[index] for index in first.values()}

    def stateful(self) -> list[str | int]:
        """Parameters of the groups whose update cannot be made without a state: one with averages, or with momentum."""
        found: dict[int, Sequence[object]] = {}
        for group in self.groups:
            params = group.get("params")
            averages = isinstance(group.get("betas"), (list, tuple)) or not _OF_AVERAGES.isdisjoint(group)
            if (averages or (real(group.get("momentum")) or 0) > 0) and isinstance(params, (list, tuple)):
                found[id(params)] = params
        plain = (i.value if isinstance(i, NumpyScalar) else i for params in found.values() for i in params)
        return [index for index in plain if isinstance(index, (int, str))]


@record(frozen=True)
class Scheduler:
    """A scheduler's state_dict (torch/optim/lr_scheduler.py)."""

    path: KeyPath
    state: Mapped

    @property
    def kind(self) -> Kind:
        """Its class, of those that have keys of their own."""
        return scheduler_kind(self.state)

    @property
    def is_plateau(self) -> bool:
        """ReduceLROnPlateau: it changes the rate by what it is shown, not by its count."""
        return "num_bad_epochs" in self.state

    @property
    def counts(self) -> bool:
        """Whether each step adds one to both of its counts: CosineAnnealingWarmRestarts never counts."""
        nested = "_schedulers" in self.state or self.is_plateau
        return not nested and "_step_count" in self.state and not {"T_0", "T_cur"} & self.state.keys()

    @property
    def last_epoch(self) -> float | None:
        """Its position."""
        return real(self.state.get("last_epoch"))


@record(frozen=True)
class Part:
    """A scaler, a model, or a single value."""

    path: KeyPath
    value: Any


@record(frozen=True)
class Shapes:
    """All that was recognised in a checkpoint."""

    optimizers: list[Optimizer] = field(default_factory=list)
    schedulers: list[Scheduler] = field(default_factory=list)
    scalers: list[Part] = field(default_factory=list)
    models: list[Part] = field(default_factory=list)
    """State_dicts of models, of averaged copies too."""
    epochs: list[Part] = field(default_factory=list)
    """Counts of epochs; whether finished or current, their script knows."""
    steps: list[Part] = field(default_factory=list)
    """Counts of steps, of the optimizer or of batches."""
    best: list[Part] = field(default_factory=list)
    """The best value of a metric; None where nothing is known yet."""
    names: set[str] = field(default_factory=set)
    """Every key that was passed with something under it."""

    @cached_property
    def trained(self) -> list[Part]:
        """The models that are no averaged copies of others."""
        return [model for model in self.models if not re.search(_COPY, ".".join(map(str, model.path)))]


@kept
def find(checkpoint: Checkpoint) -> Shapes:
    """Recognise the parts of a checkpoint, in the order in which they are in it. Linear in what is passed."""
    found = Shapes()
    seen: set[int] = set()
    if checkpoint.parts:
        for name, root in (mapping_of(checkpoint.root) or {}).items():
            _look(root, (name,), 0, found, seen, counts=True)
    else:
        _look(checkpoint.root, (), 0, found, seen, counts=True)
    return found


@kept
def _places_of_models(checkpoint: Checkpoint) -> set[KeyPath]:
    return {model.path for model in find(checkpoint).models}


def is_weight(checkpoint: Checkpoint, path: KeyPath) -> bool:
    """Whether the tensor at a path is a model's, or may be: it lies in one, or under the key of one."""
    models = _places_of_models(checkpoint)
    return path[:1] != () and (path[0] in MODEL_KEYS or any(path[:depth] in models for depth in range(DEPTH + 2)))


def settings(checkpoint: Checkpoint) -> Iterator[tuple[str, object]]:
    """Options of the training command by name, where the script saved them beside the rest, as a dict or Namespace."""
    mapping = mapping_of(checkpoint.root) or {}
    for root in [mapping, *(mapping_of(part) or {} for part in mapping.values() if checkpoint.parts)]:
        for key in _SETTINGS:
            saved = root.get(key)
            if isinstance(saved, Opaque) and saved.states:
                saved = saved.states[0]
            for name, value in (mapping_of(saved) or {}).items():
                if isinstance(name, str):
                    yield name, value


def _look(value: object, path: KeyPath, depth: int, found: Shapes, seen: set[int], counts: bool) -> None:
    if isinstance(value, (list, tuple)) and id(value) not in seen:
        seen.add(id(value))
        for index, item in enumerate(value[:MOST_ITEMS] if depth < DEPTH else ()):
            if not isinstance(item, (int, float, str, TensorRef)):
                _look(item, (*path, index), depth + 1, found, seen, counts=False)
        return
    mapping = mapping_of(value)
    if mapping is None or id(value) in seen:
        if (
            is_module(value) and id(value) not in seen and len(found.models) < MOST_ITEMS
        ):  # they may share their tensors
            seen.add(id(value))
            found.models.append(Part(path, dict(_weights_in(value))))
        return
    seen.add(id(value))
    if _recognised(mapping, path, found):
        return
    for key, item in mapping.items():
        if not isinstance(key, (str, int)):
            continue
        if counts and isinstance(key, str):
            _count(key, item, (*path, key), found)
        if key == "last_epoch":
            found.names.add(key)
        if isinstance(item, (int, float, str, TensorRef, type(None))) or not item:
            continue
        found.names.add(str(key))
        if depth < DEPTH:
            _look(item, (*path, key), depth + 1, found, seen, counts=counts and key in _PROGRESS)


def _recognised(mapping: dict[Any, object], path: KeyPath, found: Shapes) -> bool:
    groups, state = mapping.get("param_groups"), mapping.get("state")
    if isinstance(groups, (list, tuple)) and isinstance(state, dict):
        known = tuple(group for group in groups if isinstance(group, dict))
        if len(known) == len(groups):
            found.optimizers.append(Optimizer(path, known, state))
            found.names.update(key for key in mapping if isinstance(key, str))
    elif _is_scheduler(mapping):
        found.schedulers.append(Scheduler(path, mapping))
    elif {"scale", "growth_factor"} <= mapping.keys() and {"backoff_factor", "_growth_tracker"} & mapping.keys():
        found.scalers.append(Part(path, mapping))
    elif _is_model(mapping):
        found.models.append(Part(path, mapping))
    else:
        return False
    return True


def is_module(value: object) -> bool:
    """Whether a value is a model saved as a whole, `torch.save(model)` (torch/nn/modules/module.py)."""
    state = value.states[0] if type(value) is Opaque and value.states else None
    return isinstance(state, dict) and {"_parameters", "_buffers", "_modules"} <= state.keys()


def _weights_in(module: object) -> Iterator[tuple[str, TensorRef]]:
    """Its tensors, by the names that a state_dict gives them."""
    for path, tensor in walk_tensors(module):
        if tensor is not None:
            yield ".".join(map(str, path)), tensor


def _is_scheduler(mapping: dict[Any, object]) -> bool:
    """A position alone may be a script's own count: torch's classes keep their rates beside it."""
    if isinstance(mapping.get("_schedulers"), (list, tuple)) or {"num_bad_epochs", "best"} <= mapping.keys():
        return True
    return "last_epoch" in mapping and bool({"base_lrs", "_last_lr", "_step_count"} & mapping.keys())


def _is_model(mapping: dict[Any, object]) -> bool:
    """A state_dict: tensors by name, and nothing that holds others."""
    weights = 0
    for key, value in mapping.items():
        if isinstance(value, TensorRef):
            weights += bool(value.shape) and value.dtype != "uint8"
        elif isinstance(value, (dict, list, tuple)) and not str(key).endswith("_extra_state"):
            return False
    return weights > 0 and 2 * weights >= len(mapping) - _scalars(mapping)


def _scalars(mapping: dict[Any, object]) -> int:
    return sum(isinstance(value, TensorRef) and not value.shape for value in mapping.values())


def _count(key: str, value: object, path: KeyPath, found: Shapes) -> None:
    kind = _counted_by(key) if len(key) <= LONGEST_COUNT else ""
    if kind == "best":
        if value is None or real(value) is not None or (isinstance(value, TensorRef) and value.numel == 1):
            found.best.append(Part(path, value))
    elif kind and (not isinstance(value, TensorRef) or not value.dtype.startswith("float")):
        number = real(value)
        if number is not None and number == number and abs(number) < 1 << 53 and number.is_integer():
            (found.epochs if kind == "epoch" else found.steps).append(Part(path, int(number)))


@lru_cache(1024)
def _counted_by(key: str) -> Literal["best", "epoch", "step", ""]:
    """What a key's name says that it counts; the same keys come from file to file."""
    if re.fullmatch(_BEST, key.lower()):
        return "best"
    return "epoch" if re.fullmatch(_EPOCH, key) else "step" if re.fullmatch(_STEP, key) else ""
