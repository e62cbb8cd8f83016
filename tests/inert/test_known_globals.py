"""The lists of names that checkpoints mention."""

from __future__ import annotations

import sys

import torch

from ckpt_doctor.inert import known_globals
from ckpt_doctor.inert.callables import STANDARD
from ckpt_doctor.inert.known_globals import WEIGHTS_ONLY


def test_the_allow_list_is_torchs():
    """Exactly the names that this torch accepts."""
    assert set(torch._weights_only_unpickler._get_allowed_globals()) == set(WEIGHTS_ONLY)


def test_nothing_that_is_called_healthy_is_called_by_loading():
    """A name of `KNOWN` says that it may be mentioned: what may be called is in the lists of `callables`."""
    known = {(module, name) for module, _, name in (full.rpartition(".") for full in known_globals.KNOWN)}
    assert set() == known & STANDARD


def test_no_module_is_of_data_and_dangerous_at_once():
    """A misspelt name would judge nothing: all of Python's own that hold data are found under their names."""
    data = known_globals.DATA_MODULES
    assert set() == {name for name in data if name.partition(".")[0] not in sys.stdlib_module_names}
    assert set() == data & known_globals.DANGEROUS_MODULES
