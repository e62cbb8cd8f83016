"""Readers: bytes of a file -> an inert `Checkpoint`. They know containers and pickles, and nothing of trainers."""

from __future__ import annotations

import gc
from pathlib import Path

from ckpt_doctor.readers.detect import sniff_view
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.views import open_view, size_of, unreadable
from ckpt_doctor.remote import as_path
from ckpt_doctor.types import Checkpoint


def open_checkpoint(path: Path | str) -> Checkpoint:
    """Read a file's metadata inertly: nothing in it is executed or imported, and no tensor bytes are read.

    Never raises for what is in the file, nor when the system refuses to read it (damage `unreadable-file`).
    """
    path, was_enabled = as_path(path), gc.isenabled()
    gc.disable()  # a reading makes objects by the hundred thousand and drops none: looking for garbage doubles its time
    try:
        with open_view(path) as view:
            return view.confirmed(_open(view))
    except OSError as error:
        return Checkpoint(path, size_of(path), "unknown", "other", None, damage=(unreadable(error),))
    finally:
        if was_enabled:
            gc.enable()


def _open(view: FileView) -> Checkpoint:
    # Each format's reader is imported where it is needed: most runs see one
    kind = sniff_view(view)
    if view.path.suffix == ".distcp" and kind in ("zip", "torch-legacy"):
        from ckpt_doctor.readers.torch_row import open_row

        return open_row(view)
    if kind == "zip":
        from ckpt_doctor.readers.torch_zip import open_zip

        return open_zip(view)
    if kind == "torch-legacy":
        from ckpt_doctor.readers.torch_legacy import open_legacy

        return open_legacy(view)
    if kind == "tar":
        from ckpt_doctor.readers.torch_tar import open_tar

        return open_tar(view)
    if kind == "safetensors":
        from ckpt_doctor.readers.safetensors import open_safetensors

        return open_safetensors(view)
    if kind == "pickle":
        from ckpt_doctor.readers.raw_pickle import open_pickle

        return open_pickle(view)
    from ckpt_doctor.readers.raw_pickle import open_neighbour

    return open_neighbour(view, kind)
