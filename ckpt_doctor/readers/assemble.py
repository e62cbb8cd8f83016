"""Puts together what a container's reader found into a `Checkpoint`."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import Any

from ckpt_doctor.inert import limits
from ckpt_doctor.inert.pickle_machine import Reading
from ckpt_doctor.inert.tensor_list import find_tensors, layout
from ckpt_doctor.readers.file_view import FileView
from ckpt_doctor.readers.programs import Programs, read_program
from ckpt_doctor.readers.safety import assess, classify
from ckpt_doctor.readers.symptoms import maybe_unfinished, text_mode, unfinished_write
from ckpt_doctor.types import Checkpoint, Container, Damage, Global, Layout, Migration, NotChecked, Program, TensorInfo

_BROKEN = frozenset({"truncated-archive", "missing-record", "malformed-pickle", "not-a-checkpoint", "name-conflict"})
"""What translated line endings look like to a reader."""


@dataclass
class Content:
    """A checkpoint in the making."""

    container: Container
    root: object = None
    tensors: tuple[TensorInfo, ...] = ()
    inner: tuple[TensorInfo, ...] = ()
    globals: tuple[Global, ...] = ()
    damage: list[Damage] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    program: Program | None = None
    migrations: tuple[Migration, ...] = ()
    checksums: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    """Reasons other than a name for which `torch.load(weights_only=True)` refuses the file."""

    def add(self, reading: Reading, programs: Programs) -> None:
        """The describing pickle and what all pickles of the file name."""
        self.root = reading.root
        self.tensors, self.inner, damage = find_tensors(reading.root)
        self.globals = tuple(programs.globals.values())
        self.damage += programs.damage
        self.damage += damage
        self.refusals += programs.refusals


def checkpoint(view: FileView, content: Content) -> Checkpoint:
    """The finished value, judged for what loading it would run."""
    _take_up_hidden(view, content)
    if content.container != "safetensors" or content.globals:
        content.damage += assess(content.container, content.globals, content.refusals)
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
    if content.container in ("unknown", "safetensors", "torch-tar"):
        _take_up_start(view, content)
    from ckpt_doctor.readers.torch_zip import appended_pickles  # which puts its own results together here

    hidden = classify(appended_pickles(view)).get("dangerous")
    if hidden:
        content.globals = tuple(dict.fromkeys([*content.globals, *hidden]))
        message = "a zip archive hides at the end of the file: readers differ in which of the two they take"
        content.damage.append(Damage("name-conflict", message))


def _take_up_start(view: FileView, content: Content) -> None:
    """A file of another kind may be a pickle from its first byte as well, which a loader runs before it notices.

    Most stop being one after a few bytes. Of what it names only what is dangerous counts.
    """
    count = 1 << 16
    while True:
        programs, data = Programs(), view.read_at(0, count)
        reading = read_program(programs, data, 0, None, "")
        if not reading.ran_out or len(data) < count or count >= limits.MAX_PROGRAM_BYTES:
            break
        count *= 8
    hidden = classify(programs.globals.values()).get("dangerous")
    if hidden:
        content.globals = tuple(dict.fromkeys([*content.globals, *hidden]))


def _symptoms(view: FileView, content: Content) -> list[Damage]:
    """The damage with its probable cause in front."""
    damage = content.damage
    if not stat.S_ISREG(view.mode):
        return damage
    kinds = {item.kind for item in damage}
    if kinds & _BROKEN and not any(item.message.startswith("this is text") for item in damage):
        cause = text_mode(view)
        if cause is not None:
            # Of what the mangled pickle seems to say, only names that remain dangerous are worth telling
            named = [item for item in damage if item.kind == "dangerous-global" and item.found is not None]
            return [cause, *named]
    if "truncated-archive" in kinds:
        content.not_checked += maybe_unfinished(view)
    return [*unfinished_write(view), *damage]
