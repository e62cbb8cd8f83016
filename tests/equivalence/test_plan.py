"""What is said of a file before the resume, beside what the trainer then does.

Two promises, for every way of being interrupted. The plan is what happens. And the findings name the divergences: none
without its finding, no finding without its divergence. Where the evidence does not tell, nothing is said but what is
not known, and which option would settle it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from reference_trace import Trace

from ckpt_doctor import audit
from ckpt_doctor.types import Evidence, FileReport, Given
from tests.equivalence import harness
from tests.equivalence.comparison import CONSEQUENCES, divergences
from tests.equivalence.harness import EPOCHS, PATIENCE, TRAIN_STEPS, Cell, Cells, Spec

PLACE = frozenset({"start", "repeated", "skipped"})
RATE = frozenset({"first-rate", "beta1"})
STOPPING = frozenset({"early-stopping", "val-loss-min"})

NAMES: Mapping[str, frozenset[str]] = {
    "L301": PLACE,
    "P402": PLACE,
    "P405": frozenset({"validation"}),
    # An epoch of which every batch is skipped still moves the schedule, which makes up for its lag.
    "R501": RATE | {"skipped"},
    "R502": RATE,
    "R504": RATE | {"skipped"},
    "R506": frozenset({"later-rate"}),
    "E601": STOPPING,
    "E603": frozenset({"val-loss-min"}),
    # Of an epoch-end file: the validation that came after it. It is lost, or the whole epoch is made again.
    "E605": frozenset({"early-stopping", "validation", "repeated"}),
    "E606": frozenset({"early-stopping"}),
}
"""Code -> the divergences that it names; one of them must happen."""

FOLLOWS: Mapping[str, frozenset[str]] = {
    "L301": RATE | STOPPING | {"later-rate", "global-step"},
    "P402": frozenset({"data", "later-rate"}),
    "R501": frozenset({"later-rate"}),
    "R502": frozenset({"later-rate"}),
    "R504": frozenset({"later-rate"}),
}
"""Code -> what then happens as well."""

LEFT_OPEN: Mapping[str, frozenset[str]] = {
    "--steps-per-epoch": PLACE | RATE | {"data", "later-rate", "validation"},
    "--world-size": PLACE | RATE | {"data", "later-rate", "validation"},
    "--lradj": RATE | {"later-rate"},
}
"""Option that is named as what would settle it -> the divergences that may then stay unsaid."""


@dataclass(frozen=True)
class Said:
    """What a check says of a cell's file."""

    file: FileReport
    codes: frozenset[str]
    """Of the findings above info, those about the run included."""
    open: frozenset[str]
    """Options that would settle what was not checked."""


def say(cell: Cell, facts: Given | None = None) -> Said:
    report = audit.check(cell.path, facts=shuffling(cell, facts))
    (file,) = report.files
    codes = frozenset(finding.code for finding in report.findings if finding.severity != "info")
    settle = [item.settle for item in file.not_checked] + [f.where for f in report.findings if f.code == "P413"]
    return Said(file, codes, frozenset(settle) - {"--deep"})


def shuffling(cell: Cell, facts: Given | None) -> Given:
    """With what no file tells and Time-LLM's loaders do unless it is said: whether the run shuffles."""
    return {"shuffle": Evidence(cell.spec.shuffle, "--shuffle", given=True), **(facts or {})}


def given(**values: object) -> Given:
    """Facts as the command line gives them."""
    return {name: Evidence(value, f"--{name}", given=True) for name, value in values.items()}


def command(spec: Spec) -> Given:
    """What the training command of a cell says."""
    return given(
        steps_per_epoch=TRAIN_STEPS,
        train_epochs=EPOCHS,
        lradj=spec.lradj,
        patience=PATIENCE,
        world_size=spec.world_size,
    )


def observed(trace: Trace, cell: Cell) -> set[str]:
    """The divergences of a resumed run, with the rates divided: of the first batch, and of later epochs."""
    found = divergences(trace, cell) - CONSEQUENCES
    if "lr" in found:
        found.remove("lr")
        pairs = list(zip(trace.steps, cell.reference.steps[cell.position :], strict=False))
        first = trace.steps[0].epoch
        found |= {"first-rate"} if pairs[0][0].lr != pairs[0][1].lr else set()
        found |= {"later-rate"} if any(a.lr != b.lr for a, b in pairs if a.epoch > first) else set()
    return found


def assert_findings_are_divergences(said: Said, trace: Trace, cell: Cell, cells: Cells) -> None:
    if said.file.resume == "identical":
        assert set() == divergences(trace, cell)
    assert "P411" not in said.codes or "loss" in cell.inherited
    assert ("P413" in said.codes) == (said.file.resume == "open") or "P411" in said.codes
    codes = said.codes - {"P411", "P413"}
    happened = observed(trace, cell)
    if cell.spec.world_size > 1 and cell.spec.generation == "first-patch":
        # E601 sends these files to the trainer that reads best_score, which may begin elsewhere: that counts as well.
        happened |= PLACE & observed(cells.resumed(cell.spec, generation="complete")[1], cell)
    announced = frozenset().union(*(NAMES[code] | FOLLOWS.get(code, frozenset()) for code in codes))
    unsaid = frozenset().union(*(LEFT_OPEN.get(option, frozenset()) for option in said.open))
    assert set() == happened - announced - unsaid, "a divergence without its finding"
    if "--lradj" in said.open:
        codes -= {"R506"}  # said wherever a mode is possible that needs the flag
    assert set() == {code for code in codes if not NAMES[code] & happened}, "a finding without its divergence"


def assert_plan_is_what_happens(said: Said, trace: Trace, cell: Cell) -> None:
    plan, start, spec = said.file.plan, trace.start, cell.spec
    if "L301" in said.codes:
        assert plan is None
        return
    assert plan is not None
    assert plan.start_epoch == start.epoch or (plan.start_epoch is None and "--steps-per-epoch" in said.open)
    assert plan.skip_batches == start.skip or (plan.skip_batches is None and "--steps-per-epoch" in said.open)
    assert (start.global_step, start.best_score, start.counter) == (plan.global_step, plan.best_score, plan.counter)
    may_train_nothing = spec.world_size > 1 and (plan.skip_batches is None or start.skip >= cell.steps_per_epoch)
    assert plan.next_lr == trace.steps[0].lr[0] or (plan.next_lr is None and may_train_nothing)
    if plan.steps_left is not None and not any(epoch.stopped for epoch in trace.epochs):
        assert len(trace.steps) == plan.steps_left


def assert_true_or_open(said: Said, trace: Trace, cell: Cell, cells: Cells) -> None:
    """What is said is what happens; where the idle scheduler hides that there are two processes, that is open."""
    if cell.spec.world_size > 1 and cell.spec.lradj in ("type1", "type2", "type3", "PEMS", "constant"):
        assert {"--world-size", "--steps-per-epoch"} & said.open
        return
    assert_plan_is_what_happens(said, trace, cell)
    assert_findings_are_divergences(said, trace, cell, cells)


@pytest.mark.parametrize("spec", harness.parameters())
def test_a_run_folder_and_its_log_tell_what_the_trainer_will_do(cells: Cells, spec: Spec) -> None:
    """Nothing is given on the command line."""
    cell, trace = cells.resumed(spec)
    said = say(cell)
    assert_true_or_open(said, trace, cell, cells)


@pytest.mark.parametrize("spec", harness.parameters())
def test_with_the_training_command_given_nothing_is_left_open(cells: Cells, spec: Spec) -> None:
    """Every divergence has its finding, and every number of the plan is known."""
    cell, trace = cells.resumed(spec)
    said = say(cell, command(spec))
    assert set() == said.open
    assert_plan_is_what_happens(said, trace, cell)
    assert_findings_are_divergences(said, trace, cell, cells)


@pytest.mark.long
@pytest.mark.parametrize("spec", harness.parameters())
def test_without_a_log_what_is_said_is_true(cells: Cells, spec: Spec, tmp_path: Path) -> None:
    """The other checkpoints of the run are the only evidence."""
    cell, trace = cells.resumed(spec)
    alone = harness.copy(cell, tmp_path / "run")
    shutil.rmtree(alone.log.parent)
    said = say(alone)
    assert_true_or_open(said, trace, cell, cells)


@pytest.mark.long
@pytest.mark.parametrize("spec", harness.parameters())
def test_of_a_file_alone_what_is_said_is_true(cells: Cells, spec: Spec, tmp_path: Path) -> None:
    """No other checkpoint, no log: what `epoch` and `global_step` leave open stays open."""
    cell, trace = cells.resumed(spec)
    alone = harness.copy(cell, tmp_path / "run")
    shutil.rmtree(alone.log.parent)
    for other in [p for p in alone.path.parents[spec.kind not in harness.BEST].glob("**/checkpoint*") if p.is_file()]:
        if other != alone.path:
            other.unlink()
    said = say(alone)
    assert_true_or_open(said, trace, cell, cells)
