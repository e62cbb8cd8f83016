"""Run as Python starts, in every process of a recorded command: wait for torch, then start the recorder.

Python imports one `sitecustomize`, the first on its path: the one that this file shadows is run from here.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import sys
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
SETTINGS = "CKPT_DOCTOR_RECORDING"
_recorder: Any = None


def _chain() -> None:
    """Run the `sitecustomize` that would have been found without this folder."""
    path = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _load_recorder() -> Any:
    spec = importlib.util.spec_from_file_location(
        "ckpt_doctor_recorder", os.path.join(os.path.dirname(HERE), "recorder.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _imported(name: str) -> None:
    """Hook what a module has just defined."""
    global _recorder
    try:
        if name == "torch":
            _recorder = _load_recorder()
            _recorder.start(json.loads(os.environ[SETTINGS]))
        elif _recorder is not None:
            _recorder.safetensors_imported(sys.modules[name])
    except Exception as error:
        print(f"ckpt-doctor: not recording: {type(error).__name__}: {error}", file=sys.stderr)


class _Waiting:
    """A finder that finds nothing by itself: it has a module's loader report when the module is complete."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec that the other finders have, its loader wrapped; None for every module but two."""
        if name not in ("torch", "safetensors.torch"):
            return None
        others = (f for f in sys.meta_path if f is not self and hasattr(f, "find_spec"))
        spec = next((spec for spec in (f.find_spec(name, path, target) for f in others) if spec is not None), None)
        if spec is not None and spec.loader is not None:
            original = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                original(module)
                _imported(name)

            setattr(spec.loader, "exec_module", exec_module)  # noqa: B010  # a method, for this one instance
        return spec


def _announce() -> None:
    """Leave this process's number for the rehearsal, which ends what its command leaves running."""
    control = json.loads(os.environ[SETTINGS]).get("control")
    if control:
        with open(os.path.join(control, f"pid-{os.getpid()}"), "w"):
            pass


if SETTINGS in os.environ:
    try:
        _announce()
        sys.meta_path.insert(0, _Waiting())
    except Exception as error:
        print(f"ckpt-doctor: not recording: {type(error).__name__}: {error}", file=sys.stderr)
_chain()
