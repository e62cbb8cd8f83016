"""Bare weights as the training checkpoint that they were saved from: each value from evidence, or none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ckpt_doctor.trainers.time_llm.history import History
from ckpt_doctor.trainers.time_llm.legacy import upgrade
from ckpt_doctor.types import Global, Member, Opaque, Run, StorageInfo, TensorRef, Upgrade
from tests.trainers.time_llm.log_writer import RUN, Trainer
from tests.trainers.time_llm.members import EPOCHS, MAX_LR, STEPS, best, run_of, scheduled


def weight(key: str, size: int = 4) -> TensorRef:
    storage = StorageInfo(key, "float32", "cpu", size, 4 * size)
    return TensorRef(
        storage, "float32", (size,), (1,), 0, False, Opaque("", Global("torch._utils", "_rebuild_tensor_v2"))
    )


def bare(size: int = 4) -> Member:
    """Weights alone, in the place of the best file."""
    member = best(20, 2)
    checkpoint = replace(member.checkpoint, layout="state-dict", root={"w": weight("0", size)}, checksums={"0": 7})
    return replace(member, checkpoint=checkpoint)


def sibling(*, crc: int, **more: Any) -> Member:
    """A training checkpoint of a model of the same form."""
    member = scheduled(best(30, 3, root={"model": {"w": weight("5")}, **more}), "TST", 30)
    return replace(member, checkpoint=replace(member.checkpoint, checksums={"5": crc}))


def run(*members: Member, losses: tuple[float, ...] = (), **facts: Any) -> Run:
    trainer = Trainer(list(losses), steps=STEPS)
    trainer.launch()
    known: dict[str, Any] = {"steps_per_epoch": STEPS, "lradj": "TST"} | facts
    history = History(RUN, trainer.attempts(), True, "") if losses else None
    return replace(run_of(*members, **known), history=history)


def values(made: Upgrade) -> dict[str, Any]:
    assert "" == made.refusal
    assert all(evidence.source for evidence in made.values.values())
    return {key: evidence.value for key, evidence in made.values.items()}


def test_the_log_says_when_the_weights_were_saved_and_with_which_score() -> None:
    """At the end of the epoch that improved last."""
    made = upgrade(bare(), run(losses=(0.5, 0.3, 0.4)))
    found = values(made)
    assert (2, 20, -0.3, 0.3, 0) == tuple(
        found[key] for key in ("epoch", "global_step", "best_score", "val_loss_min", "counter")
    )
    assert any("moments" in note for note in made.notes)


def test_without_a_log_a_person_says_the_epoch_and_nothing_is_guessed() -> None:
    refused = upgrade(bare(), run())
    assert refused.refusal
    assert all(option in refused.settle for option in ("--log", "--epoch"))
    found = values(upgrade(bare(), run(), epoch=3, best_score=-0.2))
    assert (3, 30, -0.2, 0.2) == tuple(found[key] for key in ("epoch", "global_step", "best_score", "val_loss_min"))
    assert "best_score" not in values(upgrade(bare(), run(), epoch=3))
    assert "--steps-per-epoch" in upgrade(bare(), run(steps_per_epoch=None), epoch=3).settle


def test_a_sibling_of_the_same_model_lends_groups_and_schedule_and_no_moments() -> None:
    """Moved to where the weights stand: after two epochs, not after the sibling's three."""
    other = sibling(crc=8)
    found = values(upgrade(bare(), run(other), epoch=2))
    there = scheduled(best(20, 2), "TST", 20)
    assert {} == found["optimizer"]["state"]
    assert there.state.lr == found["optimizer"]["param_groups"][0]["lr"]
    assert (20, 21) == (found["scheduler"]["last_epoch"], found["scheduler"]["_step_count"])
    assert values(upgrade(bare(size=9), run(other), epoch=2))["optimizer"] is None, "a model of another form"


def test_a_checkpoint_of_the_very_same_weights_lends_everything() -> None:
    """By the checksums that both files store; its moments too."""
    other = sibling(crc=7)
    made = upgrade(bare(), run(other))
    found = values(made)
    assert other.checkpoint is made.donor
    assert (3, 30) == (found["epoch"], found["global_step"])
    assert upgrade(bare(), run(sibling(crc=8), losses=(0.5,))).donor is None, "other weights"
    assert all("same weights" in evidence.source for evidence in made.values.values())


@pytest.mark.parametrize("mode", ["TST", "COS"])
def test_without_a_sibling_the_schedule_is_computed_from_the_command(mode: str) -> None:
    made = upgrade(bare(), run(lradj=mode, learning_rate=MAX_LR, train_epochs=EPOCHS, pct_start=0.3), epoch=2)
    found = values(made)
    expected = scheduled(best(20, 2), mode, 20 if mode == "TST" else 2).checkpoint.root["scheduler"]
    assert expected == found["scheduler"]
    assert found["optimizer"] is None, "which parameters are trained is in no file"
    assert any("no param groups" in note for note in made.notes)


def test_what_the_schedule_is_computed_from_is_asked_for_where_it_is_open() -> None:
    made = upgrade(bare(), run(lradj="COS"), epoch=2)
    assert values(made)["scheduler"] is None
    assert any(all(o in note for o in ("--lradj", "--train-epochs")) for note in made.notes)
    idle = upgrade(bare(), run(lradj="type1"), epoch=2)
    assert values(idle)["scheduler"] is None
    assert "never steps it" in idle.values["scheduler"].source
