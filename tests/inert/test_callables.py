"""The list of what loading may call: every entry is what it says, and no path of two names gets around it."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ckpt_doctor.inert.callables import CALLS, STANDARD, is_listed
from ckpt_doctor.inert.pickle_reader import read
from ckpt_doctor.inert.rebuild import HANDLERS
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.readers.safety import foreign_calls, judge
from ckpt_doctor.types import Global
from tests.readers.attacks import alarms, call, text

QUICK = ("torch.storage", "torch.distributed.checkpoint.planner", "dataclasses")


OUTSIDE = re.compile(r"torch\.(testing|_inductor|utils\.(benchmark|tensorboard|hipify)|onnx|distributed\.(run|launch))")


def importable(package: types.ModuleType) -> Iterator[str]:
    """The modules of a package that can be imported here."""
    yield package.__name__
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda _: None):
        if not OUTSIDE.match(found.name) and not found.name.endswith("__main__"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    importlib.import_module(found.name)
                except BaseException:
                    continue
            yield found.name


def paths(module: str) -> Iterator[str]:
    """Every attribute of a module, and every attribute of those."""
    for outer, value in list(vars(sys.modules[module]).items()):
        yield outer
        yield from (f"{outer}.{inner}" for inner in dir(value))


def passing(module: str) -> list[str]:
    """The paths of a module whose call nothing stops, as one pickle calls them all."""
    names = [path for path in paths(module) if "\n" not in path and path.isascii()]
    reading = read(b"\x80\x02" + b"".join(f"c{module}\n{path}\n)R0".encode() for path in names) + b"N.")
    assert reading.finished
    stopped = {(g.module, g.name) for g in reading.globals.values() if judge(g) == "dangerous"}
    for group in foreign_calls(reading.globals.values(), reading.calls.values()).values():
        stopped |= {(g.module, g.name) for g in group}
    return [path for path in names if (module, path) not in stopped]


def test_a_path_through_a_module_is_listed_or_stops():
    """A few modules of which attackers have borrowed names."""
    for module in QUICK:
        importlib.import_module(module)
        assert all((module, path) in STANDARD for path in passing(module)), module


@pytest.mark.long
def test_every_path_through_a_module_is_listed_or_stops():
    """All modules of torch and numpy that can be imported here."""
    for package in (torch, np):
        for module in list(importable(package)):
            assert [path for path in passing(module) if (module, path) not in STANDARD] == [], module


def test_every_entry_of_the_lists_is_what_it_says():
    """Where it exists here, an entry is a class or function that its own module defines, and no alias of another's."""
    aliases = []
    for module, path in sorted(STANDARD):
        try:
            value = importlib.import_module(module)
            for part in path.split("."):
                value = getattr(value, part)
        except (ImportError, AttributeError):
            continue  # of another version
        assert callable(value) or isinstance(value, (torch.dtype, torch.qscheme)) or module == "typing", path
        home = getattr(value, "__module__", None) or module
        if home.partition(".")[0].lstrip("_") != module.partition(".")[0].lstrip("_"):
            aliases.append(f"{module}.{path} of {home}")
    assert {line.rpartition(" ")[2] for line in aliases} <= {"builtins", "abc", "collections", "collections.abc"}


def test_what_readers_follow_is_listed():
    """A function whose result is understood is never a foreign call; what calls its argument is listed as well."""
    for full in [*HANDLERS, *CALLS]:
        module, _, inner = full.rpartition(".")
        assert is_listed(Global(module, inner)), full


@pytest.mark.parametrize(
    "enumeration",
    [
        ("transformers.trainer_utils", "IntervalStrategy"),
        ("transformers.training_args", "OptimizerNames"),
        ("accelerate.utils.dataclasses", "DistributedType"),
    ],
)
def test_enums_of_transformers_and_accelerate_are_listed(tmp_path, enumeration):
    """And none of their other functions."""
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + call(*enumeration, text("no")) + b".")
    assert [] == alarms(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + call(enumeration[0], "get_everything") + b".")
    assert ["foreign-call"] == [d.kind for d in open_checkpoint(tmp_path / "a.pkl").damage if d.where]
