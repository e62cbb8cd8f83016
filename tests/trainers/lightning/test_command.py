"""The length of an epoch is told by the loops of a run's files, and by nothing else."""

from __future__ import annotations

from ckpt_doctor.trainers.lightning.command import infer
from ckpt_doctor.types import Evidence
from tests.trainers.lightning.values import counted, member


def test_a_file_from_an_epochs_end_has_its_batches_and_steps() -> None:
    found = infer([counted(10, epoch=1), counted(20, epoch=2), counted(24, epoch=3, batches=4)], {})
    assert found.batches is not None
    assert (10, 10) == (found.batches.value, found.steps)
    assert "epoch=1-step=20.ckpt" in found.batches.source


def test_epochs_of_two_lengths_have_none() -> None:
    """A file within an epoch does not decide which."""
    ends = [counted(10, epoch=1), counted(12, epoch=1, batches=12, length=12), counted(14, epoch=2, batches=4)]
    assert (None, None) == (infer(ends, {}).batches, infer(ends, {}).steps)


def test_without_a_file_from_an_end_the_batches_before_this_epoch_tell_it() -> None:
    found = infer([counted(24, epoch=3, batches=4)], {})
    assert found.batches is not None
    assert 10 == found.batches.value
    assert infer([counted(4, epoch=1, batches=4)], {}).batches is None, "in the first epoch nothing is before"
    assert infer([counted(25, epoch=3, batches=4)], {}).batches is None, "21 batches are not two epochs"


def test_what_a_person_gives_is_taken_and_the_rest_stays_open() -> None:
    given = {"train_epochs": Evidence(8, "given", given=True)}
    found = infer([member("a.ckpt", {})], given)
    assert (8, None, None) == (found.train_epochs.value, found.batches, found.shuffle)
