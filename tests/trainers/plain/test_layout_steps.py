"""Loops that count steps, iterations or updates instead of epochs, under keys of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import facts, migrate, scan
from ckpt_doctor.types import FileReport
from tests.trainers.plain.plain_runs import BY_STEP, EPOCHS, STEPS, Loop, same

ALL = EPOCHS * STEPS
EVERY = 5
Form = Callable[[Loop, int], dict[str, Any]]
AS_IT_IS = {"resume_epoch": "label", "shuffle": False}
ONE_AFTER = {"resume_epoch": "label+1", "epoch_label": "next", "shuffle": False}

FORMS: dict[str, tuple[str, Form]] = {
    "denoising diffusion": (
        "step",
        lambda loop, done: {"step": done, "model": loop.model.state_dict(), "opt": loop.optimizer.state_dict()},
    ),
    "ignite": (
        "trainer.iteration",
        lambda loop, done: {
            "trainer": {"iteration": done, "epoch_length": STEPS, "max_epochs": EPOCHS},
            "model": loop.model.state_dict(),
            "optimizer": loop.optimizer.state_dict(),
        },
    ),
    "student": (
        "train_state.num_updates",
        lambda loop, done: {
            "train_state": {"num_updates": done},
            "student": loop.model.state_dict(),
            "optims": [loop.optimizer.state_dict()],
        },
    ),
}


def batch(loop: Loop, index: int, schedule: bool = True) -> None:
    """One step of the loop on its next batch."""
    data = loop.batches[index % STEPS]
    loop.optimizer.zero_grad()
    (loop.model(data) - data.sum(1, keepdim=True)).pow(2).mean().backward()
    loop.optimizer.step()
    if schedule and loop.scheduler is not None:
        loop.scheduler.step()


def trained(folder: Path, form: Form, schedule: str = "none", *, before: bool = False, saves: int = 4) -> Path:
    """A run saved every few steps, after or before its scheduler's step."""
    loop = Loop(schedule)
    for index in range(saves * EVERY):
        batch(loop, index, schedule=not before)
        if (index + 1) % EVERY == 0:
            state = form(loop, index + 1)
            if loop.scheduler is not None:
                state["lr_sched"] = loop.scheduler.state_dict()
            torch.save(state, folder / f"model-{index + 1}.pt")
        if before and loop.scheduler is not None:
            loop.scheduler.step()
    return folder


def straight(schedule: str) -> list[torch.Tensor]:
    """The uninterrupted run's end."""
    loop = Loop(schedule)
    for index in range(ALL):
        batch(loop, index)
    return loop.state


def resumed(path: Path, schedule: str) -> list[torch.Tensor]:
    """The end after a resume at the label."""
    loop, state = Loop(schedule), torch.load(path, weights_only=False)
    loop.model.load_state_dict(state.get("model") or state["student"])
    loop.optimizer.load_state_dict(state.get("opt") or state.get("optimizer") or state["optims"][0])
    if loop.scheduler is not None:
        loop.scheduler.load_state_dict(state["lr_sched"])
    label = state.get("step") or (state.get("trainer") or {}).get("iteration") or state["train_state"]["num_updates"]
    for index in range(label, ALL):
        batch(loop, index)
    return loop.state


def judged(path: Path, name: str = "model-10.pt", **given: Any) -> FileReport:
    """One file of a run."""
    return next(f for f in scan([path], facts=facts(**given)).files if f.checkpoint.path.name == name)


def codes(file: FileReport) -> set[str]:
    return {finding.code for finding in file.findings if finding.severity != "info"}


@pytest.mark.parametrize("schedule", ["none", *BY_STEP])
@pytest.mark.parametrize("form", FORMS)
def test_a_healthy_run_is_identical_and_its_resume_is(tmp_path: Path, form: str, schedule: str) -> None:
    file = judged(trained(tmp_path, FORMS[form][1], schedule), **AS_IT_IS)
    assert (set(), "identical") == (codes(file), file.resume)
    assert same(straight(schedule), resumed(file.checkpoint.path, schedule))


@pytest.mark.parametrize("schedule", ["OneCycleLR", "CyclicLR"])
def test_a_schedule_saved_before_its_step_lags_and_is_repaired(tmp_path: Path, schedule: str) -> None:
    run = trained(tmp_path, FORMS["denoising diffusion"][1], schedule, before=True)
    file = judged(run, "model-5.pt", **AS_IT_IS)
    assert ({"R501"}, "differs") == (codes(file), file.resume)
    assert not same(straight(schedule), resumed(file.checkpoint.path, schedule))
    migrate([run], fixes=["sync-scheduler"], facts=facts(**AS_IT_IS))
    assert same(straight(schedule), resumed(file.checkpoint.path, schedule))
    assert "identical" == judged(run, "model-5.pt", **AS_IT_IS).resume


@pytest.mark.parametrize("form", FORMS)
def test_a_script_that_starts_one_too_far_is_told_from_the_label(tmp_path: Path, form: str) -> None:
    run = trained(tmp_path, FORMS[form][1], "OneCycleLR")
    file = judged(run, **ONE_AFTER)
    (found,) = (finding for finding in file.findings if finding.code == "P402")
    assert (FORMS[form][0], 10, 9) == (found.where, found.found, found.expected)
    migrate([run], fixes=["fix-epoch"], facts=facts(**ONE_AFTER))
    assert (set(), "identical") == (codes(after := judged(run, **ONE_AFTER)), after.resume)


def test_counts_in_a_nested_timestamp_beside_model_and_optimizer(tmp_path: Path) -> None:
    """Composer's: Adam's steps are read there as well, which prove that the label counts them."""

    def form(loop: Loop, done: int) -> dict[str, Any]:
        counts = {"iteration": 0, "epoch": done, "batch": 4 * done, "batch_in_epoch": 0}
        parts = {"model": loop.model.state_dict(), "optimizers": {"Adam": loop.optimizer.state_dict()}}
        return {"state": {"timestamp": {"Timestamp": counts}, **parts}, "rng": []}

    file = judged(trained(tmp_path, form), **AS_IT_IS)
    assert (set(), "identical", 10) == (codes(file), file.resume, file.plan.start_epoch)


def test_a_project_that_is_known_needs_no_script(tmp_path: Path) -> None:
    file = judged(trained(tmp_path, FORMS["ignite"][1], "OneCycleLR"), shuffle=False)
    assert ([], 10, "identical") == ([*file.findings], file.plan.global_step, file.resume)


def test_without_the_script_where_it_starts_is_open(tmp_path: Path) -> None:
    file = judged(trained(tmp_path, FORMS["student"][1]), shuffle=False)
    assert "open" == file.resume
    assert ["P412"] == [finding.code for finding in file.findings]


def test_one_file_alone_is_judged_where_adam_counts_as_the_label_does(tmp_path: Path) -> None:
    run = trained(tmp_path, FORMS["denoising diffusion"][1], "OneCycleLR", saves=1)
    assert "identical" == judged(run, "model-5.pt", **AS_IT_IS).resume


def test_of_mixed_precision_adams_steps_prove_no_position(tmp_path: Path) -> None:
    """A gradient that is not finite leaves a step of Adam out: the label and the schedule are ahead, and right."""
    scaler = torch.amp.GradScaler("cpu", enabled=True).state_dict()
    run = trained(tmp_path, lambda loop, done: {**FORMS["ignite"][1](loop, done), "scaler": scaler}, "OneCycleLR")
    for path in run.iterdir():
        state = torch.load(path, weights_only=False)
        for entry in state["optimizer"]["state"].values():
            entry["step"] -= 1
        torch.save(state, path)
    alone = tmp_path / "model-5.pt"
    assert (set(), "open") == (codes(file := judged(alone, "model-5.pt", **AS_IT_IS)), file.resume)
    assert set() == codes(judged(run, **AS_IT_IS))


def test_a_label_of_another_moment_shows_by_its_siblings(tmp_path: Path) -> None:
    run = trained(tmp_path, FORMS["denoising diffusion"][1], "OneCycleLR")
    state = torch.load(run / "model-10.pt", weights_only=False)
    torch.save({**state, "step": 15}, run / "model-10.pt")
    assert "P402" in codes(judged(run))
    migrate([run], fixes=["fix-epoch"])
    assert 10 == torch.load(run / "model-10.pt", weights_only=False)["step"]


def test_an_iteration_that_counts_epochs_is_seen_from_three_files(tmp_path: Path) -> None:
    """VITS and its kin: `iteration` is the epoch."""
    loop = Loop("StepLR")
    for epoch in range(4):
        loop.train()
        loop.step()
        state = {"model": loop.model.state_dict(), "optimizer": loop.optimizer.state_dict(), "iteration": epoch + 1}
        torch.save({**state, "sched": loop.scheduler.state_dict()}, tmp_path / f"G_{(epoch + 1) * STEPS}.pth")
    assert "identical" == judged(tmp_path, "G_8.pth", **AS_IT_IS).resume


@pytest.mark.parametrize("counts", [{"step": 5.5}, {"step": True}, {"step": -1}, {}])
def test_no_label_makes_no_loop(tmp_path: Path, counts: dict[str, Any]) -> None:
    torch.save({**FORMS["denoising diffusion"][1](Loop(), 5), "step": None} | counts, tmp_path / "model.pt")
    assert "plain" != scan([tmp_path]).files[0].trainer


@pytest.mark.parametrize("per_step", [4, 128])
def test_a_label_that_counts_several_of_the_optimizers_steps_as_one(tmp_path: Path, per_step: int) -> None:
    """Batches whose gradients are gathered, environment steps; the last file was saved between two steps."""
    loop = Loop("OneCycleLR")
    for done in range(1, 19):
        batch(loop, done)
        if done % 3 == 0:
            state = {"model": loop.model.state_dict(), "optimizer": loop.optimizer.state_dict()}
            label = per_step * done + (done == 18)
            torch.save({**state, "step": label, "sched": loop.scheduler.state_dict()}, tmp_path / f"step_{label}.pt")
    files = {file.checkpoint.path.name: file for file in scan([tmp_path], facts=facts(**AS_IT_IS)).files}
    last = files.pop(f"step_{18 * per_step + 1}.pt")
    assert (set(), "open") == (codes(last), last.resume)
    assert {(frozenset(), "identical")} == {(frozenset(codes(file)), file.resume) for file in files.values()}


def test_a_count_beside_the_label_is_judged_and_set_right(tmp_path: Path) -> None:
    """Not one that falls back now and then: RecBole's `cur_step` counts epochs without a better score."""
    run = trained(tmp_path, lambda loop, done: {**FORMS["student"][1](loop, done), "iteration": done // EVERY}, saves=5)
    for path in run.iterdir():
        state = torch.load(path, weights_only=False)
        at = state["iteration"]
        torch.save({**state, "cur_step": at if at < 5 else 0, "global_step": 128 * at + (at == 3)}, path)
    file = judged(run, "model-15.pt", **AS_IT_IS)
    assert {("P402", "global_step", 3 * 128)} == {(f.code, f.where, f.expected) for f in file.findings}
    assert "open" == file.resume
    migrate([run], facts=facts(**AS_IT_IS))
    assert {("identical", ())} == {
        (file.resume, tuple(file.findings)) for file in scan([run], facts=facts(**AS_IT_IS)).files
    }


def test_of_files_saved_by_steps_within_epochs_a_part_of_another_moment_shows(tmp_path: Path) -> None:
    """Their epochs come several times, or are left out: the count of steps beside them grows with Adam's."""
    run = trained(
        tmp_path,
        lambda loop, done: {**FORMS["denoising diffusion"][1](loop, done), "epoch": done // 7},
        "LambdaLR by step",
        saves=6,
    )
    assert {("open", frozenset())} == {(file.resume, frozenset(codes(file))) for file in scan([run]).files}
    whole = {path.name: path.read_bytes() for path in run.iterdir()}
    other = torch.load(run / "model-20.pt", weights_only=False)
    early = torch.load(run / "model-5.pt", weights_only=False)
    odd = ({"opt": other["opt"]}, "P409"), ({"lr_sched": early["lr_sched"]}, "P409"), ({"step": 17}, "P402")
    for change, code in odd:
        torch.save({**torch.load(run / "model-15.pt", weights_only=False), **change}, run / "model-15.pt")
        assert {"model-15.pt": {code}} == {
            f.checkpoint.path.name: codes(f) - {"R504"} for f in scan([run]).files if codes(f)
        }
        (run / "model-15.pt").write_bytes(whole["model-15.pt"])


def test_detectron2_starts_one_after_the_iteration_in_the_file(tmp_path: Path) -> None:
    """Its SGD counts no steps: the name and the key show the project, whose code starts at `iteration + 1`."""
    loop = Loop("LambdaLR by step", "SGD")
    for index in range(15):
        batch(loop, index)
        if index % EVERY == EVERY - 1:
            parts = {"model": loop.model, "optimizer": loop.optimizer, "scheduler": loop.scheduler}
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save({**state, "iteration": index}, tmp_path / f"model_{index:07d}.pth")
    file = judged(tmp_path, "model_0000009.pth", shuffle=False)
    assert (set(), 10) == (codes(file), file.plan.global_step)
    assert "identical" == file.resume


def test_a_teacher_and_a_loss_beside_the_trained_model_are_no_second_one(tmp_path: Path) -> None:
    """DINO's files: what has no moments is either an average or a buffer."""
    loop = Loop("OneCycleLR")
    for index in range(15):
        batch(loop, index)
        if index % EVERY == EVERY - 1:
            state = {
                "student": loop.model.state_dict(),
                "teacher": loop.model.state_dict(),
                "epoch": (index + 1) // EVERY,
            }
            parts = {"optimizer": loop.optimizer.state_dict(), "lr": loop.scheduler.state_dict()}
            torch.save({**state, **parts, "dino_loss": {"center": torch.zeros(1, 2)}}, tmp_path / f"c{index:04d}.pth")
    file = judged(tmp_path, "c0009.pth", **AS_IT_IS)
    assert ("plain", "identical") == (file.trainer, file.resume)


def test_a_model_whose_optimizer_is_elsewhere_is_not_judged_by_another_s(tmp_path: Path) -> None:
    loop, other = Loop(), Loop()
    loop.train()
    state = {"G": loop.model.state_dict(), "D": other.model.state_dict(), "optim": loop.optimizer.state_dict()}
    torch.save({**state, "epoch": 1}, tmp_path / "gan.pt")
    assert "not judged" == scan([tmp_path]).files[0].resume


@pytest.mark.parametrize("given", [{}, AS_IT_IS])
def test_a_schedule_that_waits_with_adam_is_in_step(tmp_path: Path, given: dict[str, Any]) -> None:
    """Loops of mixed precision step the scheduler only where the scaler did not skip the optimizer's step."""
    loop, scaler = Loop("OneCycleLR"), torch.amp.GradScaler("cpu", enabled=True).state_dict()
    for index in range(4 * EVERY):
        if index not in (2, 9):
            batch(loop, index)
        if index % EVERY == EVERY - 1:
            state = {**FORMS["denoising diffusion"][1](loop, index + 1), "scheduler": loop.scheduler.state_dict()}
            torch.save({**state, "scaler": scaler}, tmp_path / f"model-{index + 1}.pt")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    report = scan([tmp_path], facts=facts(**given))
    assert set[str]().union(*map(codes, report.files)) == set()
    assert not any(file.resume == "identical" for file in report.files)
    migrate([tmp_path], facts=facts(**given))
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize("given", [{}, AS_IT_IS])
def test_saves_by_steps_that_also_count_epochs_prove_no_length_of_an_epoch(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    """Saved every 5 steps of epochs of 4, `epoch` is 1, 2, 3 and 5: nothing is wrong with the last."""
    state = FORMS["denoising diffusion"][1]
    run = trained(tmp_path, lambda loop, done: {**state(loop, done), "epoch": done // STEPS}, "OneCycleLR")
    for file in scan([run], facts=facts(**given)).files:
        assert (set(), "open") == (codes(file), file.resume)


@pytest.mark.parametrize("odd", ["model-20.pt", "epoch_{}.pt"])
def test_where_names_count_epochs_the_last_label_is_wrong(tmp_path: Path, odd: str) -> None:
    """As it is where the files have nothing but epochs."""
    state = FORMS["denoising diffusion"][1]
    run = trained(tmp_path, lambda loop, done: {**state(loop, done), "epoch": done // EVERY}, "OneCycleLR")
    if "{}" in odd:
        for number in range(1, 5):
            (run / f"model-{number * EVERY}.pt").rename(run / odd.format(number))
    path = run / odd.format(4)
    value = torch.load(path, weights_only=False)
    torch.save({**value, "epoch": 5}, path)
    assert ({"P402"} if "{}" in odd else set()) == codes(judged(run, path.name, **AS_IT_IS))


def test_a_schedule_shows_the_steps_that_the_optimizer_does_not_count(tmp_path: Path) -> None:
    loop = Loop("CyclicLR", "SGD")
    for index in range(ALL):
        batch(loop, index)
        if index % EVERY == EVERY - 1:
            state = {**FORMS["denoising diffusion"][1](loop, index + 1), "lr_sched": loop.scheduler.state_dict()}
            torch.save(state, tmp_path / f"model-{index + 1}.pt")
    end, resumed = loop.state, Loop("CyclicLR", "SGD")
    value = torch.load(tmp_path / "model-10.pt", weights_only=False)
    for part, key in ((resumed.model, "model"), (resumed.optimizer, "opt"), (resumed.scheduler, "lr_sched")):
        part.load_state_dict(value[key])
    for index in range(value["step"], ALL):
        batch(resumed, index)
    assert same(end, resumed.state)
    told = {**AS_IT_IS, "epoch_label": "next"}
    assert "identical" == judged(tmp_path, **told).resume
    assert "identical" != judged(tmp_path, **{**told, "epoch_label": "finished"}).resume


def test_start_epoch_is_a_label(tmp_path: Path) -> None:
    """YOLOX's name for it."""
    state = FORMS["denoising diffusion"][1]
    run = trained(tmp_path, lambda loop, done: {**state(loop, done), "step": None, "start_epoch": done // EVERY})
    assert ("plain", "identical") == ((file := judged(run, **AS_IT_IS)).trainer, file.resume)
