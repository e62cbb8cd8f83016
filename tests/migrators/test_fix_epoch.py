"""`--fix-epoch`: integers that make the trainer start where the run was."""

import numpy as np
import pytest

from tests.migrators.sample_runs import ABSENT, changed, edit, given, untouched


def test_an_epoch_that_the_step_contradicts_is_set(sample):
    """Step 140 of 45 per epoch lies in epoch 3, whatever the file says; the step stays."""
    run = sample("first-patch-type1")
    for wrong in (0, 2, 4):
        edit(run.step(140), lambda held, wrong=wrong: held.update(epoch=wrong))
        assert {("epoch",): (wrong, 3)} == changed(run.step(140), "fix-epoch")


def test_the_best_file_of_the_older_first_patch_gets_the_next_epoch(sample):
    """It was saved with `epoch` in place of `epoch + 1`: a resume would train an epoch again."""
    run = sample("first-patch-type1")
    finished = edit(run.best, lambda held: held.update(epoch=held["epoch"] - 1))["epoch"] + 1
    assert {("epoch",): (finished - 1, finished)} == changed(run.best, "fix-epoch")


@pytest.mark.parametrize(
    ("key", "wrong", "right"),
    [
        ("epoch", "3", 3),
        ("epoch", 3.0, 3),
        ("epoch", True, 3),
        ("global_step", 140.0, 140),
        ("global_step", "140", 140),
        ("global_step", np.float64(140), 140),
    ],
)
def test_a_number_of_another_type_becomes_an_integer(key, wrong, right, sample):
    """`range(start_epoch, ...)` and the skip count need one."""
    run = sample("first-patch-type1")
    edit(run.step(140), lambda held: held.update({key: wrong}))
    assert {(key,): (wrong, right)} == changed(run.step(140), "fix-epoch")


@pytest.mark.parametrize("key", ["epoch", "global_step"])
def test_a_missing_number_is_restored_from_what_proves_it(key, sample):
    """Adam's counter, the folder's name, the siblings' steps per epoch."""
    run = sample("first-patch-type1")
    right = edit(run.step(140), lambda held: None)[key]
    edit(run.step(140), lambda held: held.pop(key))
    assert {(key,): (ABSENT, right)} == {
        path: pair for path, pair in changed(run.step(140), "fix-epoch").items() if path != ()
    }


def test_a_step_that_moments_and_folder_contradict_is_set(sample):
    """Two independent witnesses against one."""
    run = sample("first-patch-type1")
    edit(run.step(140), lambda held: held.update(global_step=104))
    assert {("global_step",): (104, 140)} == changed(run.step(140), "fix-epoch")


@pytest.mark.parametrize("name", ["complete-TST", "first-patch-type1"])
def test_a_consistent_file_is_left_alone(name, sample):
    """Best and step files alike."""
    run = sample(name)
    for path in (run.best, run.step(120), run.step(140)):
        assert "unchanged" == untouched(path, "fix-epoch").status


def test_without_steps_per_epoch_it_asks_for_them(sample):
    """One file alone, without a log and a schedule to tell; with the answer it is repaired."""
    run = sample("first-patch-type1")
    run.log.unlink()
    alone = run.root / "alone" / "checkpoint_step_140" / "checkpoint.pt"
    alone.parent.mkdir(parents=True)
    run.step(140).rename(alone)
    edit(alone, lambda held: held.update(epoch="three", scheduler={}))
    (refusal,) = untouched(alone, "fix-epoch").refusals
    assert "--steps-per-epoch" in refusal.settle
    assert {("epoch",): ("three", 3)} == changed(alone, "fix-epoch", facts=given(steps_per_epoch=45))


def test_a_bare_state_dict_has_no_epoch(sample):
    """The message names the repair that makes one."""
    (refusal,) = untouched(sample("legacy").best, "fix-epoch").refusals
    assert "add --upgrade" == refusal.settle
