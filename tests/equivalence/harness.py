"""Runs of the reference trainer that were interrupted, ready to be resumed.

    cell = copy(cells.get(Spec("complete", "TST", "mid-epoch")), tmp_path)   # run folder, checkpoint, log
    divergences(resume(cell), cell)                                          # {"lr", "beta1", "loss", "vali-loss"}

A `Spec` names one way of being interrupted; `Cells` makes it real, once per session, along with the run of the same
command that was never interrupted.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import reference_trainer as trainer
import torch
from reference_trace import Start, Trace

from ckpt_doctor.types import FileReport
from tests.equivalence.comparison import divergences, label, replay
from tests.sampled import sampled

FIXTURES = Path(__file__).parents[2] / "fixtures"

LOG = "train_{}_20260126_120000.log"
EPOCHS, TRAIN_STEPS, PATIENCE = 6, 12, 3
# Saved as best after epochs 1, 3 and 6, and worse in between: at the resume points below EarlyStopping has something to
# remember (counter 1), a best file has something stale in it, and a run that forgot would overwrite a better model.
VALI_OFFSETS = (0.0, 0.5, -0.1, 0.5, 0.4, -0.15)

GENERATIONS = ("legacy", "first-patch", "first-patch-old", "complete")
"""`first-patch-old` is the form that writes `epoch` instead of `epoch + 1` into a best file."""
KINDS = ("first-epoch", "mid-epoch", "epoch-end", "in-validation", "best", "second", "second-best")
POSITIONS = {
    "first-epoch": 6,
    "mid-epoch": 54,
    "epoch-end": 48,
    "in-validation": 48,
    "best": 36,
    "beside-best": 36,
    "after-best": 42,
}
"""Optimizer steps of one process behind the file that is resumed: epochs 1, 5, 4 (its last step), 4, 3, 3 and 4."""
BEST = ("best", "second-best")
"""The kinds that resume from EarlyStopping's file."""
FIRST_INTERRUPTION = 18
"""Where `second` and `second-best` were interrupted and resumed before: in the middle of epoch 2."""


@dataclass(frozen=True)
class Spec:
    """One way of being interrupted.

    kind:
    - `first-epoch`, `mid-epoch`: resumed from a step file saved in the middle of an epoch.
    - `epoch-end`: from a step file of an epoch's last step; killed later, so that the log has that epoch's validation.
    - `in-validation`: the same file, but killed before that validation was done.
    - `best`: from EarlyStopping's file.
    - `after-best`, `beside-best`: as `mid-epoch` and `epoch-end`, in the epoch that follows a best file, and in the one
      that it was saved behind (not in the matrix).
    - `second`, `second-best`: as `mid-epoch` and `best`, in a run that had been interrupted and resumed before.
    """

    generation: str
    lradj: str
    kind: str
    world_size: int = 1
    shuffle: bool = False
    dropout: float = 0.0

    def __str__(self) -> str:
        extras = [f"W{self.world_size}"] * (self.world_size > 1) + ["shuffle"] * self.shuffle
        return "-".join([self.generation, self.lradj, self.kind, *extras, *["dropout"] * bool(self.dropout)])


def _matrix() -> Iterator[Spec]:
    for generation, lradj, kind in itertools.product(GENERATIONS, trainer.LRADJ, KINDS):
        if generation != "legacy" or kind in ("best", "second"):  # that trainer wrote no step files
            yield Spec(generation, lradj, kind)
    for generation, lradj in itertools.product(("first-patch", "complete"), ("TST", "COS", "type1")):
        for kind in ("first-epoch", "mid-epoch", "epoch-end", "best", "second"):
            yield Spec(generation, lradj, kind, world_size=2)


MATRIX = tuple(_matrix())


def parameters(specs: tuple[Spec, ...] = MATRIX) -> list:
    """The specs as pytest parameters with readable ids; all but the most telling are marked `long`."""
    return sampled(specs, *filter(_telling, specs), ids=True)


_MOST_TELLING = {
    *(("TST", kind) for kind in ("mid-epoch", "best")),
    *(("COS", kind) for kind in ("epoch-end", "second")),
    ("type1", "mid-epoch"),
}
"""Of the complete trainer: each kind, and each mode."""


def _telling(spec: Spec) -> bool:
    if spec.lradj not in ("TST", "COS", "type1") or spec.world_size > 1:
        return False  # type1 speaks for the idle modes
    if spec.generation != "complete":
        return spec.kind == "best" and spec.lradj == "type1"
    return (spec.lradj, spec.kind) in _MOST_TELLING


@dataclass(frozen=True)
class Cell:
    """An interrupted run on disk, and what it would have been."""

    spec: Spec
    root: Path
    """Holds `checkpoints/<run>/` and `logs/`, as the working folder of the training did."""
    path: Path
    """The file to resume from."""
    log: Path
    argv: tuple[str, ...]
    """The training command, without `--checkpoints` and what has it killed."""
    reference: Trace
    """The same command, never interrupted."""
    position: int
    """Optimizer steps behind the weights in the file (per process)."""
    history: tuple[float, ...]
    """The validation losses behind it, in order; after an earlier resume not the uninterrupted run's."""
    pending: float | None = None
    """`epoch-end`: the validation loss of the epoch that the file ends. It came after the file, and is in the log."""
    inherited: frozenset[str] = frozenset()
    """What had diverged before the file was written, by an earlier resume; no edit of the file takes that back."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch and process; the trainer itself reckons with `TRAIN_STEPS`."""
        return TRAIN_STEPS // self.spec.world_size

    @property
    def expected(self) -> Start:
        """Where an uninterrupted run stands: its next batch, the steps done, and what EarlyStopping remembers."""
        steps = self.reference.steps
        epoch, i = label(steps[self.position]) if self.position < len(steps) else (EPOCHS, 0)
        return Start(epoch, i, self.position, *replay(self.history))


# --- running ---------------------------------------------------------------------------------------------------------


class Ranks:
    """Two live ranks of the trainer on one machine (gloo), so that a job costs its steps and not the start of torch."""

    def __init__(self, world_size: int) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = str(s.getsockname()[1])
        shared = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        self.processes = [
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("rank.py")), str(FIXTURES)],
                env=os.environ | shared | {"RANK": str(r), "LOCAL_RANK": str(r), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for r in range(world_size)
        ]

    def run(self, argv: list[str], log: Path) -> Trace:
        """The trace of rank 0."""
        for process in self.processes:
            process.stdin.write(json.dumps({"argv": argv, "log": str(log)}) + "\n")
            process.stdin.flush()
        answers = [process.stdout.readline() for process in self.processes]
        return Trace.from_json(answers[0])

    def close(self) -> None:
        """End the ranks."""
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            process.wait(timeout=30)
            process.stdout.close()


_ranks: dict[int, Ranks] = {}


def close_ranks() -> None:
    """End all live ranks; for the end of the session."""
    while _ranks:
        _ranks.popitem()[1].close()


def execute(argv: tuple[str, ...], root: Path, log: Path, world_size: int = 1, **stop: int) -> Trace:
    """One process (or one per rank) of the trainer in `root`, its output appended to `log` as `tee -a` does."""
    flags = [x for name, value in stop.items() for x in (f"--{name.replace('_', '-')}", str(value))]
    command = [*argv, "--checkpoints", str(root / "checkpoints"), *flags]
    log.parent.mkdir(parents=True, exist_ok=True)
    if world_size > 1:
        if world_size not in _ranks:
            _ranks[world_size] = Ranks(world_size)
        return _ranks[world_size].run(command, log)
    text = io.StringIO()
    trace = trainer.run(trainer.parse(command), log=text)
    with log.open("a") as file:
        file.write(text.getvalue())
    return trace


def copy(cell: Cell, root: Path) -> Cell:
    """The same cell in another folder, to be repaired or resumed there; the original stays what it was."""
    shutil.copytree(cell.root, root)
    return replace(
        cell, root=root, path=root / cell.path.relative_to(cell.root), log=root / cell.log.relative_to(cell.root)
    )


def resume(cell: Cell, flags: tuple[str, ...] = (), *, generation: str | None = None, **stop: int) -> Trace:
    """Resume from the cell's file, in the cell's folder (use a `copy`), with the trainer that wrote it.

    A bare state_dict is resumed by the complete trainer: the legacy one can't, and the first patch's doesn't read it.
    `flags` come last on the command line and win; `generation` is another trainer to resume with.
    """
    own = "complete" if cell.spec.generation == "legacy" else cell.spec.generation.removesuffix("-old")
    who = ("--generation", generation or own, "--resume_from_checkpoint", str(cell.path))
    return execute((*cell.argv, *who, *flags), cell.root, cell.log, cell.spec.world_size, **stop)


def codes(file: FileReport) -> set[str]:
    """What is found in a file, but for what is only told."""
    return {finding.code for finding in file.findings if finding.severity != "info"}


def edit(cell: Cell, change: Callable[[dict], object]) -> None:
    """Rewrite the cell's file with torch after `change` has had its way with it (for `copy`s only)."""
    file = torch.load(cell.path, map_location="cpu", weights_only=False)
    change(file)
    torch.save(file, cell.path)


class Cells:
    """The interrupted runs, each made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._cells: dict[Spec, Cell] = {}
        self._references: dict[Spec, Trace] = {}
        self._resumed: dict[tuple[Spec, str | None], Trace] = {}

    def get(self, spec: Spec) -> Cell:
        """The cell of this spec. Shared by the session: resume or repair a `copy` of it."""
        if spec not in self._cells:
            self._cells[spec] = self._second(spec) if spec.kind.startswith("second") else self._first(spec)
        return self._cells[spec]

    def resumed(self, spec: Spec, *, generation: str | None = None) -> tuple[Cell, Trace]:
        """The cell, and what its run did when it was resumed as it is (by `generation`, as `resume` has it)."""
        cell = self.get(spec)
        if (spec, generation) not in self._resumed:
            scratch = copy(cell, self._folder(f"{spec}-resumed"))
            self._resumed[spec, generation] = resume(scratch, generation=generation)
        return cell, self._resumed[spec, generation]

    def _folder(self, name: str) -> Path:
        return next(p for n in itertools.count() if not (p := self.root / f"{name}-{n}").exists())

    def _reference(self, spec: Spec) -> Trace:
        key = replace(spec, generation="complete", kind="uninterrupted")
        if key not in self._references:
            root = self._folder(str(key))
            self._references[key] = execute(command(key), root, root / "logs" / "train.log", spec.world_size)
        return self._references[key]

    def _first(self, spec: Spec) -> Cell:
        root = self._folder(str(spec))
        log = root / "logs" / LOG.format(spec.lradj)
        argv, reference = command(spec), self._reference(spec)
        position = POSITIONS[spec.kind] // spec.world_size
        if spec.kind == "in-validation":
            trace = execute(argv, root, log, spec.world_size, stop_in_validation=POSITIONS[spec.kind] // TRAIN_STEPS)
        else:
            trace = execute(argv, root, log, spec.world_size, stop_after_step=position + 2)
        return _cell(spec, root, log, argv, reference, [trace], position)

    def _second(self, spec: Spec) -> Cell:
        """Interrupted, resumed as a user would, interrupted again."""
        final = "best" if spec.kind == "second-best" else "mid-epoch"
        position = POSITIONS[final] // spec.world_size
        if spec.generation == "legacy":
            # What starts from bare weights is a run of its own: the one to compare with is that run, uninterrupted.
            first, reference = self.resumed(replace(spec, kind="best"))
            earlier = []
        else:
            place = FIRST_INTERRUPTION // spec.world_size
            root = self._folder(f"{spec}-first")
            log, argv, reference = root / "logs" / LOG.format(spec.lradj), command(spec), self._reference(spec)
            earlier = [execute(argv, root, log, spec.world_size, stop_after_step=place + 2)]
            first = _cell(replace(spec, kind="mid-epoch"), root, log, argv, reference, earlier, place)
        again = copy(first, self._folder(str(spec)))
        trace = resume(again, stop_after_step=position + 2)
        cell = _cell(spec, again.root, again.log, first.argv, reference, [*earlier, trace], position)
        return replace(cell, inherited=frozenset(divergences(trace, first)) if earlier else frozenset())


def command(spec: Spec) -> tuple[str, ...]:
    argv = ["--generation", spec.generation.removesuffix("-old"), "--lradj", spec.lradj, "--model_comment", spec.lradj]
    argv += ["--best-epoch", "epoch"] if spec.generation.endswith("-old") else []
    argv += ["--train_epochs", str(EPOCHS), "--train_steps", str(TRAIN_STEPS), "--patience", str(PATIENCE)]
    argv += ["--save_steps", str(6 // spec.world_size), "--save_total_limit", "3"]
    argv += ["--vali-offsets", *map(str, VALI_OFFSETS), "--dropout", str(spec.dropout)]
    return (*argv, "--shuffle") if spec.shuffle else tuple(argv)


def _cell(
    spec: Spec, root: Path, log: Path, argv: tuple[str, ...], reference: Trace, traces: list[Trace], position: int
) -> Cell:
    """The cell that the last of `traces` (one per process, in order) left behind."""
    last = traces[-1]
    assert last.killed, last.error
    run = root / "checkpoints" / trainer.run_name(trainer.parse(argv))
    best = spec.kind in BEST
    path = run / "checkpoint" if best else run / f"checkpoint_step_{position}" / "checkpoint.pt"
    saved = [save for save in last.saves if Path(save.path) == path][-1]
    epochs = [e for trace in traces for e in trace.epochs]
    behind = [e.vali_loss for e in epochs if e.global_step < position or (best and e.global_step == position)]
    pending = [e.vali_loss for e in epochs if e.global_step == position and not best]
    return Cell(
        spec, root, path, log, argv, reference, saved.global_step, tuple(behind), pending[0] if pending else None
    )
