"""Run a command of ckpt-doctor and print where its time goes, as JSON: module -> samples. A process of its own.

A timer of processor time interrupts it; the innermost frame of the package gets the sample, so that what C code takes
counts for the module that calls it. A profiler that sees every call would make small functions look expensive.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.001
IMPORTING = "<frozen importlib._bootstrap>"


def module(frame: FrameType | None, package: str) -> str:
    """`inert/pickle_machine`, `imports` while one goes on, or `elsewhere`."""
    innermost = ""
    while frame is not None:
        path = frame.f_code.co_filename
        if path == IMPORTING:
            return "imports"
        if not innermost and path.startswith(package):
            innermost = Path(path[len(package) :]).with_suffix("").as_posix()
        frame = frame.f_back
    return innermost or "elsewhere"


def main() -> None:
    """Take samples from the first import on."""
    found: Counter[str] = Counter()
    package = str(Path(__file__).resolve().parents[1] / "ckpt_doctor") + os.sep
    signal.signal(signal.SIGPROF, lambda _, frame: found.update([module(frame, package)]))
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        from ckpt_doctor.cli.main import main as start

        if code := start():
            raise SystemExit(code)
    signal.setitimer(signal.ITIMER_PROF, 0)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
