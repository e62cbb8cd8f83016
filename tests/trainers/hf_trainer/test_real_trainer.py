"""The real Trainer resumes as the plan says: from what is healthy, from what is broken, and from what was repaired."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor import audit, repair, scan

pytestmark = pytest.mark.long
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import torch  # noqa: E402

from tests.trainers.hf_trainer import real_runs  # noqa: E402
from tests.trainers.hf_trainer.real_runs import train  # noqa: E402

SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {"warmup_steps": 5},
    "cosine": {},
    "cosine_with_restarts": {},
    "polynomial": {},
    "constant": {},
    "constant_with_warmup": {"warmup_steps": 5},
    "inverse_sqrt": {"warmup_steps": 0.1},
    "reduce_lr_on_plateau": {
        "eval_strategy": "steps",
        "eval_steps": 5,
        "lr_scheduler_kwargs": {"patience": 0, "factor": 0.5},
    },
    "cosine_with_min_lr": {"lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
    "warmup_stable_decay": {"warmup_steps": 4, "lr_scheduler_kwargs": {"num_decay_steps": 10}},
}
BEST: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 5, "save_steps": 5, "metric_for_best_model": "loss"}
STOPPING: dict[str, Any] = {
    **BEST,
    "load_best_model_at_end": True,
    "patience": 3,
    "learning_rate": 0.3,
    "num_train_epochs": 8,
}


def one_cycle(model: torch.nn.Module) -> tuple[Any, Any]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=40)


def in_sequence(model: torch.nn.Module) -> tuple[Any, Any]:
    optimizer, of = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), torch.optim.lr_scheduler
    members = [of.LinearLR(optimizer, total_iters=5), of.CosineAnnealingLR(optimizer, 35)]
    return optimizer, of.SequentialLR(optimizer, members, [5])


HEALTHY: dict[str, dict[str, Any]] = {
    **{name: {"lr_scheduler_type": name, **more} for name, more in SCHEDULES.items()},
    **{
        f"optim-{name}": {"optim": name, "learning_rate": 0.001}
        for name in ("sgd", "adafactor", "adagrad", "rmsprop", "adamw_torch_fused")
    },
    **{f"accumulation-{n}": {"gradient_accumulation_steps": n, "save_steps": 2} for n in (2, 3, 4, 7, 20)},
    "epochs": {"save_strategy": "epoch", "eval_strategy": "epoch", "load_best_model_at_end": True},
    "limit": {**BEST, "load_best_model_at_end": True, "save_total_limit": 2},
    "evaluated-apart": {**BEST, "eval_steps": 3, "save_steps": 7},
    "only-the-best": {**BEST, "save_strategy": "best"},
    "max-steps": {"max_steps": 33},
    "half-an-epoch": {"num_train_epochs": 2.5},
    "uneven": {"rows": 37, "gradient_accumulation_steps": 3, "save_steps": 3},
    "one-epoch": {"num_train_epochs": 1, "save_steps": 3},
    "one-cycle": {"optimizers": one_cycle},
    "in-sequence": {"optimizers": in_sequence},
}


ENDED_WITHIN_AN_EPOCH = ("max-steps", "half-an-epoch")
"""Of these a resume from the last checkpoint makes one step more."""


def steps_of(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_runs_are_silent_and_resume_as_planned(tmp_path: Path, name: str) -> None:
    whole = train(tmp_path / "run", **HEALTHY[name])
    report = scan([tmp_path / "run"])
    files = [file for file in report.files if file.trainer == "hf"]
    assert [] == [(f.code, f.message) for f in report.findings if f.severity != "info"]
    assert {"P404", "R511"} >= {f.code for f in report.findings}, "and nothing else is worth a word"
    steps = steps_of(tmp_path / "run")
    assert len(steps) == len(files)
    differing = {f.member.named_step: f.resume for f in files if f.resume != "identical"}
    if name in ENDED_WITHIN_AN_EPOCH:
        beyond = train(tmp_path / "beyond", resume=tmp_path / f"run/checkpoint-{steps[-1]}", **HEALTHY[name])
        assert ({steps[-1]: "differs"}, steps[-1] + 1) == (differing, beyond.state.global_step)
    else:
        assert {} == differing
    middle = steps[len(steps) // 2 - 1] if len(steps) > 1 else steps[0]
    plan = next(f.plan for f in files if f.member.named_step == middle)
    assert plan is not None and plan.next_lr == plan.next_lr_uninterrupted
    again = train(tmp_path / "again", resume=tmp_path / f"run/checkpoint-{middle}", **HEALTHY[name])
    assert whole.after(middle) == again.after(middle)
    first = next(row for row in again.log if row["step"] == middle + 1 and "learning_rate" in row)
    if not name.startswith("accumulation"):
        assert plan.next_lr == first["learning_rate"]


def state_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "trainer_state.json").read_text())
    return found


def write_state(folder: Path, **changes: Any) -> None:
    (folder / "trainer_state.json").write_text(json.dumps({**state_of(folder), **changes}, indent=2))


def without_scheduler(folder: Path) -> None:
    (folder / "scheduler.pt").unlink()


def without_state(folder: Path) -> None:
    (folder / "trainer_state.json").unlink()


def wrong_step(folder: Path) -> None:
    write_state(folder, global_step=14, epoch=1.4)


def lagging_schedule(folder: Path) -> None:
    shutil.copy(folder.parent / "checkpoint-14/scheduler.pt", folder / "scheduler.pt")


def lagging_schedule_and_rate(folder: Path) -> None:
    lagging_schedule(folder)
    optimizer = torch.load(folder / "optimizer.pt")
    earlier = torch.load(folder.parent / "checkpoint-14/optimizer.pt")
    for group, other in zip(optimizer["param_groups"], earlier["param_groups"], strict=True):
        group["lr"] = other["lr"]
    torch.save(optimizer, folder / "optimizer.pt")


def cut(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])

    return spoil


def without_state_and_what_follows(folder: Path) -> None:
    without_state(folder)
    for path in folder.parent.glob("checkpoint-*"):
        if int(path.name.removeprefix("checkpoint-")) > 21:
            shutil.rmtree(path)


def without_step(folder: Path) -> None:
    state = state_of(folder)
    del state["global_step"]
    (folder / "trainer_state.json").write_text(json.dumps(state))


def other_base_rates(folder: Path) -> None:
    schedule = torch.load(folder / "scheduler.pt")
    torch.save({**schedule, "base_lrs": [0.02, 0.02]}, folder / "scheduler.pt")


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no-scheduler": (without_scheduler, "F114"),
    "no-state": (without_state, "F114"),
    "no-state-of-the-last": (without_state_and_what_follows, "F114"),
    "half-a-state": (cut("trainer_state.json"), "F101"),
    "half-a-schedule": (cut("scheduler.pt"), "F101"),
    "no-step": (without_step, "L302"),
    "other-base-rates": (other_base_rates, "R504"),
    "wrong-step": (wrong_step, "P403"),
    "schedule-lags": (lagging_schedule, "R501"),
    "schedule-and-rate-lag": (lagging_schedule_and_rate, "R501"),
}


STOPS = {
    "no-state": FileNotFoundError,
    "no-state-of-the-last": FileNotFoundError,
    "half-a-state": json.JSONDecodeError,
    "half-a-schedule": RuntimeError,
}


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_repaired_checkpoint_resumes_as_if_nothing_had_happened(tmp_path: Path, fault: str, schedule: str) -> None:
    run, (spoil, code) = tmp_path / "run", FAULTS[fault]
    whole = train(run, lr_scheduler_type=schedule)
    broken = run / "checkpoint-21"
    spoil(broken)
    judged = audit.check(broken).files[0]
    assert code in {f.code for f in judged.findings if f.severity != "info"} and judged.verdict == "repairable"
    if stops := STOPS.get(fault):
        with pytest.raises(stops):
            train(tmp_path / "other", resume=broken, lr_scheduler_type=schedule)
    else:
        unrepaired = train(tmp_path / "other", resume=broken, lr_scheduler_type=schedule)
        assert whole.after(21) != unrepaired.after(21)
    (result,) = repair.migrate([broken])
    assert result.status == "migrated", (result.message, result.refusals)
    assert audit.check(broken).files[0].resume == "identical"
    again = train(tmp_path / "again", resume=broken, lr_scheduler_type=schedule)
    assert whole.after(21) == again.after(21)


@pytest.mark.parametrize("step", [10, 15])
def test_a_state_from_a_later_checkpoint_is_the_true_one(tmp_path: Path, step: int) -> None:
    run = tmp_path / "run"
    train(run, **STOPPING)
    folder = run / f"checkpoint-{step}"
    true = state_of(folder)
    without_state(folder)
    assert repair.migrate([folder])[0].status == "migrated"
    written = state_of(folder)
    assert true.keys() == written.keys()
    assert {k: v for k, v in true.items() if k != "total_flos"} == {
        k: v for k, v in written.items() if k != "total_flos"
    }


def test_a_state_is_not_taken_from_before_an_evaluation(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, **BEST)
    for path in run.glob("checkpoint-*"):
        if int(path.name.removeprefix("checkpoint-")) > 15:
            shutil.rmtree(path)
    without_state(run / "checkpoint-15")
    assert audit.check(run / "checkpoint-15").files[0].verdict == "broken"
    (result,) = repair.migrate([run / "checkpoint-15"], fixes=["add-trainer-state"])
    assert result.status == "refused"


@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_an_evaluation_on_start_moves_no_plateau(tmp_path: Path, strategy: str) -> None:
    how = {**HEALTHY["reduce_lr_on_plateau"], "eval_strategy": strategy, "eval_on_start": True}
    whole = train(tmp_path / "whole", **how)
    run = tmp_path / "run"
    shutil.copytree(tmp_path / "whole/checkpoint-14", run / "checkpoint-14")
    assert train(run, resume=run / "checkpoint-14", **how).after(14) == whole.after(14)
    assert {"identical"} == {file.resume for file in scan([run]).files if file.trainer == "hf"}


def waited(folder: Path) -> int:
    callbacks = state_of(folder)["stateful_callbacks"]
    return int(callbacks["EarlyStoppingCallback"]["attributes"]["early_stopping_patience_counter"])


def test_patience_goes_on_with_the_flag_and_not_without(tmp_path: Path) -> None:
    run = tmp_path / "run"
    whole = train(run, **STOPPING)
    steps = steps_of(run)
    last = run / f"checkpoint-{steps[-1]}"
    assert waited(last) == 3 and "E604" in {f.code for f in audit.check(last).findings}
    for step in steps:
        told = {f.code for f in audit.check(run / f"checkpoint-{step}").findings if f.severity != "info"}
        assert ("E609" in told) == (0 < waited(run / f"checkpoint-{step}") < 3)
    resume = run / f"checkpoint-{steps[-2]}"
    plan = audit.check(resume).files[0].plan
    assert plan is not None and plan.flags == ("--restore_callback_states_from_checkpoint", "True")
    assert train(tmp_path / "without", resume=resume, **STOPPING).state.global_step > whole.state.global_step
    flags = {"restore_callback_states_from_checkpoint": True}
    again = train(tmp_path / "with", resume=resume, **STOPPING, **flags)
    assert again.after(steps[-2]) == whole.after(steps[-2])


def test_a_lost_best_is_replayed_to_what_it_was(tmp_path: Path) -> None:
    run = tmp_path / "run"
    whole = train(run, **BEST)
    folder = run / "checkpoint-30"
    true = state_of(folder)
    write_state(folder, best_metric=None, best_global_step=None, best_model_checkpoint=None)
    assert "E601" in {f.code for f in audit.check(folder).findings}
    assert repair.migrate([folder])[0].status == "migrated"
    assert (true["best_metric"], true["best_global_step"]) == tuple(
        state_of(folder)[key] for key in ("best_metric", "best_global_step")
    )
    assert train(tmp_path / "again", resume=folder, **BEST).after(30) == whole.after(30)


def test_a_lost_callback_is_replayed_and_the_next_save_goes_through(tmp_path: Path) -> None:
    run, how = tmp_path / "run", {**STOPPING, "restore_callback_states_from_checkpoint": True}
    whole = train(run, **how)
    folder = run / f"checkpoint-{steps_of(run)[1]}"
    callbacks = state_of(folder)["stateful_callbacks"]
    write_state(folder, stateful_callbacks={"TrainerControl": callbacks["TrainerControl"]})
    with pytest.raises(KeyError, match="EarlyStoppingCallback"):
        train(tmp_path / "other", resume=folder, **how)
    assert "L302" in {f.code for f in audit.check(folder).findings}
    assert repair.migrate([folder])[0].status == "migrated"
    assert callbacks == state_of(folder)["stateful_callbacks"]
    assert train(tmp_path / "again", resume=folder, **how).after(steps_of(run)[1]) == whole.after(steps_of(run)[1])


def test_a_moved_run_keeps_its_best(tmp_path: Path) -> None:
    train(tmp_path / "run", **BEST)
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere/checkpoint-30"
    best = state_of(folder)["best_model_checkpoint"]
    assert "E610" in {f.code for f in audit.check(folder).findings}
    assert repair.migrate([folder])[0].status == "migrated"
    written = Path(state_of(folder)["best_model_checkpoint"])
    assert written.name == Path(best).name and written.is_dir()


def test_an_evaluation_after_the_save_is_left_out_by_a_resume(tmp_path: Path) -> None:
    how: dict[str, Any] = {"eval_strategy": "epoch", "save_steps": 5, "metric_for_best_model": "loss"}
    whole = train(tmp_path / "run", **how)
    for step, is_left_out in ((20, True), (15, False)):
        folder = tmp_path / f"run/checkpoint-{step}"
        assert is_left_out == ("P405" in {f.code for f in audit.check(folder).findings})
        assert is_left_out == (train(tmp_path / f"from-{step}", resume=folder, **how).after(step) != whole.after(step))


def test_another_number_of_epochs_changes_the_rate_as_told(tmp_path: Path) -> None:
    train(tmp_path / "run")
    folder = tmp_path / "run/checkpoint-21"
    from ckpt_doctor import facts

    findings = audit.check(folder, facts=facts(num_train_epochs=6)).findings
    (told,) = (f.message for f in findings if f.code == "R512")
    again = train(tmp_path / "again", resume=folder, num_train_epochs=6)
    rate = next(row["learning_rate"] for row in again.log if row["step"] == 23 and "learning_rate" in row)
    assert f"{rate:.6g} instead of" in told


def test_the_command_is_read_without_the_library(tmp_path: Path) -> None:
    assert real_runs.DEFAULTS["learning_rate"] == 0.01
    train(tmp_path / "run", hub_token="hf_secret", num_train_epochs=1)
    from click.testing import CliRunner

    from ckpt_doctor.cli.main import app

    for command in (["scan", "-v"], ["scan", "--format", "json"], ["check"]):
        name = "run/checkpoint-7" if command == ["check"] else "run"
        printed = CliRunner().invoke(app, [*command, str(tmp_path / name)]).output
        assert "hf_secret" not in printed
