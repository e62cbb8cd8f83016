"""What one process knows of a store, for others: a listing is made once, whoever judges the runs that it shows."""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from os import urandom
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ckpt_doctor.remote.path import RemotePath

if TYPE_CHECKING:
    from ckpt_doctor.remote.entries import Entry
    from ckpt_doctor.remote.store import Store

    Folders = dict[str, dict[str, Entry]]

MOST = 1_000
"""Entries that are handed over whole: all of a small tree, else the folders above a run."""
_CALLS: list[str] = [""]


class Excerpt(NamedTuple):
    """What is known of a run's place: listings by folder, and what was asked for by name."""

    folders: Folders
    entries: dict[str, Entry]


def excerpts_for(runs: Sequence[Path]) -> list[Excerpt | None]:
    """What each of these folders' runs needs to know; None for those on this machine.

    Of a large tree it is what lies below the run's folder, and the folders above it that are not large.
    """
    knowledge = {run.scheme: _Knowledge(run.store) for run in runs if isinstance(run, RemotePath)}
    return [knowledge[run.scheme].of(run) if isinstance(run, RemotePath) else None for run in runs]


class _Knowledge:
    """What is known of a store, in order, so that the part of it that concerns a run is quickly found."""

    def __init__(self, store: Store) -> None:
        self.known = Excerpt(store.folders, store.entries)
        self.is_small = len(store.entries) + sum(map(len, store.folders.values())) <= MOST
        self._folders, self._entries = sorted(store.folders), sorted(store.entries)

    def of(self, run: RemotePath) -> Excerpt:
        if self.is_small:
            return self.known
        folders, entries = self.known
        around = [name for name in map(str, (run, *run.parents)) if name in folders]
        above = [name for name in around if name == str(run) or len(folders[name]) <= MOST]
        return Excerpt(
            {name: folders[name] for name in (*above, *_below(run, self._folders))},
            {name: entries[name] for name in _below(run, self._entries)},
        )


def _below(run: RemotePath, order: Sequence[str]) -> Sequence[str]:
    return order[bisect_left(order, f"{run}/") : bisect_right(order, f"{run}/{chr(sys.maxunicode)}")]


def adopt(run: Path, excerpt: Excerpt | None) -> None:
    """Take up what another process knows of a run's place."""
    if isinstance(run, RemotePath) and excerpt is not None:
        run.store.folders.update(excerpt.folders)
        run.store.entries.update(excerpt.entries)


def begin_call() -> str:
    """A sign of this call, by which the processes that help with it know that it is another than their last."""
    _CALLS[0] = urandom(8).hex()
    return _CALLS[0]


def join_call(sign: str) -> None:
    """Begin to help with a call: what an earlier one had listed is forgotten."""
    if sign != _CALLS[0]:
        _CALLS[0] = sign
        if stores := sys.modules.get(f"{__package__}.store"):
            stores.forget()
