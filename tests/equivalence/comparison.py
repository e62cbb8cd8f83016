"""In which ways a resumed run is no longer the run that was interrupted.

Steps are compared by position: the k-th step after the resume with the step that the uninterrupted run made after the
same number of optimizer steps, whatever the file calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reference_trace import Step, Trace

    from tests.equivalence.harness import Cell


@dataclass(frozen=True)
class Divergence:
    """One way in which a resumed run is not the uninterrupted one, and where that shows first.

    name:
    - `error`: the trainer raised.
    - `start`: the first batch is not the one that comes next.
    - `skipped`, `repeated`: batches that were never trained, or twice.
    - `validation`: an epoch whose validation and EarlyStopping call never happen.
    - `global-step`: the step count does not go on from where it was (numbers of later step files, skip count).
    - `data`: other windows in a batch. `lr`, `beta1`: another rate.
    - `early-stopping`: at the start it remembers another best_score (by more than a log line's rounding) or counter.
    - `val-loss-min`: the same for `val_loss_min`, which decides nothing.
    - `overwrite`: `checkpoint` is overwritten by a model worse than the best one so far.

    These follow from what comes before, or from weights and moments that are not the uninterrupted run's:
    - `loss`, `vali-loss`: another loss, of a step or a validation.
    - `decisions`: EarlyStopping saves, counts or stops otherwise than the uninterrupted run's did in that epoch.
    """

    name: str
    where: str
    expected: object
    observed: object


CONSEQUENCES = frozenset({"overwrite", "loss", "vali-loss", "decisions"})


def divergences(trace: Trace, cell: Cell) -> set[str]:
    """The names of all divergences of a resumed run."""
    return {d.name for d in compare(trace, cell)}


def compare(trace: Trace, cell: Cell) -> list[Divergence]:
    """Each kind of divergence once, where it shows first."""
    found: dict[str, Divergence] = {}

    def differs(name: str, where: str, expected: object, observed: object) -> None:
        if expected != observed:
            found.setdefault(name, Divergence(name, where, expected, observed))

    differs("error", "resume", None, trace.error)
    if trace.error is None or trace.steps:
        _compare_steps(trace, cell, differs)
        _compare_early_stopping(trace, cell, differs)
    return list(found.values())


def label(step: Step) -> tuple[int, int]:
    return step.epoch, step.i


def _compare_steps(trace: Trace, cell: Cell, differs: Callable[..., None]) -> None:
    before, after = cell.reference.steps[: cell.position], cell.reference.steps[cell.position :]
    first, nxt = trace.steps[:1], after[:1]
    differs("start", "first batch", [*map(label, nxt)], [*map(label, first)])
    differs("global-step", "start", cell.position, trace.start.global_step)
    done = [label(s) for s in trace.steps]
    horizon = (cell.reference.steps[-1].epoch + 1, 0)
    if trace.epochs and trace.epochs[-1].stopped:
        horizon = (trace.epochs[-1].epoch, cell.steps_per_epoch)
    elif trace.killed:
        horizon = max(done, default=(0, -1))
    due = [label(s) for s in after if label(s) <= horizon]
    differs("skipped", "batches", [], sorted(set(due) - set(done)))
    differs("repeated", "batches", [], sorted(set(done) & set(map(label, before))))
    for k, (observed, reference) in enumerate(zip(trace.steps, after, strict=False)):
        where = f"step {cell.position + k + 1}"
        differs("data", where, reference.windows, observed.windows)
        differs("lr", where, reference.lr, observed.lr)
        differs("beta1", where, reference.beta1, observed.beta1)
        differs("loss", where, reference.loss, observed.loss)


def _compare_early_stopping(trace: Trace, cell: Cell, differs: Callable[..., None]) -> None:
    start, history = trace.start, cell.history
    if cell.pending is not None and start.epoch > len(history):
        # The epoch that the file ends was validated, after the file. Either the resumed run knows, or it never will.
        after = replay((*history, cell.pending))
        if start.best_score is None or (_agree(start.best_score, after[0]) and start.counter == after[2]):
            history = (*history, cell.pending)
    best_score, val_loss_min, counter = replay(history)
    if not _agree(best_score, start.best_score):
        differs("early-stopping", "best_score at the start", best_score, start.best_score)
    differs("early-stopping", "counter at the start", counter, start.counter)
    if not _agree(val_loss_min, start.val_loss_min):
        differs("val-loss-min", "at the start", val_loss_min, start.val_loss_min)

    reference, observed = cell.reference.epochs, [e.epoch for e in trace.epochs]
    due = [e.epoch for e in reference[len(history) :] if e.epoch <= max(observed, default=-1)]
    differs("validation", "epochs", [], [e for e in due if e not in observed])
    best = val_loss_min
    for epoch in trace.epochs:
        where = f"epoch {epoch.epoch}"
        differs("overwrite", where, False, epoch.saved and epoch.vali_loss > best)
        best = min(best, epoch.vali_loss)
        same = reference[epoch.epoch]
        differs("vali-loss", where, same.vali_loss, epoch.vali_loss)
        decision = (same.saved, same.counter, same.stopped)
        differs("decisions", where, decision, (epoch.saved, epoch.counter, epoch.stopped))


def _agree(a: float | None, b: float | None) -> bool:
    """Equal, or as near as a value read from the log's 7 decimals must be."""
    return a == b or (a is not None and b is not None and abs(a - b) <= 6e-8)


def replay(losses: tuple[float, ...]) -> tuple[float | None, float, int]:
    """EarlyStopping's best_score, val_loss_min and counter after these validation losses."""
    best, counter = float("inf"), 0
    for loss in losses:
        best, counter = (best, counter + 1) if loss > best else (loss, 0)
    return (-best if losses else None), best, counter
