"""Every cell of the resume matrix, repaired by the tool and resumed as `check` says: bit for bit the uninterrupted run.

Files of the first patch and bare state_dicts are resumed by the complete trainer, the one that reads `best_score`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ckpt_doctor import audit, migrate, undo
from ckpt_doctor.types import Evidence, FileReport, Given, MigrationResult
from tests.equivalence import harness
from tests.equivalence.comparison import CONSEQUENCES, divergences
from tests.equivalence.harness import Cell, Cells, Spec, codes
from tests.equivalence.test_plan import command, given, shuffling
from tests.sampled import sampled


@dataclass(frozen=True)
class Incurable:
    """Cells that no edit of the file brings back to the uninterrupted run."""

    cells: str
    reason: str
    left: frozenset[str]
    """The divergences that remain, consequences left out."""
    holds: Callable[[Cell], bool]
    codes: frozenset[str] = frozenset()
    """The findings that remain and say so."""


INCURABLE = (
    Incurable(
        "a step file of an epoch's last step, killed before that epoch was validated",
        "the validation stands in no file and no log, and no trainer makes up for it: should the epoch have been the "
        "best so far, `checkpoint` does not get it",
        frozenset({"validation"}),
        lambda cell: cell.spec.kind == "in-validation",
        frozenset({"P405"}),
    ),
    Incurable(
        "a run that was resumed before from a file that was not repaired (all modes in which that resume diverged)",
        "its weights and moments are those of the diverged run; rates and EarlyStopping are right again",
        frozenset(),
        lambda cell: "loss" in cell.inherited and cell.spec.world_size == 1,
        frozenset({"P411"}),
    ),
    Incurable(
        "the same on two processes, where that resume may have repeated batches, which no file shows",
        "its weights and moments are those of the diverged run; rates and EarlyStopping are right again",
        frozenset(),
        lambda cell: "loss" in cell.inherited and cell.spec.world_size > 1,
    ),
    Incurable(
        "two processes, in the middle of an epoch from the second on (first patch: at an epoch's end as well)",
        "the trainer takes its skip count from `global_step` and an epoch's length before Accelerate divides it: the "
        "right place needs a shifted `global_step`, and the later step folders' numbers are shifted with it",
        frozenset({"global-step"}),
        lambda cell: cell.position > cell.steps_per_epoch and not _skips_rightly(cell),
    ),
    Incurable(
        "a bare state_dict of the legacy trainer",
        "Adam's moments and param groups were never saved: a new optimizer begins without moments, and with its own "
        "rate for one batch (TST), one epoch (idle modes) or for good (COS computes each rate from the one before)",
        frozenset({"first-rate"}),
        lambda cell: cell.spec.generation == "legacy" and cell.spec.kind == "best",
        frozenset({"O702"}),
    ),
)
"""All there are: the tests below fail for a cell that is cured and stands here as for one that is not and doesn't."""


def _skips_rightly(cell: Cell) -> bool:
    """Whether the trainers begin at the right place with the true `global_step`, once `epoch` is right."""
    finished, batches = divmod(cell.position, cell.steps_per_epoch)
    skip, by_steps = cell.position % harness.TRAIN_STEPS, cell.position // harness.TRAIN_STEPS
    if cell.spec.generation == "complete":
        return batches == (0 if finished > by_steps else skip)
    return batches == skip == (0 if finished > by_steps else skip)


def reasons(cell: Cell) -> list[Incurable]:
    return [row for row in INCURABLE if row.holds(cell)]


def repair(cell: Cell, facts: Given | None, **options: object) -> list[MigrationResult]:
    """The run folder of a cell, repaired with everything that the findings call for."""
    return migrate([run_folder(cell)], facts=shuffling(cell, facts), **options)


def run_folder(cell: Cell) -> Path:
    return cell.path.parents[0 if cell.spec.kind in harness.BEST else 1]


def check(cell: Cell, facts: Given | None) -> FileReport:
    (file,) = audit.check(cell.path, facts=shuffling(cell, facts)).files
    return file


def facts_asked_for(cell: Cell) -> Given | None:
    """What the user gives: nothing, unless `check` or the repair asks for it."""
    file = check(cell, None)
    asks = {item.settle for item in file.not_checked} - {"--deep"}
    asks |= {finding.where for finding in file.findings if finding.code == "P413"}
    if not asks and file.plan is not None:
        return None
    if cell.spec.generation == "legacy":
        facts = given(steps_per_epoch=harness.TRAIN_STEPS, train_epochs=harness.EPOCHS, lradj=cell.spec.lradj)
        moves = given(learning_rate=0.01, pct_start=0.2) if cell.spec.lradj in ("TST", "COS") else {}
        return {**facts, **moves}
    return command(cell.spec)


def remaining(cell: Cell, flags: tuple[str, ...]) -> set[str]:
    trace = harness.resume(cell, flags, generation="complete")
    assert trace.error is None
    found = divergences(trace, cell)
    if cell.spec.generation == "legacy" and cell.spec.kind == "best" and found & {"lr", "beta1"}:
        unlike = [
            step.epoch
            for step, due in zip(trace.steps, cell.reference.steps[cell.position :], strict=False)
            if (step.lr, step.beta1) != (due.lr, due.beta1)
        ]
        assert cell.spec.lradj == "COS" or {trace.start.epoch} == set(unlike)
        assert cell.spec.lradj != "TST" or len(unlike) == 1
        found = (found - {"lr", "beta1"}) | {"first-rate"}
    return found


@pytest.mark.parametrize("spec", harness.parameters())
def test_a_repaired_run_goes_on_as_if_nothing_had_happened(cells: Cells, spec: Spec, tmp_path: Path) -> None:
    """Rate, beta1, loss, EarlyStopping and overwrites of `checkpoint`; what is left stands in the table."""
    cell = harness.copy(cells.get(spec), tmp_path / "run")
    facts = facts_asked_for(cell)
    results = repair(cell, facts)
    assert [] == [r for r in results if r.status == "failed"]

    rows = reasons(cell)
    file = check(cell, facts)
    told = codes(file) - {"R506"}
    assert set().union(*(row.codes for row in rows)) == told - ({"P411"} if cell.spec.world_size > 1 else set())
    assert [] == [f.code for f in file.findings if f.migration and f.severity != "info"]

    before = {p: p.read_bytes() for p in run_folder(cell).rglob("*") if p.is_file()}
    assert {"migrated"}.isdisjoint(r.status for r in repair(cell, facts))
    assert before == {p: p.read_bytes() for p in run_folder(cell).rglob("*") if p.is_file()}

    assert file.plan is not None
    found = remaining(cell, file.plan.flags)
    assert set().union(*(row.left for row in rows)) == found - CONSEQUENCES
    if not rows or all(row.left == {"global-step"} for row in rows):
        assert set() == found & CONSEQUENCES


@pytest.mark.parametrize("spec", [s for s in harness.MATRIX if "legacy" not in s.generation][::7], ids=str)
@pytest.mark.long
def test_edited_in_place_a_run_goes_on_as_well(cells: Cells, spec: Spec, tmp_path: Path) -> None:
    """The other way of writing makes the same content."""
    replaced, in_place = (harness.copy(cells.get(spec), tmp_path / name) for name in ("replace", "in-place"))
    facts = facts_asked_for(replaced)
    repair(replaced, facts)
    repair(in_place, facts, in_place=True)
    flags = check(in_place, facts).plan.flags
    assert check(replaced, facts).plan.flags == flags
    assert remaining(replaced, flags) == remaining(in_place, flags)


@pytest.mark.parametrize("spec", [Spec("complete", "TST", "mid-epoch"), Spec("complete", "COS", "best")], ids=str)
def test_a_single_repaired_file_goes_on_whichever_way_it_was_written(cells: Cells, spec: Spec, tmp_path: Path) -> None:
    """In place, and only the file that is resumed."""
    cell = harness.copy(cells.get(spec), tmp_path / "run")
    (result,) = migrate([cell.path], in_place=True)
    assert "migrated" == result.status
    assert set() == remaining(cell, check(cell, None).plan.flags)


@pytest.mark.parametrize("spec", [s for s in harness.MATRIX if s.kind == "best" and s.world_size == 1], ids=str)
@pytest.mark.long
def test_with_the_facts_forgotten_a_second_repair_changes_nothing(cells: Cells, spec: Spec, tmp_path: Path) -> None:
    """What was given in the first one is in the files, or is asked for again."""
    cell = harness.copy(cells.get(spec), tmp_path / "run")
    repair(cell, command(spec))
    assert {"migrated"}.isdisjoint(r.status for r in repair(cell, None))


@pytest.mark.parametrize(
    "spec", [s for s in harness.MATRIX if s.world_size == 2 and s.kind not in ("second", "first-epoch")], ids=str
)
@pytest.mark.long
def test_on_two_processes_too(cells: Cells, spec: Spec, tmp_path: Path) -> None:
    """A shifted global_step is told from a wrong one by the file's own record."""
    cell = harness.copy(cells.get(spec), tmp_path / "run")
    repair(cell, command(spec))
    assert {"migrated"}.isdisjoint(r.status for r in repair(cell, None))
    assert {"P401", "P403"}.isdisjoint(f.code for f in check(cell, None).findings)


@pytest.mark.parametrize("lradj", sampled(["TST", "COS", "type1"], "TST"))
def test_a_bare_state_dict_gets_rates_and_groups_from_a_sibling(cells: Cells, lradj: str, tmp_path: Path) -> None:
    """Step files of the patched trainer beside the old `checkpoint`: only Adam's moments are lost."""
    import torch

    spec = Spec("complete", lradj, "best")
    cell = harness.copy(cells.get(spec), tmp_path / "run")
    shutil.rmtree(cell.path.parent / f"checkpoint_step_{cell.position}")  # it has the same weights, and the moments
    torch.save(torch.load(cell.path, weights_only=False)["model"], cell.path)
    facts = given(steps_per_epoch=harness.TRAIN_STEPS)
    (result,) = migrate([cell.path], facts=facts)
    assert "migrated" == result.status
    file = check(cell, facts)
    found = remaining(cell, file.plan.flags)
    assert set() == found - CONSEQUENCES
    assert {"loss"} <= found
    assert "O702" in {finding.code for finding in file.findings}


SHUFFLED = [
    Spec("complete", lradj, kind, shuffle=True)
    for lradj in ("TST", "COS", "type1")
    for kind in ("first-epoch", "after-best", "beside-best", "best")
]
BY_DEFAULT = [Spec("complete", lradj, kind, shuffle=True) for lradj, kind in (("TST", "after-best"), ("COS", "best"))]


@pytest.mark.long
@pytest.mark.parametrize("spec", sampled(SHUFFLED, *BY_DEFAULT, ids=True))
def test_shuffled_data_come_back_in_their_order(cells: Cells, spec: Spec, tmp_path: Path) -> None:
    """The batches of the interrupted epoch too, where a file or the script's seed gives the generators' state."""
    cell = harness.copy(cells.get(spec), tmp_path / "run")
    facts = {**command(spec), "shuffle": Evidence(True, "--shuffle", given=True)}
    late = spec.kind != "best"
    assert late is ("R510" in {finding.code for finding in check(cell, facts).findings})
    assert late is ("data" in divergences(harness.resume(harness.copy(cell, tmp_path / "untouched")), cell))
    repair(cell, facts)
    assert "R510" not in {finding.code for finding in check(cell, facts).findings}
    assert {"migrated"}.isdisjoint(r.status for r in repair(cell, facts))
    assert set() == remaining(cell, check(cell, facts).plan.flags)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mid-epoch", "epoch-end"])
def test_the_order_of_an_epoch_is_lost_with_its_best_file(cells: Cells, kind: str, tmp_path: Path) -> None:
    """The epoch before brought no better model, so that no file was saved between it and this one."""
    cell = harness.copy(cells.get(Spec("complete", "COS", kind, shuffle=True)), tmp_path / "run")
    facts = {**command(cell.spec), "shuffle": Evidence(True, "--shuffle", given=True)}
    (result,) = migrate([cell.path], fixes=["sync-rng"], facts=facts)
    assert ("refused", "sync-rng") == (result.status, result.refusals[0].migration)
    repair(cell, facts)
    (told,) = [finding for finding in check(cell, facts).findings if finding.code == "R510"]
    assert ("warning", None) == (told.severity, told.fix)
    assert {"data"} == remaining(cell, ()) - CONSEQUENCES


@pytest.mark.long
def test_what_does_not_shuffle_is_left_alone(cells: Cells, tmp_path: Path) -> None:
    """A healthy file gets no other random state, and neither does one that is repaired."""
    healthy = harness.copy(cells.get(Spec("complete", "COS", "after-best")), tmp_path / "healthy")
    (result,) = migrate([healthy.path], facts=shuffling(healthy, command(healthy.spec)))
    assert ("unchanged", "needs none of these repairs") == (result.status, result.message)
    for shuffle, edits in ((True, True), (False, False)):
        fact = Evidence(shuffle, "--shuffle", given=True)
        facts = {**command(healthy.spec), "shuffle": fact}
        (result,) = migrate([healthy.path], fixes=["sync-rng"], facts=facts, dry_run=True)
        assert edits is bool(result.edits)
        lagging = harness.copy(cells.get(Spec("complete", "TST", "after-best")), tmp_path / str(shuffle))
        facts = {**command(lagging.spec), "shuffle": fact}
        (result,) = migrate([lagging.path], facts=facts)
        assert edits is ("rng_state" in {edit.key for edit in result.edits})
        assert set() == remaining(lagging, ())


@pytest.mark.long
def test_a_bare_state_dict_beside_a_checkpoint_of_the_same_weights(cells: Cells, tmp_path: Path) -> None:
    """Nothing is lost: Adam's moments are copied from there, and the run goes on as the other one would."""
    import torch

    for lradj in ("TST", "COS", "type1"):
        cell = harness.copy(cells.get(Spec("complete", lradj, "beside-best", shuffle=True)), tmp_path / lradj)
        bare = cell.path.parents[1] / "checkpoint"
        best = torch.load(bare, weights_only=False)
        torch.save(best["model"], bare)
        original = bare.read_bytes()
        facts = given(steps_per_epoch=harness.TRAIN_STEPS)
        (result,) = migrate([bare], facts=facts, in_place=True, verify_torch=True)
        assert ("migrated", ()) == (result.status, result.notes)
        assert bare.read_bytes().startswith(original)
        upgraded = replace(cell, path=bare)
        assert set() == codes(check(upgraded, facts)) - {"R506"}
        rng = torch.load(bare, weights_only=False).get("rng_state")
        assert rng is None  # the step file's is from before the validation
        taken_back = shutil.copy(bare, tmp_path / f"{lradj}-copy")
        undo([taken_back])
        assert original == Path(taken_back).read_bytes()
        assert {"data"} == remaining(upgraded, check(upgraded, facts).plan.flags) - CONSEQUENCES


def test_other_weights_are_not_taken_for_the_same(cells: Cells, tmp_path: Path) -> None:
    """One bit in one tensor, and Adam's moments stay where they are."""
    import torch

    cell = harness.copy(cells.get(Spec("complete", "COS", "beside-best")), tmp_path / "run")
    bare = cell.path.parents[1] / "checkpoint"
    model = torch.load(bare, weights_only=False)["model"]
    next(iter(model.values())).view(torch.int32).view(-1)[0] ^= 1
    torch.save(model, bare)
    migrate([bare], facts=given(steps_per_epoch=harness.TRAIN_STEPS))
    assert {} == torch.load(bare, weights_only=False)["optimizer"]["state"]


@pytest.mark.parametrize("with_log", [True, False], ids=["log", "no log"])
def test_a_validation_that_never_was_is_counted_by_nobody(cells: Cells, with_log: bool, tmp_path: Path) -> None:
    """Killed before it, resumed from the epoch's last step, killed again: the counter in the file is right."""
    cell = harness.copy(cells.get(Spec("complete", "TST", "in-validation")), tmp_path / "run")
    repair(cell, None)
    harness.resume(cell, stop_after_step=cell.position + 7)
    if not with_log:
        shutil.rmtree(cell.log.parent)
    facts = command(cell.spec)
    later = replace(cell, path=run_folder(cell) / f"checkpoint_step_{cell.position + 6}" / "checkpoint.pt")
    for one in (cell, later):
        told = codes(check(one, facts))
        assert told <= {"P405", "R501", "R504"}, told
    assert "P405" in {finding.code for finding in check(cell, facts).findings}
    edits = {edit.key for result in repair(cell, facts) for edit in result.edits}
    assert "counter" not in edits


@pytest.mark.long
@pytest.mark.parametrize("generation", ["first-patch", "first-patch-old"])
def test_the_files_of_a_finished_run_are_repaired_as_well(cells: Cells, generation: str, tmp_path: Path) -> None:
    """That all epochs are done is what the repair brings to light, and no reason to leave the file as it is."""
    cell = harness.copy(cells.get(Spec(generation, "TST", "mid-epoch")), tmp_path / "run")
    harness.resume(cell)
    results = repair(cell, command(cell.spec))
    assert [] == [result.message for result in results if result.status == "failed"]
    report = audit.scan([run_folder(cell)], facts=command(cell.spec))
    assert {"P404"} >= {finding.code for finding in report.findings if finding.migration and finding.severity != "info"}


def test_a_loss_that_was_nan_stops_no_repair(cells: Cells, tmp_path: Path) -> None:
    """EarlyStopping took it for an improvement, and so does the file: as the uninterrupted run would."""
    cell = harness.copy(cells.get(Spec("first-patch", "TST", "after-best")), tmp_path / "run")
    lines = cell.log.read_text().splitlines(keepends=True)
    third = max(i for i, line in enumerate(lines) if "Vali Loss" in line and "Epoch: 3" in line)
    before, _, after = lines[third].partition("Vali Loss: ")
    lines[third] = f"{before}Vali Loss: nan {after.partition(' ')[2]}"
    cell.log.write_text("".join(lines))
    (result,) = migrate([cell.path], facts=command(cell.spec))
    assert "migrated" == result.status, result.message
    assert "scheduler.last_epoch" in {edit.key for edit in result.edits}
    (told,) = [finding for finding in check(cell, command(cell.spec)).findings if finding.code == "E602"]
    assert "info" == told.severity
    assert "unchanged" == migrate([cell.path], facts=command(cell.spec))[0].status


@pytest.mark.parametrize("kind", ["mid-epoch", "best"])
def test_processes_that_nothing_tells_are_asked_for(cells: Cells, kind: str, tmp_path: Path) -> None:
    """A schedule that one process can't have made, and no number of them fits: nothing is set back to it."""
    import torch

    cell = harness.copy(cells.get(Spec("complete", "TST", kind)), tmp_path / "run")
    shutil.rmtree(cell.log.parent)
    for path in (path for path in run_folder(cell).rglob("checkpoint*") if path.is_file()):
        held = torch.load(path, weights_only=False)
        held["scheduler"]["last_epoch"] = 2 * held["scheduler"]["last_epoch"] + (held["global_step"] == cell.position)
        torch.save(held, path)
    results = repair(cell, None)
    assert "scheduler.last_epoch" not in {edit.key for result in results for edit in result.edits}
    assert "--world-size" in {note.settle for note in check(cell, None).not_checked}


def test_the_first_patch_itself_never_reads_best_score(cells: Cells, tmp_path: Path) -> None:
    """Resumed by its own trainer, a repaired file is right in all but EarlyStopping, and `check` says so."""
    spec = Spec("first-patch", "COS", "best")
    cell = harness.copy(cells.get(spec), tmp_path / "run")
    repair(cell, None)
    file = check(cell, None)
    assert any("does not read best_score" in why for why in file.plan.why_not_exact)
    found = divergences(harness.resume(cell, file.plan.flags), cell) - CONSEQUENCES
    assert {"early-stopping", "val-loss-min"} == found


@pytest.mark.long
def test_a_run_without_its_log_is_repaired_from_its_own_files(cells: Cells, tmp_path: Path) -> None:
    """Nothing of what is curable in a best file needs more than the other checkpoints."""
    cell = harness.copy(cells.get(Spec("complete", "TST", "best")), tmp_path / "run")
    shutil.rmtree(cell.log.parent)
    repair(cell, None)
    assert set() == remaining(cell, check(cell, None).plan.flags)
