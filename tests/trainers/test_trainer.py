"""The contract is whole: a trainer that only its own module knows is scanned, checked, pruned, migrated and undone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ckpt_doctor import facts, latest, migrate, prune, repair, scan
from ckpt_doctor.audit import check
from ckpt_doctor.errors import UsageError
from ckpt_doctor.trainers import Trainer, all_rules
from ckpt_doctor.trainers.trainer import one_by_one
from ckpt_doctor.types import Checkpoint, FileReport
from tests.trainers.toy import TOY

LENGTH = 4


@pytest.fixture(autouse=True)
def toy(known: Callable[[Trainer], None]) -> None:
    known(TOY)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Snaps after 2, 4 and 6 steps of a run with 4 steps per round, its rate halved every 3 steps."""
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
    for step in range(1, 7):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        scheduler.step()
        if step % 2 == 0:
            snap = tmp_path / f"run/snap-{step}"
            snap.mkdir(parents=True)
            torch.save(optimizer.state_dict(), snap / "opt.pt")
            torch.save(scheduler.state_dict(), snap / "sched.pt")
            save_file(model.state_dict(), snap / "weights.safetensors")
            (snap / "state.json").write_text(json.dumps({"done": step, "round": step // LENGTH, "top": 0.5}))
    return tmp_path / "run"


def put(path: Path, **values: Any) -> None:
    """Change values of a part."""
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    else:
        torch.save({**torch.load(path), **values}, path)


def judged(path: Path) -> FileReport:
    (file,) = [f for f in scan(path, facts=facts(steps_per_round=LENGTH)).files if f.checkpoint.path == path]
    return file


def codes(path: Path) -> set[str]:
    return {finding.code for finding in judged(path).findings if finding.severity != "info"}


def test_a_healthy_run_is_the_toys_and_resumes_identically(run: Path) -> None:
    report = scan(run, facts=facts(steps_per_round=LENGTH))
    assert [("toy", "ok", "identical")] * 3 == [(file.trainer, file.verdict, file.resume) for file in report.files]
    assert [2, 4, 6] == [file.member.state.global_step for file in report.files]
    assert [] == report.findings


@pytest.mark.parametrize(
    ("part", "values", "code"),
    [
        ("state.json", {"round": 2}, "P402"),
        ("state.json", {"done": 9}, "P403"),
        ("sched.pt", {"last_epoch": 4, "_step_count": 5}, "R501"),
        ("sched.pt", {"last_epoch": 7, "_step_count": 8}, "R502"),
        ("sched.pt", {"_step_count": 1}, "R503"),
        ("sched.pt", {"_last_lr": [0.7]}, "R504"),
        ("state.json", {"round": "one"}, "L303"),
    ],
)
def test_shared_rules_judge_its_parts_by_its_slots(run: Path, part: str, values: dict[str, Any], code: str) -> None:
    put(run / "snap-6" / part, **values)
    assert code in codes(run / "snap-6")
    assert not codes(run / "snap-4")


def test_its_own_rule_speaks_of_its_files_only(run: Path, tmp_path: Path) -> None:
    for snap in run.iterdir():
        put(snap / "state.json", top=None)
    torch.save({"w": torch.ones(2)}, tmp_path / "other.pt")
    report = scan(tmp_path, select=["P499"])
    assert {"run"} == {file.checkpoint.path.parent.name for file in report.files if file.findings}
    assert "P499" in {rule.code for rule in all_rules()}


def test_check_tells_where_it_goes_on(run: Path) -> None:
    plan = check(run / "snap-6", facts=facts(steps_per_round=LENGTH)).files[0].plan
    assert plan is not None
    assert (1, 2, 6, 0.025) == (plan.start_epoch, plan.skip_batches, plan.global_step, plan.next_lr)


def test_without_its_own_fact_the_place_is_open(run: Path) -> None:
    assert {"open"} == {file.resume for file in scan(run).files}
    with pytest.raises(UsageError, match="steps_per_round must be a whole number above 0"):
        facts(steps_per_round=0)


def test_latest_passes_over_a_damaged_one(run: Path) -> None:
    weights = run / "snap-6/opt.pt"
    weights.write_bytes(weights.read_bytes()[:-40])
    path, passed_over = latest(run)
    assert run / "snap-4" == path
    assert [run / "snap-6"] == [other for other, _ in passed_over]


def test_prune_keeps_what_latest_prefers(run: Path) -> None:
    (run / "snap-6").rename(run / "snap-1")  # the number in a name does not count
    result = prune(run, 1)
    assert {"snap-1"} == {path.name for path in run.glob("snap-*")}, result
    assert () == prune(run, 1).removed


def test_it_is_migrated_and_undone_byte_for_byte(run: Path) -> None:
    """Shared fixes, by its slots: JSON and pickled parts in one change."""
    snap, given = run / "snap-6", facts(steps_per_round=LENGTH)
    put(snap / "state.json", round=2)
    put(snap / "sched.pt", last_epoch=3, _step_count=4)
    before = {path.name: path.read_bytes() for path in snap.iterdir()}
    (result,) = migrate([snap], facts=given)
    assert "migrated" == result.status, result.message
    keys = {edit.path for edit in result.edits}
    assert {("state.json", "round"), ("sched.pt", "last_epoch"), ("sched.pt", "_step_count")} == keys
    assert ("ok", "identical") == (judged(snap).verdict, judged(snap).resume)
    assert 1 == json.loads((snap / "state.json").read_text())["round"]
    assert {name for name, raw in before.items() if (snap / name).read_bytes() != raw} == {"state.json", "sched.pt"}
    assert ["undone"] == [result.status for result in repair.undo([snap])]
    assert before == {path.name: path.read_bytes() for path in snap.iterdir()}


def test_a_trainer_that_looks_at_each_file_alone_names_those_that_are_its_own() -> None:
    paths = [Path(name) for name in ("a.pt", "b.ckpt", "c.pt")]
    checkpoints = [Checkpoint(path, 0, "torch-zip", "training", {}) for path in paths]
    recognises = one_by_one(lambda checkpoint: checkpoint.path.suffix == ".pt")
    assert {paths[0], paths[2]} == recognises(Path("run"), checkpoints, ())
