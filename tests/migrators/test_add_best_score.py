"""`--add-best-score`: from a hand, a sibling or the log; nothing without one of them."""

import math

import pytest
import torch

from ckpt_doctor.audit import check
from tests.migrators.sample_runs import ABSENT, changed, edit, load, repaired, untouched


def forget(held: dict) -> None:
    """Make a file as the first patch wrote it."""
    for key in ("best_score", "val_loss_min", "counter"):
        held.pop(key, None)


def test_the_log_gives_the_best_loss_so_far(sample):
    """EarlyStopping over the losses of the epochs before the file, in 7 decimals; Python numbers, at the end."""
    run = sample("first-patch-type1")
    losses = run.losses()
    for path, finished in ((run.best, 2), (run.step(120), 2), (run.step(140), 3)):
        best = min(losses[:finished])
        counter = 0 if path == run.best else finished - 1 - losses.index(best)
        expected = {
            ("best_score",): (ABSENT, -best),
            ("val_loss_min",): (ABSENT, best),
            ("counter",): (ABSENT, counter),
        }
        assert expected == changed(path, "add-best-score")


def test_a_sibling_in_the_same_state_is_exact(sample):
    """Its 17 digits are preferred to the 7 of the log."""
    run = sample("complete-TST")
    exact = float(edit(run.step(140), lambda held: None)["best_score"])
    assert exact != round(exact, 7)
    edit(run.best, forget)
    result = changed(run.best, "add-best-score")
    assert {("best_score",): (ABSENT, exact), ("val_loss_min",): (ABSENT, -exact), ("counter",): (ABSENT, 0)} == result


def test_a_best_file_saved_before_its_own_update_is_made_consistent(sample):
    """`val_loss_min` of the previous best, a counter not yet reset: the score itself keeps every digit."""
    run = sample("complete-TST")
    held = edit(run.best, lambda held: held.update(counter=4))
    expected = {("val_loss_min",): (held["val_loss_min"], -float(held["best_score"])), ("counter",): (4, 0)}
    assert expected == changed(run.best, "add-best-score")


@pytest.mark.parametrize("wrong", [float("nan"), math.inf, 0.29, -12.0])
def test_a_score_that_cannot_be_is_replaced(wrong, sample):
    """NaN, infinite, with its sign forgotten, or not the run's."""
    run = sample("complete-TST")
    true = float(edit(run.step(140), lambda held: None)["best_score"])
    edit(run.step(140), lambda held: held.update(best_score=wrong))
    assert true == pytest.approx(changed(run.step(140), "add-best-score")["best_score",][1], abs=5e-8)


def test_the_value_may_be_given_by_hand(sample):
    """As a score or as a loss; it outranks the log, and the plan says that it was given, and against what."""
    run = sample("first-patch-type1")
    for path, given in ((run.best, {"best_score": -0.25}), (run.step(140), {"val_loss": 0.25})):
        result = repaired(path, "add-best-score", **given)
        assert {"best_score": -0.25, "val_loss_min": 0.25} == {
            e.key: e.after for e in result.edits if e.key != "counter"
        }
        assert all(edit.evidence.startswith("given by hand against -0.") for edit in result.edits)
    run.log.unlink()
    told = {edit.evidence for edit in repaired(run.step(120), "add-best-score", val_loss=0.25).edits}
    assert {"given by hand; counter: the default"} == told


def test_before_the_first_validation_there_is_nothing_to_add(sample):
    """None is the true value there, and an absent key says the same."""
    run = sample("first-patch-type1")
    rewind = {"epoch": 0, "global_step": 20}

    def first_epoch(held: dict) -> None:
        held.update(rewind)
        for state in held["optimizer"]["state"].values():
            state["step"].fill_(20)

    (run.run / "checkpoint_step_120").rename(run.run / "checkpoint_step_20")
    edit(run.step(20), first_epoch)
    assert "unchanged" == untouched(run.step(20), "add-best-score").status


def test_without_evidence_it_is_refused_and_says_what_to_give(sample):
    """No log, no sibling that knows: nothing is written."""
    run = sample("first-patch-type1")
    run.log.unlink()
    (refusal,) = untouched(run.step(140), "add-best-score").refusals
    assert "no log of the run was found" in refusal.reason
    assert all(option in refusal.settle for option in ("--log", "--best-score", "--val-loss"))
    given = repaired(run.step(140), "add-best-score", val_loss=0.25)
    assert "migrated" == given.status


def test_a_log_that_ends_too_early_is_no_evidence(sample):
    """The line of an epoch before the file is missing: its loss could have been the best."""
    run = sample("first-patch-type1")
    lines = run.log.read_text().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if "Vali Loss" in line)
    run.log.write_text("".join(lines[:last]))
    (refusal,) = untouched(run.step(140), "add-best-score").refusals
    assert "the log ends before epoch 3 was validated" in refusal.reason
    assert "migrated" == repaired(run.step(120), "add-best-score").status


def test_a_bare_state_dict_has_no_place_for_it(sample):
    """The message names the repair that makes one."""
    (refusal,) = untouched(sample("legacy").best, "add-best-score").refusals
    assert ("add --upgrade", "add-best-score") == (refusal.settle, refusal.migration)


def test_a_healthy_file_is_left_alone(sample):
    """A step file of the complete trainer is consistent: not rewritten, though its score is a numpy number."""
    run = sample("complete-COS")
    assert "unchanged" == untouched(run.step(75), "add-best-score").status


def test_a_log_that_contradicts_itself_proves_nothing(sample):
    """Its counter is not the one that its losses give: a line is another run's, or the trainer has another delta."""
    run = sample("first-patch-type1")
    text = run.log.read_text()
    assert "EarlyStopping counter: 1 out of 10" in text
    run.log.write_text(text.replace("EarlyStopping counter: 1 out of 10", "EarlyStopping counter: 7 out of 10"))
    (refusal,) = untouched(run.step(140), "add-best-score").refusals
    assert "the log counts 7" in refusal.reason


def test_a_log_of_another_run_is_not_taken_for_this_ones(sample, tmp_path):
    """Given by hand, it names another folder and prints the rates of another mode; a renamed folder alone is fine."""
    other, run = sample("first-patch-type1"), sample("complete-TST")
    for path in (run.best, run.step(120)):
        path.unlink()
    edit(
        run.step(140),
        lambda held: [held.pop(key) for key in ("best_score", "val_loss_min", "counter", "rng_state", "sampler_state")],
    )
    run.log.unlink()
    (refusal,) = untouched(run.step(140), "add-best-score", logs=[other.log]).refusals
    assert "prints the rates of type1" in refusal.reason
    renamed = sample("complete-COS")
    for path in (renamed.best, renamed.step(90)):
        path.unlink()
    edit(renamed.step(75), lambda held: held.update(best_score=None))
    log = renamed.log
    folder = renamed.run.rename(renamed.run.with_name("my_run"))
    result = repaired(folder / "checkpoint_step_75" / "checkpoint.pt", "add-best-score", logs=[log])
    assert "migrated" == result.status, result.refusals


def test_a_score_in_a_tensor_becomes_the_same_number(sample):
    """To its last bit, not to the log's seven decimals."""
    run = sample("complete-TST")
    exact = -0.32362571358680725
    edit(run.step(140), lambda held: held.update(best_score=torch.tensor(exact, dtype=torch.float64)))
    found = changed(run.step(140), "add-best-score")
    assert exact == found["best_score",][1]
    assert float is type(found["best_score",][1])
    assert "unchanged" == untouched(run.step(140), "add-best-score").status


@pytest.mark.parametrize("wrong", ["a", None, [], True, torch.tensor([1.0, 2.0]), torch.tensor([0.4])], ids=repr)
def test_a_least_loss_that_is_no_number_follows_from_the_score(wrong, sample):
    """Without a log or a sibling as well: what `check` calls repairable is repaired."""
    run = sample("complete-TST")
    run.log.unlink()
    for path in (run.best, run.step(120)):
        path.unlink()
    held = edit(run.step(140), lambda held: held.update(val_loss_min=wrong))
    assert "add-best-score" in {f.migration for f in check(run.step(140)).findings if f.code == "E603"}
    assert {("val_loss_min",)} == set(changed(run.step(140), "add-best-score"))
    assert -held["best_score"] == load(run.step(140))["val_loss_min"]
    assert not [f for f in check(run.step(140)).findings if f.code == "E603"]


def test_before_the_first_validation_the_least_loss_is_infinite(sample):
    """A score of None, and a loss that no trainer could print."""
    run = sample("complete-TST")

    def first_epoch(held: dict) -> None:
        held.update(epoch=0, global_step=20, best_score=None, val_loss_min="a", counter=0)
        for state in held["optimizer"]["state"].values():
            state["step"].fill_(20)

    (run.run / "checkpoint_step_120").rename(run.run / "checkpoint_step_20")
    edit(run.step(20), first_epoch)
    assert {("val_loss_min",): ("a", math.inf)} == changed(run.step(20), "add-best-score")


@pytest.mark.parametrize("wrong", [torch.tensor([1.0, 2.0]), 0.4, "a"], ids=repr)
def test_a_score_that_nothing_proves_asks_for_the_value(wrong, sample):
    """The cure that `check` prints names it, and works."""
    run = sample("complete-TST")
    run.log.unlink()
    for path in (run.best, run.step(120)):
        path.unlink()
    edit(run.step(140), lambda held: held.update(best_score=wrong))
    assert {"ckpt-doctor migrate --add-best-score --val-loss LOSS FILE"} == {
        f.fix for f in check(run.step(140)).findings if f.code == "E602"
    }
    assert "refused" == untouched(run.step(140), "add-best-score").status
    assert -0.25 == changed(run.step(140), "add-best-score", val_loss=0.25)["best_score",][1]
