"""What real training commands do that the matrix leaves out: the tool stays right, or says what it does not know."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from ckpt_doctor import audit, check_resume, migrate
from tests.equivalence import harness
from tests.equivalence.comparison import CONSEQUENCES, divergences
from tests.equivalence.harness import EPOCHS, FIXTURES, TRAIN_STEPS, Cell, Cells, Spec, codes
from tests.equivalence.test_plan import given
from tests.equivalence.test_repair import check, repair

pytestmark = pytest.mark.long  # each trains, and the tests beside it show the same of shorter cases


@pytest.fixture
def cell(cells: Cells, tmp_path: Path) -> Callable[..., Cell]:
    """A copy of the cell of a spec, its file changed."""

    def copied(spec: Spec, change: Callable[[dict], object] | None = None) -> Cell:
        made = harness.copy(cells.get(spec), tmp_path / str(spec))
        if change:
            harness.edit(made, change)
        return made

    return copied


# --- another command -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [3, 8, 9, 12])
@pytest.mark.parametrize("kind", ["mid-epoch", "best"])
@pytest.mark.parametrize("lradj", ["TST", "type1"])
def test_another_number_of_epochs_does_not_change_what_an_epoch_is(cell, lradj: str, kind: str, epochs: int) -> None:
    """The schedule was made for 6 epochs; where it moves, its length is a finding."""
    made = cell(Spec("complete", lradj, kind))
    file = check(made, given(train_epochs=epochs))
    finished, batches = divmod(made.position, TRAIN_STEPS)
    assert (finished, batches) == (file.plan.start_epoch, file.plan.skip_batches)
    assert max(0, epochs * TRAIN_STEPS - made.position) == file.plan.steps_left
    assert (lradj == "TST") == ("R505" in codes(file))
    assert "P402" not in codes(file)
    assert (epochs <= finished) == ("P404" in codes(file))


def test_a_longer_run_goes_on_right_until_its_schedule_ends(cell) -> None:
    """Two more epochs: repaired, the steps of the planned ones are the uninterrupted run's, bit for bit."""
    made = cell(Spec("complete", "TST", "mid-epoch"))
    facts = given(train_epochs=EPOCHS + 2)
    repair(made, facts)
    trace = harness.resume(made, ("--train_epochs", str(EPOCHS + 2)))
    due = made.reference.steps[made.position :]
    assert due == trace.steps[: len(due)]


@pytest.mark.parametrize("lradj", ["TST", pytest.param("COS", marks=pytest.mark.long), "type1"])
@pytest.mark.parametrize("spec", [("first-patch-old", "best"), ("first-patch", "epoch-end")], ids="-".join)
def test_a_run_that_has_repeated_an_epoch_does_not_pass_for_one_with_longer_epochs(
    cell, spec: tuple[str, str], lradj: str
) -> None:
    """Its steps divided by its epochs are no epoch's length: schedule or log contradict, and the option is named."""
    made = cell(Spec(spec[0], lradj, spec[1]))
    harness.resume(made, stop_after_step=made.position + TRAIN_STEPS + 8)
    newest = made.path.parents[spec[1] != "best"] / f"checkpoint_step_{made.position + TRAIN_STEPS + 6}"
    report = audit.check(newest)
    assert report.runs[0].run.facts.steps_per_epoch is None
    assert "--steps-per-epoch" in {item.settle for item in report.files[0].not_checked}
    assert "P402" not in codes(report.files[0])


def test_a_renamed_folder_is_matched_to_its_log_by_hand_only(cell) -> None:
    """Without `--log` nothing is taken from a log that names another folder."""
    made = cell(Spec("first-patch", "TST", "mid-epoch"))
    run = made.path.parents[1]
    path = run.rename(run.with_name("renamed")) / made.path.relative_to(run)
    (alone,) = audit.check(path).files
    (told,) = audit.check(path, logs=[made.log]).files
    assert alone.resume_point.early_stopping is None
    assert (
        pytest.approx(max(-loss for loss in made.history), abs=1e-7)
        == told.resume_point.early_stopping.value.best_score
    )


def test_a_log_with_windows_line_ends_says_the_same(cell) -> None:
    """Edited on Windows, or copied as text."""
    made = cell(Spec("first-patch", "type1", "epoch-end"))
    before = check(made, None).resume
    made.log.write_bytes(made.log.read_bytes().replace(b"\n", b"\r\n"))
    assert before == check(made, None).resume


@pytest.mark.parametrize("share", [0.0, 0.3, 0.66])
def test_a_log_that_is_cut_off_proves_only_what_it_holds(cell, share: float) -> None:
    """EarlyStopping's state is refused with the option that settles it, and the rest is repaired."""
    made = cell(Spec("first-patch", "TST", "mid-epoch"))
    content = made.log.read_bytes()
    made.log.write_bytes(content[: int(len(content) * share)])
    (result,) = migrate([made.path])
    assert "migrated" == result.status
    (refusal,) = result.refusals
    assert ("add-best-score", True) == (refusal.migration, "--log" in refusal.settle)
    assert {"lr", "beta1"}.isdisjoint(divergences(harness.resume(made), made))


# --- other values ----------------------------------------------------------------------------------------------------


def test_steps_that_amp_skipped_are_no_contradiction(cell) -> None:
    """Adam counts fewer steps than global_step; the schedule goes by global_step."""

    def skipped(file: dict) -> None:
        file["scaler"] = torch.amp.GradScaler("cpu").state_dict()
        for state in file["optimizer"]["state"].values():
            state["step"] -= 3

    made = cell(Spec("complete", "TST", "mid-epoch"), skipped)
    assert {"R501"} == codes(check(made, None))
    repair(made, None)
    assert set() == codes(check(made, None))
    assert set() == divergences(harness.resume(made), made) - CONSEQUENCES


def test_numpy_integers_become_integers(cell) -> None:
    """As `np.int64` a count resumes as well, but weights_only refuses it."""
    counts = ("epoch", "global_step", "counter")
    made = cell(Spec("complete", "TST", "mid-epoch"), lambda f: f.update({k: np.int64(f[k]) for k in counts}))
    repair(made, None)
    file = torch.load(made.path, weights_only=True)
    assert {int} == {type(file[key]) for key in counts}
    assert set() == divergences(harness.resume(made), made)


@pytest.mark.parametrize("spec", [Spec("complete", "TST", "mid-epoch"), Spec("complete", "COS", "best")], ids=str)
def test_states_of_older_torch_versions_are_brought_in_step(cell, spec: Spec) -> None:
    """They lack keys that newer versions add; none is invented."""
    newer = ("_is_initial", "_get_lr_called_within_step", "_anneal_func_type", "use_beta1")
    made = cell(spec, lambda f: [f["scheduler"].pop(key, None) for key in newer])
    repair(made, None)
    assert set(newer).isdisjoint(torch.load(made.path, weights_only=True)["scheduler"])
    assert set() == divergences(harness.resume(made), made)


def test_a_counter_set_to_0_is_restored_where_the_length_of_an_epoch_is_not_known(cell) -> None:
    """Adam's step and the folder's name agree on the true one."""
    made = cell(Spec("complete", "TST", "first-epoch"), lambda f: f.update(global_step=0))
    assert "P403" in codes(check(made, None))
    repair(made, None)
    assert {"P413"} == codes(check(made, None))  # it may end its epoch
    assert set() == divergences(harness.resume(made), made)


# --- another optimizer and schedule ----------------------------------------------------------------------------------


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_each_param_group_of_adamw_is_brought_to_its_own_rate(tmp_path: Path, anneal: str, three_phase: bool) -> None:
    """Two groups with their own max_lr, whatever form OneCycleLR has: equal to torch's next step to the last bit."""
    layers = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    optimizer = torch.optim.AdamW([{"params": layer.parameters()} for layer in layers], lr=0.1)
    scheduler = OneCycleLR(
        optimizer,
        [0.1, 0.02],
        steps_per_epoch=TRAIN_STEPS,
        epochs=EPOCHS,
        pct_start=0.2,
        anneal_strategy=anneal,
        three_phase=three_phase,
    )
    path = tmp_path / "run" / f"checkpoint_step_{4 * TRAIN_STEPS + 6}" / "checkpoint.pt"
    path.parent.mkdir(parents=True)
    for step in range(1, 4 * TRAIN_STEPS + 7):
        layers(torch.ones(4)).sum().backward()
        optimizer.step()
        if step == 4 * TRAIN_STEPS + 6:
            states = {"model": layers.state_dict(), "optimizer": optimizer.state_dict()}
            states["scheduler"] = scheduler.state_dict()
            rest = {"epoch": 4, "global_step": step, "best_score": -0.5, "val_loss_min": 0.5, "counter": 0}
            torch.save(states | rest, path)
        scheduler.step()

    (result,) = migrate([path], facts=given(steps_per_epoch=TRAIN_STEPS))
    assert "migrated" == result.status
    file = torch.load(path, weights_only=True)
    groups, due = file["optimizer"]["param_groups"], optimizer.state_dict()["param_groups"]
    assert [(g["lr"], g["betas"]) for g in due] == [(g["lr"], g["betas"]) for g in groups]
    counters = ("last_epoch", "_step_count", "_last_lr")
    assert [scheduler.state_dict()[key] for key in counters] == [file["scheduler"][key] for key in counters]


def test_migrated_siblings_are_no_evidence_for_each_other(cell) -> None:
    """A file of an epoch's end gets EarlyStopping's state of after that epoch: not what its siblings were saved in."""
    made = cell(Spec("complete", "TST", "best"))
    repair(made, None)
    shutil.rmtree(made.log.parent)
    assert {"unchanged"} == {result.status for result in repair(made, None)}


def test_only_what_the_first_patch_wrote_is_called_its_own(tmp_path: Path) -> None:
    """Its trainer forgets the best_score that a repair adds; an upgraded state_dict is of no such trainer."""
    told = {}
    for name in ("legacy", "first-patch-type1"):
        run = Path(shutil.copytree(FIXTURES / "sample-runs" / name, tmp_path / name))
        (file,) = run.glob("checkpoints/*/checkpoint")
        assert ["migrated"] == [result.status for result in migrate([file])]
        told[name] = "does not read best_score" in " ".join(check_resume(file).plan.why_not_exact)
    assert {"legacy": False, "first-patch-type1": True} == told
