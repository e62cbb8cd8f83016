"""Puts together what a container's reader found into a `Checkpoint`."""

from __future__ import annotations

import stat
from dataclasses import field
from typing import Any

from ckpt_doctor.inert.pickle_machine import Reading
from ckpt_doctor.inert.tensor_list import find_tensors, layout
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.payloads import appended_pickles
from ckpt_doctor.readers.programs import Programs, read_disguised
from ckpt_doctor.readers.safety import assess, classify
from ckpt_doctor.readers.symptoms import maybe_unfinished, text_mode, unfinished_write
from ckpt_doctor.types import (
    Checkpoint,
    Container,
    Damage,
    Global,
    Layout,
    MigrationRecord,
    NotChecked,
    Program,
    TensorInfo,
)
from ckpt_doctor.types.record import record

_BROKEN = frozenset({"truncated-archive", "missing-record", "malformed-pickle", "not-a-checkpoint", "name-conflict"})
"""What translated line endings look like to a reader."""


@record
class Content:
    """A checkpoint in the making."""

    container: Container
    root: object = None
    tensors: tuple[TensorInfo, ...] = ()
    inner: tuple[TensorInfo, ...] = ()
    globals: tuple[Global, ...] = ()
    calls: tuple[Global, ...] = ()
    damage: list[Damage] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    program: Program | None = None
    migrations: tuple[MigrationRecord, ...] = ()
    checksums: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    """Reasons other than a name for which `torch.load(weights_only=True)` refuses the file."""

    def add(self, reading: Reading, programs: Programs) -> None:
        """The describing pickle and what all pickles of the file name."""
        self.root = reading.root
        self.tensors, self.inner, damage = find_tensors(reading.root)
        self.take_names(programs)
        self.damage += programs.damage
        self.damage += damage
        self.refusals += programs.refusals

    def take_names(self, programs: Programs) -> None:
        """What the pickles of the file name and call."""
        self.globals = tuple(programs.globals.values())
        self.calls = tuple(programs.calls.values())

    def take_alarming(self, programs: Programs) -> bool:
        """Of pickles that only some reader runs: names that are dangerous, and what is called; whether any is."""
        hidden = classify(programs.globals.values()).get("dangerous", [])
        self.globals = tuple(dict.fromkeys([*self.globals, *hidden]))
        self.calls = tuple(dict.fromkeys([*self.calls, *programs.calls.values()]))
        return bool(hidden)


def checkpoint(view: FileView, content: Content) -> Checkpoint:
    """The finished value, judged for what loading it would run."""
    _take_up_hidden(view, content)
    if content.container != "safetensors" or content.globals or content.calls:
        names, calls = content.globals, content.calls
        content.damage += assess(content.container, names, calls, content.refusals)
    if view.path.suffix.lower() == ".safetensors" and content.container not in ("safetensors", "unknown"):
        message = f"it is named .safetensors and is a {content.container} file: readers that go by the name refuse it"
        content.damage.insert(0, Damage("name-mismatch", message, found=content.container, expected="safetensors"))
    content.damage = _symptoms(view, content)
    kind: Layout = layout(content.root)
    return Checkpoint(
        path=view.path,
        size=view.size,
        container=content.container,
        layout=kind,
        root=content.root,
        tensors=content.tensors,
        inner=content.inner,
        globals=content.globals,
        damage=tuple(content.damage),
        not_checked=tuple(content.not_checked),
        stamp=view.stamp,
        program=content.program,
        migrations=content.migrations,
        checksums=content.checksums,
        metadata=content.metadata,
        bytes_read=view.bytes_read,
    )


def _take_up_hidden(view: FileView, content: Content) -> None:
    """An archive at the end of a file of another kind: some readers look nowhere else.

    Of its names only the dangerous ones count: healthy pickles hold whole archives as bytes.
    """
    if not stat.S_ISREG(view.mode) or view.read_at(0, 2) == b"PK":
        return
    if content.container in ("unknown", "safetensors", "torch-tar", "distcp"):
        programs = Programs()  # from its first byte it may be a pickle as well
        read_disguised(programs, lambda count: view.read_at(0, count))
        content.take_alarming(programs)
    if content.take_alarming(appended_pickles(view)):
        message = "the file ends with a zip archive: readers do not agree which of the two they read"
        content.damage.append(Damage("name-conflict", message))


def _symptoms(view: FileView, content: Content) -> list[Damage]:
    """The damage with its probable cause in front."""
    damage = content.damage
    if not stat.S_ISREG(view.mode):
        return damage
    kinds = {item.kind for item in damage}
    readable = content.container in ("torch-zip", "torchscript") and "truncated-archive" not in kinds
    if kinds & _BROKEN and not readable and not any(item.message.startswith("this is text") for item in damage):
        cause = text_mode(view, content.globals)
        if cause is not None:
            # Of what the mangled pickle seems to say, only names that remain dangerous are worth telling
            named = [item for item in damage if item.kind == "dangerous-global" and item.found is not None]
            return [cause, *named]
    if "truncated-archive" in kinds:
        content.not_checked += maybe_unfinished(view)
    return [*unfinished_write(view), *damage]
