"""`--upgrade`: a bare state_dict as the training checkpoint that the evidence proves."""

import torch

from tests.migrators.sample_runs import Sample, differences, given, load, repaired, untouched


def weights_of(sample: Sample) -> tuple[dict, dict]:
    """The model of a legacy run before and after."""
    before = load(sample.best)
    assert "migrated" == repaired(sample.best, "upgrade").status
    return before, load(sample.best)


def test_the_log_proves_epoch_step_and_score(sample):
    """Of the best epoch, at whose end the file was saved; the weights are the same, bit for bit."""
    run = sample("legacy")
    losses = run.losses()
    best = losses.index(min(losses)) + 1
    before, held = weights_of(run)
    assert {} == differences(before, held["model"])
    assert (best, best * 45) == (held["epoch"], held["global_step"])
    assert (-min(losses), min(losses), 0) == (held["best_score"], held["val_loss_min"], held["counter"])
    assert {"model", "optimizer", "scheduler", "epoch", "global_step"} < set(held)
    assert "unchanged" == untouched(run.best, "upgrade").status


def test_without_a_sibling_the_optimizer_is_absent_not_made_up(sample):
    """Which parameters are trained stands nowhere; the result says that the moments are lost."""
    run = sample("legacy")
    result = repaired(run.best, "upgrade")
    assert load(run.best)["optimizer"] is None
    assert any("moments" in note for note in result.notes)


def test_a_sibling_of_the_same_model_lends_its_groups(sample):
    """Param groups and schedule, moved to where the file stands; no moments."""
    run = sample("complete-TST")
    whole = load(run.best)
    torch.save(whole["model"], run.best)
    before, held = weights_of(run)
    assert {} == differences(before, held["model"])
    assert {} == held["optimizer"]["state"]
    assert {} == differences(whole["optimizer"]["param_groups"], held["optimizer"]["param_groups"])
    assert {} == differences(whole["scheduler"], held["scheduler"])
    assert (whole["epoch"], whole["global_step"]) == (held["epoch"], held["global_step"])


def test_without_a_log_it_is_refused_until_the_epoch_is_given(sample):
    """Nothing is guessed: not even that the last epoch was the best."""
    run = sample("legacy")
    run.log.unlink()
    (refusal,) = untouched(run.best, "upgrade").refusals
    assert "in which epoch the weights were saved is not known" in refusal.reason
    assert "--log" in refusal.settle
    (refusal,) = untouched(run.best, "upgrade", epoch=2).refusals
    assert "--steps-per-epoch" in refusal.settle
    result = repaired(run.best, "upgrade", epoch=2, val_loss=0.5, facts=given(steps_per_epoch=45))
    assert "migrated" == result.status, result
    held = load(run.best)
    assert (2, 90, -0.5, 0.5, 0) == tuple(
        held[key] for key in ("epoch", "global_step", "best_score", "val_loss_min", "counter")
    )


def test_a_score_that_nobody_knows_is_not_written(sample):
    """The epoch is given, the loss is not: no best_score."""
    run = sample("legacy")
    run.log.unlink()
    repaired(run.best, "upgrade", epoch=2, facts=given(steps_per_epoch=45))
    assert not {"best_score", "val_loss_min", "counter"} & set(load(run.best))


def test_it_composes_with_the_fixes_of_weights(sample):
    """A wrapped, numpy-free legacy file: prefix off and dict format in one pass."""
    run = sample("legacy")
    before = load(run.best)
    torch.save({f"module.{key}": value for key, value in before.items()}, run.best)
    result = repaired(run.best, "strip-prefix", "upgrade", "to-cpu")
    assert "migrated" == result.status, result
    assert {} == differences(dict(before), dict(load(run.best)["model"]))


def test_a_training_checkpoint_needs_none(sample):
    """It is left alone."""
    run = sample("complete-TST")
    assert "unchanged" == untouched(run.best, "upgrade").status
    assert "unchanged" == untouched(run.step(140), "upgrade").status
