"""Any training command, killed anywhere, resumed or not: what is said of its files is true, repaired they are right.

The matrix has chosen cells; here hypothesis chooses the command and its fate. The truth is the same command, never
interrupted: the rates of its next step, and EarlyStopping replayed over the validations that led to the file (after an
unrepaired resume they are no longer the uninterrupted run's).
"""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import reference_trainer as trainer
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ckpt_doctor import check_resume, migrate
from tests.equivalence.comparison import replay

RATES = {"R501", "R502", "R504"}
STOPPING = {"E601", "E605", "E606"}
TOLD = 6e-8
"""As near as a loss from the log's 7 decimals must be."""


@dataclass(frozen=True)
class Fate:
    """A training command, and what happens to it."""

    generation: str
    lradj: str
    train_steps: int
    train_epochs: int
    save_steps: int
    learning_rate: float
    pct_start: float
    losses: tuple[float, ...]
    """Added to the validation losses."""
    killed: tuple[float, ...]
    """How far each attempt comes, as a part of what is left; the next one resumes from its newest step checkpoint."""
    log: bool
    """Whether the log is still there."""

    def argv(self, root: Path) -> list[str]:
        """The command line, in a folder of its own."""
        options = f"--generation {self.generation} --lradj {self.lradj} --train_steps {self.train_steps}"
        options += f" --train_epochs {self.train_epochs} --save_steps {self.save_steps} --batch_size 2"
        options += (
            f" --learning_rate {self.learning_rate} --pct_start {self.pct_start} --checkpoints {root}/checkpoints"
        )
        return [*options.split(), "--vali-offsets", *map(str, self.losses)]


@st.composite
def fates(draw: st.DrawFn) -> Fate:
    steps, epochs = draw(st.integers(3, 9)), draw(st.integers(2, 5))
    pct_start = draw(st.sampled_from((0.2, 0.3, 0.5)))
    assume(pct_start * steps * epochs > 2)  # below that OneCycleLR divides by zero
    return Fate(
        draw(st.sampled_from(("first-patch", "complete"))),
        draw(st.sampled_from(trainer.LRADJ)),
        steps,
        epochs,
        draw(st.integers(2, steps + 2)),
        draw(st.sampled_from((0.01, 0.001, 0.02))),
        pct_start,
        tuple(draw(st.lists(st.sampled_from((0.0, 0.3, 0.6, -0.1)), min_size=epochs, max_size=epochs))),
        tuple(draw(st.lists(st.floats(0, 1), min_size=1, max_size=2))),
        draw(st.booleans()),
    )


def train(fate: Fate, root: Path) -> tuple[Path, dict[Path, list[float]]]:
    """Make all attempts of the fate. Returns the run folder, and for each file the validation losses that led to it."""
    log, reached, more = io.StringIO(), 0, []
    run = root / "checkpoints" / trainer.run_name(trainer.parse(fate.argv(root)))
    history: dict[Path, list[float]] = {}
    before: list[float] = []
    for part in fate.killed:
        reached += 1 + int(part * (fate.train_steps * fate.train_epochs - reached - 1))
        trace = trainer.run(trainer.parse([*fate.argv(root), *more, "--stop-after-step", str(reached)]), log=log)
        for save in trace.saves:
            done = [epoch.vali_loss for epoch in trace.epochs if epoch.global_step <= save.global_step]
            history[Path(save.path)] = [*before, *done]
        mid_epoch = [step for step in map(step_of, run.glob("checkpoint_step_*")) if step % fate.train_steps]
        if not mid_epoch or reached >= fate.train_steps * fate.train_epochs - 1:
            break
        # An epoch's last step would skip its validation, and the run would no longer be the uninterrupted one.
        newest = run / f"checkpoint_step_{max(mid_epoch)}"
        more, before = ["--resume_from_checkpoint", str(newest)], history[newest / "checkpoint.pt"]
    if fate.log:
        (root / "logs").mkdir()
        (root / "logs" / "train_none_20260126_120000.log").write_text(log.getvalue())
    return run, history


def step_of(folder: Path) -> int:
    return int(folder.name.rpartition("_")[2])


@dataclass(frozen=True)
class Held:
    """What a file holds, or should hold."""

    lr: float
    beta1: float
    best_score: float | None
    counter: int

    def rates_differ(self, truth: Held) -> bool:
        return (self.lr, self.beta1) != (pytest.approx(truth.lr, rel=1e-9), pytest.approx(truth.beta1, rel=1e-9))

    def stopping_differs(self, truth: Held) -> bool:
        if None in (self.best_score, truth.best_score):
            return self.best_score is not truth.best_score
        return abs(self.best_score - truth.best_score) > TOLD or self.counter != truth.counter


def held(file: Path) -> tuple[Held, int]:
    """The file's own, and its `global_step`."""
    ckpt = torch.load(file, weights_only=False)
    group = ckpt["optimizer"]["param_groups"][0]
    return Held(group["lr"], group["betas"][0], ckpt.get("best_score"), ckpt.get("counter", 0)), ckpt["global_step"]


def examine(fate: Fate, root: Path) -> None:
    """Train, and compare all that is said and done with the truth."""
    whole = trainer.run(trainer.parse(fate.argv(root / "whole")), log=io.StringIO())
    run, history = train(fate, root)
    files = [p for p in (run / "checkpoint", *run.glob("checkpoint_step_*/checkpoint.pt")) if p.exists()]
    truth: dict[Path, Held] = {}
    unvalidated = set()
    for file in files:
        before, step = held(file)
        if step >= len(whole.steps):
            continue
        at, (best_score, _, counter) = whole.steps[step], replay(tuple(history[file]))
        truth[file] = Held(at.lr[0], at.beta1[0], best_score, counter)
        if file.parent != run and step % fate.train_steps == 0:
            unvalidated.add(file)
        check = check_resume(file)
        codes = {finding.code for finding in check.findings if finding.severity != "info"}
        open_points = [point for point in check.file.not_checked if point.settle != "--deep"]
        assert not [finding for finding in check.findings if finding.severity == "error"], file
        if codes & RATES or not open_points:
            assert before.rates_differ(truth[file]) == bool(codes & RATES), (file, codes)
        if file not in unvalidated and (codes & STOPPING or not open_points):
            assert before.stopping_differs(truth[file]) == bool(codes & STOPPING), (file, codes)
    for result in migrate([run]) if files else ():
        if result.path not in truth or result.refusals:
            continue
        after = held(result.path)[0]
        if not [p for p in check_resume(result.path).file.not_checked if p.settle != "--deep"]:
            assert not after.rates_differ(truth[result.path]), result
            assert result.path in unvalidated or not after.stopping_differs(truth[result.path]), result


def _property(examples: int):
    @settings(max_examples=examples)
    @given(fates())
    def check(fate: Fate) -> None:
        with tempfile.TemporaryDirectory() as folder:
            examine(fate, Path(folder))

    return check


def test_what_is_said_is_true_and_what_is_repaired_is_right() -> None:
    """A few commands and fates."""
    _property(3)()


@pytest.mark.long
def test_what_is_said_is_true_and_what_is_repaired_is_right_for_many() -> None:
    """Hundreds of them."""
    _property(300)()
