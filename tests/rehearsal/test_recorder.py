"""The hooks: they see each step once, change nothing, and leave nothing behind."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from ckpt_doctor.rehearsal import record, recorder
from ckpt_doctor.rehearsal.traces import Load, Restore, Save, Scheduler, ScheduleStep, State, Step, Trace, read_traces
from tests.rehearsal.loops import STEPS, Habits, recorded, train


class Twice(torch.optim.AdamW):
    """A subclass whose step calls its parent's."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": torch.optim.SGD,
    "adamw": torch.optim.AdamW,
    "foreach": lambda p, lr: torch.optim.AdamW(p, lr=lr, foreach=True),
    "fused": lambda p, lr: torch.optim.AdamW(p, lr=lr, fused=True),
    "subclass": Twice,
}


def _weights(model: nn.Module) -> list[list[float]]:
    return [parameter.detach().reshape(-1).tolist() for parameter in model.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_recording_changes_no_weight(name: str, tmp_path: Path) -> None:
    habits = Habits(optimizer=OPTIMIZERS[name])
    (tmp_path / "plain").mkdir()
    bare = train(habits, tmp_path / "plain")
    after = torch.get_rng_state()
    with record(tmp_path / "run.trace") as folder:
        watched = train(habits, tmp_path)
    assert torch.equal(torch.get_rng_state(), after)
    assert _weights(watched) == _weights(bare)
    assert [step.number for step in read_traces(folder)[0].steps[0]] == list(range(1, habits.epochs * STEPS + 1))


@pytest.mark.long
def test_recording_changes_no_weight_of_a_compiled_step(tmp_path: Path) -> None:
    def run() -> list[list[float]]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Linear(4, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

        @torch.compile(backend="eager")
        def step(x: torch.Tensor) -> torch.Tensor:
            return nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))

        compiled = torch.compile(optimizer.step, backend="eager")
        for n in range(10):
            step(torch.full((2, 4), n / 10)).backward()
            compiled()
            optimizer.zero_grad()
        return _weights(model)

    bare = run()
    torch._dynamo.reset()
    with record(tmp_path / "run.trace") as folder:
        assert run() == bare
    assert len(read_traces(folder)[0].steps[0]) == 10


def test_every_hook_is_taken_back(tmp_path: Path) -> None:
    def seams() -> list[object]:
        data = torch.utils.data.dataloader
        owners = (torch, torch.autograd, torch.optim.Optimizer, nn.Module, torch.amp.GradScaler, data.DataLoader)
        names = ("save", "load", "backward", "load_state_dict", "step", "__iter__")
        found = [vars(owner).get(name) for owner in owners for name in names]
        return [*found, data._BaseDataLoaderIter.__next__, lr_scheduler.StepLR.step, lr_scheduler.SequentialLR.step]

    before = seams()
    recorded(Habits(epochs=1), tmp_path)
    assert seams() == before
    assert "__init_subclass__" not in vars(lr_scheduler.LRScheduler)


def _trained(tmp_path: Path, run: Callable[[], object]) -> Trace:
    with record(tmp_path / "run.trace") as folder:
        run()
    return read_traces(folder)[0]


def _parameter() -> nn.Parameter:
    return nn.Parameter(torch.ones(3))


def test_skipped_steps_of_a_gradient_scaler_count_and_are_marked(tmp_path: Path) -> None:
    parameter = _parameter()
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)

    def run() -> None:
        for n in range(6):
            factor = float("inf") if n in (2, 4) else 1.0
            scaler.scale((parameter * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()

    steps = _trained(tmp_path, run).steps[0]
    assert [step.skipped for step in steps] == [False, False, True, False, True, False]
    assert [step.scale for step in steps] == [4.0, 4.0, 4.0, 2.0, 2.0, 1.0]


def test_a_schedule_of_schedules_steps_once(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([_parameter()], lr=0.1)

    def run() -> None:
        parts = [lr_scheduler.LinearLR(optimizer), lr_scheduler.StepLR(optimizer, 2)]
        chain = lr_scheduler.SequentialLR(optimizer, parts, milestones=[3])
        for _ in range(7):
            optimizer.step()
            chain.step()

    trace = _trained(tmp_path, run)
    names = {one.number: one.name for one in trace.all(Scheduler)}
    assert [names[step.scheduler] for step in trace.all(ScheduleStep)] == ["SequentialLR"] * 7


def test_a_scheduler_class_that_comes_later_is_seen(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([_parameter()], lr=0.1)

    def run() -> None:
        class Late(lr_scheduler.StepLR):
            def step(self, epoch: Any = None) -> None:
                super().step()

        schedule = Late(optimizer, 2)
        optimizer.step()
        schedule.step()

    trace = _trained(tmp_path, run)
    assert [one.name for one in trace.all(Scheduler)] == ["Late"]
    assert len(trace.all(ScheduleStep)) == 1


def test_a_save_into_a_buffer_gets_the_path_of_the_file_that_is_written_next(tmp_path: Path) -> None:
    saves = recorded(Habits(buffer=True, epochs=2), tmp_path).all(Save)
    assert [Path(save.path).name for save in saves] == ["epoch0.pt", "epoch1.pt"]
    assert [save.counters["epoch"] for save in saves] == [1, 2]


def test_everything_is_fingerprinted_after_a_save_and_after_a_load(tmp_path: Path) -> None:
    first = recorded(Habits(epochs=2), tmp_path, "a")
    assert [state.done for state in first.all(State)] == [0, STEPS]
    second = recorded(Habits(epochs=2), tmp_path, "b", resume=tmp_path / "epoch0.pt")
    loads = second.all(Load)
    assert [Path(load.path).name for load in loads] == ["epoch0.pt"]
    assert [one.what for one in second.all(Restore)] == ["model", "optimizer", "scheduler"]
    (expected,), (found,) = [s for s in first.all(State) if s.done], [s for s in second.all(State) if not s.done]
    assert (found.weights, found.moments, found.rates) == (expected.weights, expected.moments, expected.rates)


def test_two_optimizers_are_told_apart(tmp_path: Path) -> None:
    one, other = (torch.optim.SGD([_parameter()], lr=rate) for rate in (0.1, 0.2))

    def run() -> None:
        for _ in range(3):
            one.step()
            other.step()
            other.step()

    steps = _trained(tmp_path, run).steps
    assert {n: len(made) for n, made in steps.items()} == {0: 3, 1: 6}
    assert steps[1][0].rates == (0.2,)


def test_a_step_that_raises_does_not_hide_the_next(tmp_path: Path) -> None:
    parameter = _parameter()
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    loader = torch.utils.data.DataLoader([torch.ones(1), torch.ones(1)])

    def broken() -> None:
        raise ValueError("in the closure")

    def run() -> None:
        for n, _ in enumerate(loader):
            if n == 0:
                with pytest.raises(ValueError, match="closure"):
                    optimizer.step(broken)
            else:
                optimizer.step()

    assert len(_trained(tmp_path, run).steps[0]) == 1


def test_a_hook_that_fails_ends_the_recording_and_not_the_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no state")

    monkeypatch.setattr(recorder.Recorder, "random_states", fails)
    bare_folder = tmp_path / "bare"
    bare_folder.mkdir()
    with record(tmp_path / "run.trace") as folder:
        watched = train(Habits(epochs=1), tmp_path)
    assert capsys.readouterr().err == "ckpt-doctor: recording stopped: RuntimeError: no state\n"
    assert _weights(watched) == _weights(train(Habits(epochs=1), bare_folder))
    assert read_traces(folder)[0].ended == "failed: RuntimeError: no state"


def test_a_forked_child_writes_nothing(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([_parameter()], lr=0.1)
    with record(tmp_path / "run.trace") as folder:
        optimizer.step()
        child = os.fork()
        if child == 0:
            optimizer.step()
            os._exit(0)
        os.waitpid(child, 0)
        optimizer.step()
    assert [type(event) for event in read_traces(folder)[0].events if isinstance(event, Step)] == [Step, Step]


def test_values_that_are_read_late_are_those_that_would_be_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator, whose values lie there until the next read."""
    at_once = recorded(Habits(), tmp_path / "near")
    monkeypatch.setattr(recorder.Recorder, "is_far", lambda self, value: isinstance(value, torch.Tensor))
    late = recorded(Habits(), tmp_path / "far")
    assert '["late",' in late.path.read_text()
    assert late.all(Step) == at_once.all(Step)


LACKING = {
    "hash_tensor": (torch, "hash_tensor"),
    "dynamo": (torch, "_disable_dynamo"),
    "scaler": (torch.amp, "GradScaler"),
}


@pytest.mark.parametrize("piece", LACKING)
def test_an_older_torch_that_lacks_a_piece_is_recorded_too(
    piece: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(*LACKING[piece])
    first = recorded(Habits(epochs=2), tmp_path, "a")
    second = recorded(Habits(epochs=2), tmp_path, "b", resume=tmp_path / "epoch0.pt")
    assert len(first.steps[0]) == 2 * STEPS
    assert first.all(State)[1].weights == second.all(State)[0].weights


def test_a_torch_without_the_hooks_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.save
    monkeypatch.delattr(torch.nn.Module, "load_state_dict")
    monkeypatch.delattr(torch.utils.data.dataloader, "_BaseDataLoaderIter")
    with pytest.raises(AttributeError), record(tmp_path / "run.trace"):
        pass
    assert torch.save is before
    assert "__init_subclass__" not in vars(lr_scheduler.LRScheduler)


def test_a_folder_that_cannot_be_written_is_a_sentence_and_the_script_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    recorder.start({"folder": str(tmp_path / "file" / "trace")})
    try:
        train(Habits(epochs=1), tmp_path)
    finally:
        assert recorder.stop() is None
    said = capsys.readouterr().err
    assert said.startswith("ckpt-doctor: recording stopped: ")
    assert said.count("\n") == 1


def test_a_file_that_is_given_its_name_last_names_the_save(tmp_path: Path) -> None:
    """Lightning writes what it saved into a buffer to a temporary file, which it then renames."""
    optimizer = torch.optim.SGD([_parameter()], lr=0.1)

    def run() -> None:
        optimizer.step()
        buffer = io.BytesIO()
        torch.save({"epoch": 1}, buffer)
        (tmp_path / "temporary").write_bytes(buffer.getvalue())
        (tmp_path / "other").write_text("not the save")
        (tmp_path / "temporary").rename(tmp_path / "last.ckpt")

    assert [Path(save.path).name for save in _trained(tmp_path, run).all(Save)] == ["last.ckpt"]


def test_a_schedule_that_comes_after_another_has_gone_has_a_number_of_its_own(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([_parameter()], lr=0.1)

    def run() -> None:
        for _ in range(5):
            schedule = lr_scheduler.StepLR(optimizer, 2)
            optimizer.step()
            schedule.step()
            del schedule
            gc.collect()

    trace = _trained(tmp_path, run)
    assert sorted(one.number for one in trace.all(Scheduler)) == list(range(5))
    assert [step.scheduler for step in trace.all(ScheduleStep)] == list(range(5))


def test_many_recordings_in_one_process_hear_an_event_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit hook cannot be taken back: one each would make every file that is opened later a little slower."""
    hooks: list[object] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    monkeypatch.setattr(recorder, "_hears_events", False)
    for n in range(3):
        with record(tmp_path / str(n)):
            pass
    assert len(hooks) == 1
