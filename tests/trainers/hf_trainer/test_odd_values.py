"""Whatever values the files of a checkpoint have: a report, never a traceback, and `migrate` plans or refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import facts, repair, scan
from tests.sampled import sampled
from tests.trainers.hf_trainer.runs import ARGUMENTS, Writer, save_arguments

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 1e308, -2.5, float("nan"), float("inf"), "", "nonsense", "\0", "a" * 5000),
    *([], [None], [[]], {}, {"step": None}, {"args": 3}, [{"args": None, "attributes": []}]),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    best = {"metric_for_best_model": "loss", "eval_strategy": "steps"}
    return Writer(tmp_path / "run", best, {5: 2.0, 10: 3.0}, patience=3).write(5, 10, 15)


def look(run: Path) -> None:
    given = facts(num_train_epochs=6, max_steps=12, learning_rate=0.1, gradient_accumulation_steps=2)
    report = scan([run], facts=given)
    assert 3 == len([f for f in report.files if f.trainer == "hf"])
    assert [] == [(f.code, f.message) for f in report.findings if "cannot judge" in f.message]
    assert 3 == len(repair.migrate([run], dry_run=True))


@pytest.mark.long
@pytest.mark.parametrize("key", sorted(Writer(Path("run")).state(3)))
def test_odd_states(run: Path, key: str) -> None:
    path = run / "checkpoint-10/trainer_state.json"
    state = json.loads(path.read_text())
    for value in ODD:
        path.write_text(json.dumps({**state, key: value}))
        look(run)
    path.write_text(json.dumps({name: value for name, value in state.items() if name != key}))
    look(run)


@pytest.mark.long
def test_odd_callbacks_and_logs(run: Path) -> None:
    path = run / "checkpoint-10/trainer_state.json"
    state = json.loads(path.read_text())
    for value in ODD:
        one = {"args": {"early_stopping_patience": value}, "attributes": {"early_stopping_patience_counter": value}}
        for callbacks in (value, one, [one, one], {**one, "args": value}, {**one, "attributes": value}):
            path.write_text(json.dumps({**state, "stateful_callbacks": {"EarlyStoppingCallback": callbacks}}))
            look(run)
        entry = {"step": value, "epoch": value, "eval_loss": value}
        path.write_text(json.dumps({**state, "log_history": [value, entry, {"eval_loss": value, "step": 5}]}))
        look(run)


@pytest.mark.long
@pytest.mark.parametrize("key", sorted({*ARGUMENTS, "lr_scheduler_type", "warmup_ratio"}))
def test_odd_commands(run: Path, key: str) -> None:
    for value in ODD:
        save_arguments(run / "checkpoint-10", {**ARGUMENTS, key: value})
        look(run)


@pytest.mark.long
@pytest.mark.parametrize("key", ["base_lrs", "last_epoch", "_step_count", "_last_lr", "lr_lambdas"])
def test_odd_schedules(run: Path, key: str) -> None:
    path = run / "checkpoint-10/scheduler.pt"
    state = torch.load(path)
    for value in ODD:
        torch.save({**state, key: value}, path)
        look(run)


@pytest.mark.parametrize(
    "name", sampled(["trainer_state.json", "scheduler.pt", "optimizer.pt", "training_args.bin"], "scheduler.pt")
)
def test_parts_of_another_kind(run: Path, name: str) -> None:
    path = run / "checkpoint-10" / name
    for value in ([], "text", 3, None, {"optimizer": 1}):
        if name.endswith("json"):
            path.write_text(json.dumps(value))
        else:
            torch.save(value, path)
        look(run)
    path.unlink()
    path.mkdir()
    look(run)
