"""Family F: the file as a file. The readers see the damage; these rules give it its name, weight and cure."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.types import Case
from ckpt_doctor.validators.rule import Problem, rule

UNTRUSTED = frozenset({"truncated-archive", "malformed-pickle", "limit-exceeded", "name-conflict", "unfinished-write"})
"""Damage after which what the file says of its training is not judged any further."""


def damage_of(case: Case, kind: str, fix: str | None = "") -> Iterator[Problem]:
    """The damage of one kind that reading, or the deep check, has seen."""
    deep = case.checkpoint.deep
    for damage in (*case.checkpoint.damage, *(deep.damage if deep else ())):
        if damage.kind == kind:
            yield Problem(damage.message, damage.where, damage.found, damage.expected, fix)


@rule("F101", "truncated-archive", "error", "file")
def truncated_archive(case: Case) -> Iterator[Problem]:
    """The archive's end is missing.

    A zip file's table of contents stands at its end, so a file whose end is missing cannot be opened at all:
    `PytorchStreamReader failed reading zip archive: failed finding central directory`. A disk filled up, a session
    ended in the middle of `torch.save`, or a download or a Drive upload was cut.

    Example: a 13 GiB `checkpoint.pt` of which Drive had synchronised 9 GiB when the session died.

    Cure: resume from another checkpoint (`ckpt-doctor latest RUN_DIR` finds the newest whole one). Tensors whose
    bytes are all there can be saved: `ckpt-doctor salvage FILE -o OUT`.

    Source: APPNOTE.TXT 4.3.1 (end of central directory); caffe2/serialize/inline_container.cc,
    `PyTorchStreamReader::init`."""
    some = any(tensor.storage.offset is not None for tensor in case.checkpoint.tensors)
    yield from damage_of(case, "truncated-archive", "ckpt-doctor salvage FILE -o OUT" if some else "")


@rule("F102", "corrupt-record", "error", "file")
def corrupt_record(case: Case) -> Iterator[Problem]:
    """A record's bytes do not match the checksum stored with them (needs `--deep`).

    PyTorch writes a CRC-32 for every record and never verifies it: a flipped bit in a tensor loads without a word and
    trains on.

    Example: one byte of `checkpoint/data/17` changed on a failing disk; `torch.load` is content, the weight is 1e+30.

    Cure: use another copy of the file. The finding names the tensors that are touched; all others are still good.

    Source: caffe2/serialize/inline_container.cc writes the checksums, its reader disables their check.
    """
    yield from damage_of(case, "corrupt-record")


@rule("F103", "missing-record", "error", "file")
def missing_record(case: Case) -> Iterator[Problem]:
    """A tensor's storage is absent from the file, or shorter than the tensor needs.

    `torch.load` fails on an absent record; with `mmap=True` a short one gives garbage silently.

    Example: an archive repacked by a tool that dropped `data/3`.

    Cure: use another copy of the file; `ckpt-doctor salvage FILE -o OUT` saves the tensors that are complete.

    Source: torch/serialization.py, `_load.<locals>.load_tensor`.
    """
    yield from damage_of(case, "missing-record", "ckpt-doctor salvage FILE -o OUT")


@rule("F104", "empty-file", "error", "file")
def empty_file(case: Case) -> Iterator[Problem]:
    """The file has zero bytes, or nothing but zero bytes.

    It was created and never written, or its length reached the disk before its data (a power cut, a full Drive).

    Example: `checkpoint` with 0 bytes after `No space left on device`.

    Cure: none for this file; delete it and resume from another one (`ckpt-doctor latest RUN_DIR`).

    Source: torch.load on it raises `EOFError: Ran out of input`.
    """
    yield from damage_of(case, "empty-file")


@rule("F105", "not-a-checkpoint", "error", "file")
def not_a_checkpoint(case: Case) -> Iterator[Problem]:
    """Something else stands where a checkpoint belongs.

    An HTML page (a login or quota page saved by a downloader), a Git LFS pointer, text, an archive of another kind.

    Example: `wget` of a Drive link that saved the virus-scan warning page as `checkpoint`.

    Cure: fetch the real file; for a Git LFS pointer run `git lfs pull`.

    Source: the first bytes of the file; torch.load raises UnpicklingError on them.
    """
    yield from damage_of(case, "not-a-checkpoint")


@rule("F106", "unreadable-file", "error", "file")
def unreadable_file(case: Case) -> Iterator[Problem]:
    """The operating system refuses to let the file be read.

    The trainer, started by the same user, is refused as well; nothing is known of what the file holds.

    Example: a checkpoint written by another user with mode 0600, or an I/O error of the disk.

    Cure: change its permissions or owner; on an I/O error copy the file from another place.

    Source: the error of `open` or `read` that the message repeats.
    """
    yield from damage_of(case, "unreadable-file")


@rule("F107", "interrupted-migration", "error", "file")
def interrupted_migration(case: Case) -> Iterator[Problem]:
    """An in-place migration of this file was cut off.

    `migrate --in-place` writes a journal before it touches the file; the journal is still there. The old content is
    whole in front of what was appended.

    Example: the session died during `ckpt-doctor migrate --in-place --all`.

    Cure: `ckpt-doctor undo FILE` takes the file back to what it was; running the migration again does so first.

    Source: the journal beside the file.
    """
    yield from damage_of(case, "interrupted-migration", "ckpt-doctor undo FILE")


@rule("F108", "unfinished-write", "warning", "file")
def unfinished_write(case: Case) -> Iterator[Problem]:
    """A temporary file, or one that is still growing.

    Its writer is still at work, or died before it could give the file its name. It is neither read for a resume nor
    migrated.

    Example: `checkpoint.pt.tmp` beside the checkpoints of a run that is training.

    Cure: wait until it is written; if no process writes it any more, delete it.

    Source: its name, or its size and time changing while it was read.
    """
    yield from damage_of(case, "unfinished-write")


@rule("F109", "byte-order-suspect", "error", "file")
def byte_order_suspect(case: Case) -> Iterator[Problem]:
    """The `byteorder` record does not fit the data, or a big-endian file lacks it.

    `torch.load` swaps the bytes of every tensor when the record differs from the machine: with a wrong record all
    weights become garbage, silently.

    Example: a `byteorder` record that says `big` in a file whose float32 weights are plausible only as little-endian.

    Cure: use another copy of the file.

    Source: torch/serialization.py, `_load` (byteorder record, `set_default_load_endianness`).
    """
    yield from damage_of(case, "byte-order-suspect")


@rule("F110", "text-mode-damage", "error", "file")
def text_mode_damage(case: Case) -> Iterator[Problem]:
    """Line endings were translated as if the file were text.

    git with `autocrlf`, FTP in ASCII mode or an editor replaced line feeds; tensors are shifted and changed everywhere.

    Example: a checkpoint committed to git without `*.pt binary`, checked out on Windows.

    Cure: fetch the file again in binary mode; the translation cannot be reversed.

    Source: the container's own markers with translated bytes.
    """
    yield from damage_of(case, "text-mode-damage")


@rule("F111", "malformed-pickle", "error", "file")
def malformed_pickle(case: Case) -> Iterator[Problem]:
    """The pickle that describes the checkpoint cannot be followed to its end.

    The program is cut, or its bytes were changed: `torch.load` raises, or builds something else.

    Example: a `data.pkl` whose bytes were overwritten by another file's.

    Cure: use another copy of the file.

    Source: CPython's pickletools, which documents every opcode.
    """
    yield from damage_of(case, "malformed-pickle")


@rule("F112", "limit-exceeded", "error", "file")
def limit_exceeded(case: Case) -> Iterator[Problem]:
    """The file asks for more memory, depth or time than a file of its size can need.

    A decompression bomb, a memo index of four billion, a nesting without end: made to exhaust its reader. It was not
    read further.

    Example: a 2 KiB file that declares a string of 4 GiB.

    Cure: don't load it; ask whoever made it.

    Source: the limits are those of `ckpt_doctor.inert.limits`.
    """
    yield from damage_of(case, "limit-exceeded")


@rule("F113", "name-conflict", "error", "file")
def name_conflict(case: Case) -> Iterator[Problem]:
    """The archive's table of contents and its entries name different things.

    Two readers of such a file see two different checkpoints: a scanner the harmless one, `torch.load` the other. No
    program that writes checkpoints makes one. A flipped bit in the table of contents does: `torch.load` then refuses
    the archive, or reads the wrong bytes. A dangerous pickle that stands in the archive and in no table of contents is
    told here too: a reader that walks the entries runs it.

    Example: the directory lists `checkpoint/data.pkl`, the entry there calls itself `checkpoint/other.pkl`.

    Cure: don't load it; fetch the file again from a source that you trust.

    Source: APPNOTE.TXT 4.3.7 and 4.3.12; PyTorch's reader follows the directory.
    """
    yield from damage_of(case, "name-conflict")


RULES = (
    truncated_archive,
    corrupt_record,
    missing_record,
    empty_file,
    not_a_checkpoint,
    unreadable_file,
    interrupted_migration,
    unfinished_write,
    byte_order_suspect,
    text_mode_damage,
    malformed_pickle,
    limit_exceeded,
    name_conflict,
)
