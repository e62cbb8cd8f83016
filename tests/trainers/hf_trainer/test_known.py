"""What all checkpoints of a run show together is found once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from ckpt_doctor import scan
from ckpt_doctor.trainers.hf_trainer import known
from tests.trainers.hf_trainer.runs import change_state, judged, two_processes


def calls_of(run: Path) -> int:
    """Calls of Python functions that a scan of the run makes."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        scan([run])
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.long
def test_what_a_checkpoint_costs_does_not_grow_with_the_run(run: Path) -> None:
    """Not even where none has an optimizer, for whose state each would be asked."""
    each = {}
    for many in (10, 10, 50):  # the first imports what the others use
        for number in range(101, 101 + many):
            folder = run.parent / f"run_{many}" / f"checkpoint-{number}"
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("trainer_state.json", "scheduler.pt"):
                if not (folder / name).exists():
                    os.link(run / "checkpoint-7" / name, folder / name)
        each[many] = calls_of(run.parent / f"run_{many}") / many
    assert each[50] < 1.02 * each[10]


def test_the_formula_is_a_runs_own_where_it_gives_the_stored_rates_of_every_checkpoint(run: Path) -> None:
    """A script with a schedule of its own saves a command that says nothing of it."""
    followed = scan([run]).runs[0].run
    assert all(known.follows_formula(followed, member) for member in followed.members)
    path = run / "checkpoint-14/scheduler.pt"
    torch.save({**torch.load(path), "_last_lr": [0.123, 0.123]}, path)
    edited = scan([run]).runs[0].run
    assert all(known.follows_formula(edited, member) for member in edited.members), "the log has the formula's rates"
    change_state(path.parent, log_history=[])
    other = scan([run]).runs[0].run
    assert not any(known.follows_formula(other, member) for member in other.members)


def test_the_processes_are_those_whose_random_state_any_checkpoint_has(run: Path) -> None:
    assert frozenset() == known.known_of(scan([run]).runs[0].run).ranks
    two_processes(run / "checkpoint-14")
    followed = scan([run]).runs[0].run
    assert {0, 1} == known.known_of(followed).ranks
    (run / "checkpoint-14/rng_state_1.pth").rename(run / "checkpoint-14/rng_state_3.pth")
    followed = scan([run]).runs[0].run
    assert [1, 2] == known.lost_ranks(followed.members[1].checkpoint, followed), "each below one that is there"


def test_a_scaler_that_only_the_other_checkpoints_have_is_missing(run: Path) -> None:
    for step in (7, 14, 21):
        torch.save({"scale": 65536.0, "_growth_tracker": step}, run / f"checkpoint-{step}/scaler.pt")
    folder = run / "checkpoint-14"
    assert "identical" == judged(folder).resume
    (folder / "scaler.pt").unlink()
    plan = judged(folder).plan
    assert plan is not None and ("differs", True) == (judged(folder).resume, "scaler.pt" in str(plan.why_not_exact))


def test_the_best_and_another_checkpoint_with_its_callback_are_found_once(best_run: Path) -> None:
    found = scan([best_run]).runs[0].run
    assert "checkpoint-10" == known.known_of(found).best
    for member in found.members:
        sibling = known.sibling_with_callback(member, found)
        assert sibling is not None and sibling.label != member.label
    assert 2 == len(known.known_of(found).stopping), "each asks for one other than itself"
