"""What a table of checkpoints shows of each: its name, its columns, and what comes of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ckpt_doctor.inert.counting import count_tensors
from ckpt_doctor.reports import text
from ckpt_doctor.types import Column, FileReport, RunReport


def step(file: FileReport) -> str:
    """The step that the file tells; Adam's where its trainer keeps no count of its own."""
    state = file.member.state
    return text.integer(state.global_step if "step" in file.member.places else state.optimizer_step)


def schedule(file: FileReport) -> str:
    """The scheduler's position, `idle` where an uninterrupted run never steps it."""
    state = file.member.state
    if state.last_epoch == 0 and file.resume_point.last_epoch == 0 and state.global_step:
        return "idle"
    return text.integer(state.last_epoch)


OF_A_TRAINER = (
    Column("role", lambda file: file.member.role or "-", droppable=5),
    Column("size", lambda file: text.size(file.checkpoint.size), True, 4),
    Column("epoch", lambda file: text.integer(file.member.state.epoch), True),
    Column("step", step, True),
    Column("schedule", schedule, True, 2),
)
"""What matters in a file that a trainer will resume from, whichever it is."""
OF_ANY_FILE = (
    Column("format", lambda file: file.checkpoint.container),
    Column("holds", lambda file: file.checkpoint.layout, droppable=1),
    Column("tensors", lambda file: text.integer(count_tensors(file.checkpoint)), True, 2),
    Column("size", lambda file: text.size(file.checkpoint.size), True),
)
"""What there is to say of a file that no known trainer wrote."""


def columns(run: RunReport) -> tuple[Column, ...]:
    """The columns that say something of the files of a run, between their names and what comes of them."""
    return (*OF_A_TRAINER, *run.terms.columns) if run.run.trainer else OF_ANY_FILE


def outcomes(run: RunReport) -> tuple[Column, ...]:
    """The columns that say what comes of the files: the last is the verdict, in a word."""
    verdict = Column("verdict", lambda file: file.outlook)
    return (Column("resume", lambda file: file.resume), verdict) if run.run.trainer else (verdict,)


def label(file: FileReport, run: Path) -> str:
    """What a file is called within its run: its path, or its folder's where the trainer gives each file one."""
    path = file.checkpoint.path
    if file.member.role == "step" and path.parent != run:
        path = path.parent
    with suppress(ValueError):  # it lies elsewhere
        path = path.relative_to(run)
    whole = file.checkpoint.path
    return text.clean(path if path.name else whole.name or whole.absolute().name)


def about(file: FileReport, run: RunReport) -> str:
    """`saved by save_steps at step 18,000, 3.1 GiB`."""
    step = file.member.state.global_step
    checkpoint = file.checkpoint
    form = f"{checkpoint.container}, {checkpoint.layout}" if checkpoint.container != "unknown" else "of no known format"
    saved = run.terms.saved_by.get(file.member.role or "", form)
    where = f" at step {text.integer(step)}" if step is not None else ""
    return f"{saved}{where}, {text.size(file.checkpoint.size)}"
