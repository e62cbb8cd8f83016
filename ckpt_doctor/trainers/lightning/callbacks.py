"""The states of Lightning's own callbacks that remember the best model: ModelCheckpoint and EarlyStopping.

Source: lightning/pytorch/callbacks/model_checkpoint.py and early_stopping.py, `state_dict`, `load_state_dict`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_doctor.types import Checkpoint, KeyPath, mapping_of
from ckpt_doctor.types.record import record

LONGEST_KEY = 2_000
KINDS = ("ModelCheckpoint", "EarlyStopping")


@record(frozen=True)
class _Callback:
    """A callback's state, and by what it tells the best model."""

    key: str
    state: Mapping[Any, Any]
    monitor: str
    """Empty where it keeps no best."""
    mode: str
    """`min` or `max`; empty where the key does not say."""

    @property
    def path(self) -> KeyPath:
        """Where the state is."""
        return ("callbacks", self.key)


class Saver(_Callback):
    """A ModelCheckpoint's state."""

    def text(self, name: str) -> str:
        """A text of the state; empty where it has none."""
        return _text(self.state.get(name))

    @property
    def best_k(self) -> Mapping[str, object]:
        """Path -> score, of the files that are kept."""
        held = mapping_of(self.state.get("best_k_models")) or {}
        return {path: score for path, score in held.items() if isinstance(path, str)}

    @property
    def checks_epochs(self) -> bool:
        """Whether it compares when an epoch ends; by default it does, and not where it saves by batches or by time."""
        return bool(self.monitor) and _options(self.key).get("every_n_epochs", 1) == 1


class Stopper(_Callback):
    """An EarlyStopping's state."""

    def count(self, name: str) -> int | None:
        """A count of the state."""
        value = self.state.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def savers(checkpoint: Checkpoint) -> list[Saver]:
    """The states of ModelCheckpoint, each by its own key."""
    return [
        Saver(key, state, _text(state.get("monitor")), _text(_options(key).get("mode")))
        for key, state in _states(checkpoint, "ModelCheckpoint")
    ]


def stoppers(checkpoint: Checkpoint) -> list[Stopper]:
    """The states of EarlyStopping."""
    return [
        Stopper(key, state, _text(_options(key).get("monitor")), _text(_options(key).get("mode")))
        for key, state in _states(checkpoint, "EarlyStopping")
    ]


def _states(checkpoint: Checkpoint, name: str) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """States by keys like `ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min'}`; before 1.5 the key is the class."""
    held = mapping_of(checkpoint.get("callbacks"))
    for key, state in held.items() if held is not None else ():
        if isinstance(key, str) and (key == name or key.startswith(f"{name}{{")):
            found = mapping_of(state)
            if found is not None:
                yield key, found


def _options(key: str) -> Mapping[str, object]:
    """What a state's key says of the callback's arguments."""
    _, brace, told = key.partition("{")
    if not brace or len(told) > LONGEST_KEY:
        return {}
    try:
        options = ast.literal_eval("{" + told)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return {}
    return options if isinstance(options, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
