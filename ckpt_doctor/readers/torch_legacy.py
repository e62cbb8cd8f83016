"""Reads the stream that `torch.save` wrote before 1.6 (and writes with `_use_new_zipfile_serialization=False`)."""

from __future__ import annotations

from ckpt_doctor.readers.assemble import Content, checkpoint
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.payloads import read_stream
from ckpt_doctor.types import A_COPY, Checkpoint, NotChecked, Program


def open_legacy(view: FileView) -> Checkpoint:
    """Read a file that begins with the magic number; never raises for its content."""
    stream = read_stream(view)
    content = Content("torch-legacy")
    if stream.main is not None:
        content.add(stream.main, stream.programs)
        if stream.main.finished and not stream.main.has_views:  # views cannot be written again from the tree
            content.program = Program(stream.main.start, stream.main.end - stream.main.start, "")
    else:
        content.take_names(stream.programs)
        content.damage += stream.programs.damage
    content.damage += stream.damage
    if stream.lost:
        content.metadata["lost_records"] = len(stream.lost)
    elif stream.end < view.size:
        content.metadata["trailing_bytes"] = view.size - stream.end
    if stream.unread:
        why = (
            f"the file is remote, and the lengths of {stream.unread:,} storages were not read; their sum fits its size"
        )
        content.not_checked.append(NotChecked("whether each storage has its length", why, A_COPY))
    if stream.little_endian is False:
        content.metadata["written_on"] = "a big-endian machine"
    return checkpoint(view, content)
