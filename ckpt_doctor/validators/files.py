"""Family F: the file as a file. The readers see the damage; these rules give it its name, weight and cure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from ckpt_doctor.inert.pickle_machine import shown
from ckpt_doctor.types import Case, Checkpoint, Damage, Finding, NotChecked, Severity
from ckpt_doctor.validators import series
from ckpt_doctor.validators.rule import Problem, Rule, listing, rule

UNTRUSTED = frozenset(
    {
        "truncated-archive",
        "malformed-pickle",
        "limit-exceeded",
        "name-conflict",
        "unfinished-write",
        "unpacked-archive",
        "vanished-file",
    }
)
"""Damage after which what the file says of its training is not judged any further."""
UNREADABLE = "F116"
"""The warning about a file that cannot be loaded until something is done by hand."""
BLOCKED = "blocked-migration"
"""The damage by which no command here writes to the file: something that is none of ours, or damaged, beside it."""


def damage_of(case: Case, kind: str, fix: str | None = "") -> Iterator[Problem]:
    """The damage of one kind that reading, or the deep check, has seen."""
    found = [damage for damage in all_damage(case.checkpoint) if damage.kind == kind]
    if not found:
        return
    names = _tensors_by_place(case.checkpoint) if any(damage.where for damage in found) else {}
    for damage in found:
        tensors = tuple(names.get(damage.where, ()))
        message = damage.message
        if tensors and kind != "corrupt-record":  # which names them itself
            message += f" (tensor{'s' if len(tensors) > 1 else ''} {listing(tensors)})"
        yield Problem(message, damage.where, damage.found, damage.expected, fix, tensors=tensors)


def all_damage(checkpoint: Checkpoint) -> tuple[Damage, ...]:
    """What reading, and the deep check, have seen."""
    if checkpoint.deep is None or checkpoint.parts:  # what is in the parts is found in each of them
        return checkpoint.damage
    return (*checkpoint.damage, *checkpoint.deep.damage)


def _tensors_by_place(checkpoint: Checkpoint) -> dict[str, list[str]]:
    """The names of the tensors that a `Damage.where` is about: by themselves, and by the record that holds them."""
    prefix = checkpoint.metadata.get("prefix", "")
    names: dict[str, list[str]] = defaultdict(list)
    for tensor in (*checkpoint.tensors, *checkpoint.inner):
        names[f"{prefix}data/{tensor.storage.key}"].append(tensor.name)
        names[tensor.name] = [tensor.name]
    return names


def _salvage(checkpoint: Checkpoint) -> str:
    """The command that saves the tensors that are whole; empty where none is, or where nobody knows which is which."""
    lost = checkpoint.deep.lost if checkpoint.deep else frozenset()
    whole = any(t.storage.offset is not None and t.storage.key not in lost for t in checkpoint.tensors)
    described = not any(d.kind == "corrupt-record" and d.where.endswith(".pkl") for d in all_damage(checkpoint))
    suffix = ".safetensors" if checkpoint.container == "safetensors" else ""  # which salvage asks for
    return f"ckpt-doctor salvage FILE -o OUT{suffix}" if whole and described else ""


_CORRUPT = ("corrupt-record", "corrupt-note", "corrupt-undo-data", BLOCKED)


@rule("F102", "corrupt-record", "error", "file", damage=_CORRUPT)
def corrupt_record(case: Case) -> Iterator[Problem]:
    """A record's bytes do not match the checksum stored with them.

    Of the description of all tensors this is compared always, of the tensors themselves with `--deep`.

    PyTorch writes a CRC-32 for every record and never verifies it: a flipped bit in a tensor loads without a word and
    trains on. Severity info where only undo is affected: bytes that a migration had set aside have changed, or the file
    that holds them cannot be read. The checkpoint loads as it should, and `ckpt-doctor undo` refuses. What has the name
    of a journal or of undo data and cannot be read as such (a pipe, a link, a damaged file) blocks `migrate` as well:
    an error where the file needs a migration. Info, too, where the record is a note of PyTorch's on which no tensor
    depends (`.data/serialization_id`): the file loads as it should, but something has changed a byte of it.

    One corrupt record is a flipped bit: a failing disk, memory or transfer. Several corrupt records in one file usually
    mean that several processes saved to the same path at the same time, as when every rank of a DDP run calls
    `torch.save`: the file is then pieced together from theirs.

    Example: one byte of `checkpoint/data/17` changed on a failing disk; `torch.load` is content, the weight is 1e+30.

    Cure: use another copy of the file. The finding names the tensors that are touched; all others are still good, and
    `ckpt-doctor salvage FILE -o OUT` saves them. Save from one process only (`if rank == 0`).
    Where only undo is affected, keep the file as it is. What blocks `migrate` has to be moved away by hand.

    Source: caffe2/serialize/inline_container.cc writes the checksums, its reader disables their check.
    """
    yield from damage_of(case, "corrupt-record", _salvage(case.checkpoint))
    for problem in damage_of(case, "corrupt-note", None):
        yield replace(problem, severity="info")
    for problem in damage_of(case, "corrupt-undo-data"):
        message = f"{problem.message}. Only undo is affected: the checkpoint itself is not"
        yield replace(problem, message=message, severity="info")
    for problem in damage_of(case, BLOCKED, "move it away, then run this command again"):
        message = f"{problem.message}. It blocks `migrate` and `undo`: the checkpoint itself is not affected"
        yield replace(problem, message=message, severity="info")


def unless_blocked(findings: list[Finding], checkpoint: Checkpoint) -> list[Finding]:
    """The findings as they are while nothing can be migrated: what blocks it is the cure of all, and counts as much."""
    if not any(damage.kind == BLOCKED for damage in checkpoint.damage):
        return findings
    needed = any(finding.migration and finding.severity != "info" for finding in findings)
    judged = []
    for finding in findings:
        if finding.migration:
            finding = replace(finding, migration=None, fix="move away what F102 names, then run this command again")
        elif finding.code == "F102" and finding.severity == "info" and needed:
            finding = replace(finding, severity="error")
        judged.append(finding)
    return judged


@rule("F106", "unreadable-file", "error", "file", damage=("unreadable-file", "vanished-file"))
def unreadable_file(case: Case) -> Iterator[Problem | NotChecked]:
    """The operating system refuses to let the file be read, or the process that read it died.

    Nothing is known of what the file holds. The trainer, started by the same user, is refused as well. Of a run whose
    worker process died twice (`--jobs`, `--dask`) every file has this finding, for any of them can be the cause.

    Not in a scan during which the file vanished or was replaced: a training that goes on deletes its old checkpoints.
    The report then says that this one is not judged.

    Example: a checkpoint written by another user with mode 0600; an I/O error of the disk; a run that needs more memory
    than the job was given.

    Cure: change its permissions or owner; on an I/O error copy the file from another place; scan a run whose process
    died by itself where there is more memory.

    Source: the error of `open` or `read` that the message repeats; the worker process, which sent no result.
    """
    yield from damage_of(case, "unreadable-file")
    if case.gate:
        for problem in damage_of(case, "vanished-file"):
            yield replace(problem, message=f"the file {problem.message}")
        return
    path, top = case.checkpoint.path, case.run.path
    for damage in case.checkpoint.damage:
        if damage.kind == "vanished-file":
            name = str(path.relative_to(top)) if path.is_relative_to(top) and path != top else path.name
            yield NotChecked("the resume", f"{shown(name)} {damage.message}", "another scan")


_NOTHING_OF_IT = ("not-a-checkpoint", "empty-file")
"""Damage of a part that is as good as missing, which F104 and F105 name."""


@rule("F114", "missing-part", "error", "file")
def missing_part(case: Case) -> Iterator[Problem]:
    """A checkpoint of several files lacks one, or has one that is too short.

    What names the files is an index, metadata, a marker, or their own names: a sharded model's `.index.json`, a
    distributed checkpoint's `.metadata`, DeepSpeed's `latest` and its number of processes. A download or a copy left a
    file out, a rank could not write its part, or the save was cut off. Loading raises; where only tensors are missing,
    it leaves them at random values. Names that lead out of the checkpoint's folder are not followed.

    A warning where each other file of its kind has one of the same number beside it, and one has none (`G_75.pth`,
    whose `D_75.pth` is cut off): a resume takes that part from another moment, or begins it anew.

    Severity info where other files make up for what is missing: an index none of whose files is there, beside other
    weights; an index that places tensors in the wrong file or gives another size than they have.

    Example: `model.safetensors.index.json` names three files, and `model-00002-of-00003.safetensors` is not there.

    Cure: fetch or copy the missing file. Where it was never written, resume from another checkpoint. An index that is
    left over can be deleted.

    Source: transformers, `get_checkpoint_shard_files`; torch/distributed/checkpoint/filesystem.py; deepspeed/runtime/
    engine.py, `_get_all_zero_checkpoint_names`.
    """
    other = {case.checkpoint.name_of(part) for part in case.checkpoint.parts if part.is_damaged(*_NOTHING_OF_IT)}
    yield from (problem for problem in damage_of(case, "missing-part") if problem.where not in other)
    for problem in damage_of(case, "stale-index"):
        yield replace(problem, severity="info")
    yield from series.partner_missing(case)


@rule("F116", "unpacked-archive", "warning", "file")
def unpacked_archive(case: Case) -> Iterator[Problem]:
    """The records of a torch archive lie in a folder.

    A checkpoint of `torch.save` is a zip archive, and someone unpacked it. `torch.load` reads neither the folder nor
    its `data.pkl`; nothing is lost, and packing the folder without compression gives the checkpoint back.

    Example: a download that the browser unpacked to `checkpoint/data.pkl`, `checkpoint/version`, `checkpoint/data/0`.

    Cure: the command that the finding prints (`zip -0 -r`), run where the folder stands.

    Source: caffe2/serialize/inline_container.cc, `PyTorchStreamReader::init`: all records in one folder.
    """
    for damage in case.checkpoint.damage:
        if damage.kind == "unpacked-archive":
            yield Problem(damage.message, damage.where, fix=str(damage.found))


_DAMAGE = """
F101 truncated-archive error

The archive's end is missing.

A zip file's table of contents stands at its end, so a file whose end is missing cannot be opened at all:
`PytorchStreamReader failed reading zip archive: failed finding central directory`. A disk filled up, a session
ended in the middle of `torch.save`, or a download or a Drive upload was cut. Of JSON that ends early the same is
said.

Example: a 13 GiB `last.pt` of which Drive had synchronised 9 GiB when the session died.

Cure: resume from another checkpoint (`ckpt-doctor latest RUN_DIR` finds the newest whole one). Tensors whose
bytes are all there can be saved: `ckpt-doctor salvage FILE -o OUT`.

Source: APPNOTE.TXT 4.3.1 (end of central directory); caffe2/serialize/inline_container.cc,
`PyTorchStreamReader::init`.

F103 missing-record error

A tensor's storage is absent from the file, or shorter than the tensor needs.

`torch.load` fails on an absent record; with `mmap=True` a short one gives garbage silently.

Example: an archive repacked by a tool that dropped `data/3`.

Cure: use another copy of the file; `ckpt-doctor salvage FILE -o OUT` saves the tensors that are complete.

Source: torch/serialization.py, `_load.<locals>.load_tensor`.

F104 empty-file error

The file has zero bytes, or nothing but zero bytes.

It was created and never written, or its length reached the disk before its data (a power cut, a full Drive).

Example: `checkpoint` with 0 bytes after `No space left on device`.

Cure: none for this file; delete it and resume from another one (`ckpt-doctor latest RUN_DIR`).

Source: torch.load on it raises `EOFError: Ran out of input`.

F105 not-a-checkpoint error

Something else stands where a checkpoint belongs.

An HTML page (a login or quota page saved by a downloader), a Git LFS pointer, text, an archive of another kind;
where a trainer keeps JSON, what is not valid JSON.

Example: `wget` of a Drive link that saved the virus-scan warning page as `checkpoint`.

Cure: fetch the real file; for a Git LFS pointer run `git lfs pull`.

Source: the first bytes of the file; torch.load raises UnpicklingError on them.

F107 interrupted-migration error

An in-place migration of this file was cut off.

`migrate --in-place` writes a journal before it touches the file; the journal is still there. The old content is
whole in front of what was appended.

Example: the session died during `ckpt-doctor migrate --in-place --all`.

Cure: `ckpt-doctor undo FILE` takes the file back to what it was; running the migration again does so first.

Source: the journal beside the file.

F108 unfinished-write warning

A temporary file, or one that is still growing.

Its writer is still at work, or died before it could give the file its name. It is neither read for a resume nor
migrated.

Example: `last.pt.tmp` beside the checkpoints of a run that is training.

Cure: wait until it is written; if no process writes it any more, delete it.

Source: its name, or its size and time changing while it was read.

F109 byte-order-suspect error

The `byteorder` record does not fit the data, or a big-endian file lacks it.

`torch.load` swaps the bytes of every tensor when the record differs from the machine: with a wrong record all
weights become garbage, silently.

Example: a `byteorder` record that says `big` in a file whose float32 weights are plausible only as little-endian.

Cure: use another copy of the file.

Source: torch/serialization.py, `_load` (byteorder record, `set_default_load_endianness`).

F110 text-mode-damage error

Line endings were translated as if the file were text.

git with `autocrlf`, FTP in ASCII mode or an editor replaced line feeds; tensors are shifted and changed everywhere.

Example: a checkpoint committed to git without `*.pt binary`, checked out on Windows.

Cure: fetch the file again in binary mode; the translation cannot be reversed.

Source: the container's own markers with translated bytes.

F111 malformed-pickle error

The pickle that describes the checkpoint cannot be followed to its end.

The program is cut, or its bytes were changed: `torch.load` raises, or builds something else.

Example: a `data.pkl` whose bytes were overwritten by another file's.

Cure: use another copy of the file.

Source: CPython's pickletools, which documents every opcode.

F112 limit-exceeded error

The file asks for more memory, depth or time than a file of its size can need.

A decompression bomb, a memo index of four billion, a nesting without end: made to exhaust its reader. It was not
read further.

Example: a 2 KiB file that declares a string of 4 GiB.

Cure: don't load it; ask whoever made it.

Source: the limits are those of `ckpt_doctor.inert.limits`.

F113 name-conflict error

The archive's table of contents and its entries name different things.

Two readers of such a file see two different checkpoints: a scanner the harmless one, `torch.load` the other. No
program that writes checkpoints makes one. A flipped bit in the table of contents does: `torch.load` then refuses
the archive, or reads the wrong bytes. Where several processes saved to one path, or a copy over an older file broke
off, records have another checksum behind them than there. A dangerous pickle that stands in the archive and in no table
of contents is told here too: a reader that walks the entries runs it.

Example: the directory lists `checkpoint/data.pkl`, the entry there calls itself `checkpoint/other.pkl`.

Cure: don't load it; fetch the file again from a source that you trust.

Source: APPNOTE.TXT 4.3.7 and 4.3.12; PyTorch's reader follows the directory.

F115 name-mismatch error

The file is named `.safetensors` and is another container.

Programs choose the reader by this suffix, and safetensors' own refuses the file (`header too large`). Other
suffixes promise nothing: `.bin`, `.pt` and `.ckpt` hold any format.

Example: `torch.save(model.state_dict(), "model.safetensors")`.

Cure: rename the file to what it is (`.pt`), or write it with `safetensors.torch.save_file`.

Source: the first bytes of the file.

F117 compressed-records info

Records that hold tensors are compressed.

`torch.load` inflates them. With `mmap=True` it maps the file and takes the compressed bytes for the numbers:
other weights, without a word. torch never compresses; a zip program packed the archive anew.

Example: an unpacked checkpoint that was packed with `zip -r` instead of `zip -0 -r`.

Cure: load it without `mmap=True` and save it with `torch.save`.

Source: torch/serialization.py, `_load.<locals>.load_tensor` (the branch for `overall_storage`).
"""
"""The rules whose findings say what the readers saw: code, name (which is the damage's too), severity, manual."""


def _passed_on(code: str, name: str, severity: Severity, manual: str) -> Rule:
    def check(case: Case) -> Iterator[Problem]:
        fix = "ckpt-doctor undo FILE" if name == "interrupted-migration" else ""
        salvageable = name in ("truncated-archive", "missing-record")
        yield from damage_of(case, name, _salvage(case.checkpoint) if salvageable else fix)

    check.__doc__ = manual
    return Rule(code, name, severity, "file", None, check, damage=(name,))


def _table() -> Iterator[Rule]:
    parts = iter(re.split(r"^(F\d+) (\S+) (error|warning|info)$", _DAMAGE, flags=re.MULTILINE)[1:])
    for code, name, severity, manual in zip(parts, parts, parts, parts, strict=True):
        yield _passed_on(code, name, cast(Severity, severity), manual)


_ALONE = (corrupt_record, missing_part, unpacked_archive, unreadable_file)
RULES = tuple(sorted((*_table(), *_ALONE), key=lambda rule: rule.code))
