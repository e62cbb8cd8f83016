"""Record the process that calls it: for notebooks, and for Pythons that start without `sitecustomize`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ckpt_doctor.rehearsal import recorder
from ckpt_doctor.rehearsal.launching import new_folder


@contextmanager
def record(trace: Path | str) -> Iterator[Path]:
    """Record what the training in this block does.

    Args:
        trace: the folder to write; it must not exist.

    Yields:
        The folder, with a file per process that makes optimizer steps.

    Raises:
        UsageError: the folder exists or cannot be made.

    Example:
        >>> with record("run.trace"):
        ...     train()
    """
    import torch  # noqa: F401  # the recorder hooks what is imported

    folder = new_folder(Path(trace))
    recorder.start({"folder": str(folder)})
    try:
        yield folder
    finally:
        recorder.stop()
