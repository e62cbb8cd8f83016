"""Several optimizers in one file: each with its schedule at its own position, by its own steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ckpt_doctor import facts, migrate, scan, undo
from ckpt_doctor.types import FileReport
from tests.sampled import sampled
from tests.trainers.plain.plain_runs import EPOCHS, STEPS, same
from tests.trainers.plain.several_runs import (
    ALIKE,
    DCGAN,
    GAN,
    KINDS,
    LISTS,
    PARTS,
    SGD,
    WGAN,
    Loop,
    Saved,
    resumed,
    run,
    straight,
)

TOLD: dict[str, Any] = {"resume_epoch": "label+1", "shuffle": False}
STEP, COSINE, POLYNOMIAL = "StepLR", "CosineAnnealingLR", "PolynomialLR"


def judged(folder: Path, **told: Any) -> list[FileReport]:
    return list(scan([folder], facts=facts(**{**TOLD, **told})).files)


def serious(file: FileReport) -> list[tuple[str, str, str | None]]:
    return [(found.code, found.where, found.migration) for found in file.serious]


def changed(path: Path, change: Callable[[Saved, Saved], object], donor: Path | None = None) -> Path:
    """Rewrite a file with a part of another one."""
    value = torch.load(path, weights_only=False)
    change(value, torch.load(donor, weights_only=False) if donor else {})
    torch.save(value, path)
    return path


def migrated(path: Path) -> None:
    (result,) = [result for result in migrate([path.parent], facts=facts(**TOLD)) if result.path == path]
    assert result.status == "migrated", result


@pytest.mark.parametrize(
    "schedules", sampled([(None, None, None), (STEP, COSINE, STEP), (STEP, None, COSINE)], (STEP, COSINE, STEP))
)
@pytest.mark.parametrize("kind", sampled(KINDS, "GAN", "LISTS", "PARTS"))
def test_a_healthy_run_is_identical_and_resumes_so(tmp_path, kind, schedules):
    folder = run(tmp_path, KINDS[kind], *schedules)
    assert [("plain", "identical", [])] * 5 == [(f.trainer, f.resume, serious(f)) for f in judged(folder)]
    for number in (0, 2):
        path = folder / f"checkpoint_{number}.pt"
        assert same(straight(KINDS[kind], *schedules), resumed(path, KINDS[kind], *schedules))


@pytest.mark.parametrize("kind", sampled(["GAN", "WGAN", "LISTS", "PARTS"], "GAN"))
@pytest.mark.parametrize("schedules", [(STEP, COSINE, STEP), ("OneCycleLR", STEP, COSINE)])
def test_files_saved_before_their_schedules_step_are_cured(tmp_path, kind, schedules):
    """Each schedule at its own pace; one that goes by steps is where it should be."""
    made = KINDS[kind]
    if kind == "WGAN" or (schedules[0] == "OneCycleLR" and kind == "PARTS"):
        schedules = (COSINE, *schedules[1:])  # OneCycleLR is as long as all batches
    folder = run(tmp_path, made, *schedules, before_step=True)
    late = [at for at, name in enumerate(schedules[: len(made.keys)]) if name != "OneCycleLR"]
    path = folder / "checkpoint_2.pt"
    before = path.read_bytes()
    file = judged(folder)[2]
    assert file.resume == "differs"
    places = [".".join(map(str, key)) if isinstance(key, tuple) else key for _, _, key in made.keys]
    places = [place.replace(".0", "[0]").replace(".1", "[1]").replace(".2", "[2]") for place in places]
    assert serious(file) == [("R501", f"{places[at]}.last_epoch", "sync-scheduler") for at in late]
    assert not same(straight(made, *schedules), resumed(path, made, *schedules))
    migrated(path)
    assert same(straight(made, *schedules), resumed(path, made, *schedules))
    assert ("identical", []) == (judged(folder)[2].resume, serious(judged(folder)[2]))
    undo([path])
    assert before == path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "schedules"),
    [(GAN, (POLYNOMIAL, COSINE)), (WGAN, (COSINE, POLYNOMIAL)), (SGD, (POLYNOMIAL, COSINE))],
)
@pytest.mark.parametrize("at", sampled([0, 1], 1))
def test_one_schedule_of_another_moment_is_named_and_cured(tmp_path, kind, schedules, at):
    """By its key path; the other optimizer is left alone."""
    folder, key = run(tmp_path, kind, *schedules), DCGAN[at][2]
    path = changed(folder / "checkpoint_3.pt", lambda v, o: v.update({key: o[key]}), folder / "checkpoint_1.pt")
    assert serious(judged(folder)[3]) == [("R501", f"{key}.last_epoch", "sync-scheduler")]
    assert judged(folder)[3].resume == "differs"
    assert not same(straight(kind, *schedules), resumed(path, kind, *schedules))
    migrated(path)
    assert same(straight(kind, *schedules), resumed(path, kind, *schedules))
    assert {("identical", ())} == {(file.resume, tuple(serious(file))) for file in judged(folder)}


@pytest.mark.parametrize(("kind", "schedules"), [(GAN, (STEP, COSINE)), (PARTS, (COSINE, STEP)), (SGD, (STEP, COSINE))])
@pytest.mark.parametrize("at", sampled([0, 1], 1))
def test_one_lost_schedule_is_rebuilt_from_a_sibling(tmp_path, kind, schedules, at):
    folder, key = run(tmp_path, kind, *schedules), kind.keys[at][2]
    inside = key if isinstance(key, tuple) else (key,)

    def lose(value: Saved, _: Saved) -> None:
        held = value
        for name in inside[:-1]:
            held = held[name]
        del held[inside[-1]]

    path = changed(folder / "checkpoint_2.pt", lose)
    assert serious(judged(folder)[2]) == [("R508", ".".join(inside), "sync-scheduler")]
    assert not same(straight(kind, *schedules), resumed(path, kind, *schedules))
    migrated(path)
    assert same(straight(kind, *schedules), resumed(path, kind, *schedules))
    assert ("identical", []) == (judged(folder)[2].resume, serious(judged(folder)[2]))


@pytest.mark.parametrize("lost", [[0], [2], [0, 1, 2]])
def test_schedules_lost_from_a_list(tmp_path, lost):
    """What is left shows by its rates whose it is. A place in a list that another schedule has is not written."""
    schedules = (STEP, COSINE, STEP)
    folder = run(tmp_path, LISTS, *schedules)

    def lose(value: Saved, _: Saved) -> None:
        value["schedulers"] = [one for at, one in enumerate(value["schedulers"]) if at not in lost]

    path = changed(folder / "checkpoint_2.pt", lose)
    found = serious(judged(folder)[2])
    assert [code for code, _, _ in found] == ["R508"] * len(lost)
    assert judged(folder)[2].resume != "identical"
    results = migrate([folder], facts=facts(**TOLD))
    assert not {"failed"} & {result.status for result in results}
    assert "identical" == judged(folder)[2].resume
    assert same(straight(LISTS, *schedules), resumed(path, LISTS, *schedules))


@pytest.mark.parametrize("at", [0, 1])
def test_an_optimizer_of_another_moment_has_no_cure(tmp_path, at):
    key = DCGAN[at][1]
    folder = run(tmp_path, WGAN, STEP, COSINE)
    path = changed(folder / "checkpoint_3.pt", lambda v, o: v.update({key: o[key]}), folder / "checkpoint_2.pt")
    found = [one for one in serious(judged(folder)[3]) if one[0] != "R504"]
    assert found == [("P409", f"{key}.state", None)]
    assert judged(folder)[3].resume == "differs"
    assert not same(straight(WGAN, STEP, COSINE), resumed(path, WGAN, STEP, COSINE))


def test_a_label_of_another_moment_is_one_finding(tmp_path):
    folder = run(tmp_path, GAN, STEP, COSINE)
    path = changed(folder / "checkpoint_2.pt", lambda v, _: v.update(epoch=7))
    assert [("P402", "epoch", "fix-epoch")] == serious(judged(folder)[2])
    migrated(path)
    assert same(straight(GAN, STEP, COSINE), resumed(path, GAN, STEP, COSINE))


@pytest.mark.parametrize("gone", [DCGAN[0][:1], DCGAN[0][:1] + DCGAN[1][:1]], ids=["one model", "both models"])
def test_weights_in_another_file_leave_the_resume_open(tmp_path, gone):
    """HiFi-GAN's `do_00001000`, BasicSR's `1000.state`: label, optimizers and schedules are judged."""
    folder = run(tmp_path, GAN, STEP, COSINE)
    for path in folder.iterdir():
        changed(path, lambda v, _: [v.pop(key) for key in gone])
    assert {("open", ())} == {(file.resume, tuple(serious(file))) for file in judged(folder)}
    assert all("the weights" in {one.what for one in file.plan.open} for file in judged(folder))
    changed(
        folder / "checkpoint_2.pt", lambda v, o: v.update({DCGAN[0][1]: o[DCGAN[0][1]]}), folder / "checkpoint_1.pt"
    )
    assert ["P409"] == [code for code, _, _ in serious(judged(folder)[2]) if code != "R504"]
    assert [[]] * 4 == [serious(file) for file in judged(folder) if file.checkpoint.path.stem[-1] != "2"]


def test_an_optimizer_under_the_name_of_another(tmp_path):
    """`"optimizerD": optimizerG.state_dict()`: its moments are those of the other model."""
    folder = run(tmp_path, GAN, None, None)
    one, other = DCGAN[0][1], DCGAN[1][1]
    path = changed(folder / "checkpoint_2.pt", lambda v, _: v.update({other: dict(v[one])}))
    assert ["O701"] == [code for code, _, _ in serious(judged(folder)[2])]
    assert serious(judged(folder)[2])[0][1].startswith(other)
    with pytest.raises((ValueError, RuntimeError)):
        resumed(path, GAN, None, None)


def test_rates_that_are_no_schedulers(tmp_path):
    """Said of each optimizer, where none has the rates of any schedule."""
    folder, keys = run(tmp_path, GAN, STEP, COSINE), [key for _, key, _ in DCGAN]
    by_hand = lambda v, _: [v[key]["param_groups"][0].update(lr=0.5) for key in keys]  # noqa: E731
    changed(folder / "checkpoint_2.pt", by_hand)
    assert [("R504", f"{key}.param_groups[0].lr", None) for key in keys] == serious(judged(folder)[2])


def test_whose_schedule_it_is_may_stay_open(tmp_path):
    """Both optimizers began at one rate and are at one rate; the name of the only schedule tells nothing."""
    folder = run(tmp_path, ALIKE, STEP, STEP)
    for path in folder.iterdir():
        changed(path, lambda v, _: v.update(scheduler=v.pop("sched_g")) or v.pop("sched_d"))
    for file in judged(folder):
        assert ("open", []) == (file.resume, serious(file))
        assert ["whose schedule scheduler is"] == [
            what.what for what in file.not_checked if what.what.startswith("whose")
        ]


def test_an_optimizer_that_joins_late_or_never_is_no_fault(tmp_path):
    """The discriminator is trained from the third epoch on, or not at all."""
    for begin in (2, 9):
        folder = tmp_path / str(begin)
        folder.mkdir()
        loop = Loop(GAN, STEP, None)
        own = loop.optimizers[1].step
        for epoch in range(EPOCHS - 1):
            loop.optimizers[1].step = own if epoch >= begin else lambda: None  # type: ignore[method-assign]
            loop.train()
            loop.step()
            torch.save(loop.saved(epoch), folder / f"checkpoint_{epoch}.pt")
        assert {("identical", ())} == {(file.resume, tuple(serious(file))) for file in judged(folder)}


def test_one_file_with_the_length_of_an_epoch(tmp_path):
    """Of the optimizer whose steps go with the label, where each makes another number of steps."""
    for steps in (2, 4):
        folder = run(tmp_path / str(steps), WGAN, STEP, STEP, before_step=True, epochs=1)
        (file,) = judged(folder, steps_per_epoch=steps)
        assert ["R501", "R501"] == [code for code, _, _ in serious(file)]
    (file,) = judged(folder)
    assert ("open", []) == (file.resume, serious(file))


def test_only_one_of_two_schedules_is_saved(tmp_path):
    """No file has the other: its rate has moved, and a fresh one starts anew."""
    folder = run(tmp_path, GAN, STEP, COSINE)
    for path in folder.iterdir():
        changed(path, lambda v, _: v.pop(DCGAN[1][2]))
    for file in judged(folder):
        assert [("R508", f"{DCGAN[1][1]}.param_groups[0].lr", None)] == serious(file)
        assert file.resume in ("differs", "open")


def test_it_stays_silent_where_one_model_has_two_optimizers_of_the_same_weights(tmp_path):
    """Two losses over shared weights."""
    folder = tmp_path / "shared"
    folder.mkdir()
    model = torch.nn.Linear(3, 2)
    optimizers = [torch.optim.Adam(model.parameters(), lr=rate) for rate in (0.01, 0.02)]
    for epoch in range(4):
        for optimizer in optimizers:
            optimizer.zero_grad()
            model(torch.ones(4, 3)).sum().backward()
            optimizer.step()
        states = {f"optimizer_{name}": one.state_dict() for name, one in zip("ab", optimizers, strict=True)}
        torch.save({"epoch": epoch, "model": model.state_dict(), **states}, folder / f"{epoch}.pt")
    assert {("identical", ())} == {(file.resume, tuple(serious(file))) for file in judged(folder)}


def test_an_optimizer_that_lost_its_state(tmp_path):
    """An earlier file has it; where none has, it may not have been stepped yet."""
    key = DCGAN[0][1]
    folder = run(tmp_path / "lost", GAN, STEP, None)
    changed(folder / "checkpoint_2.pt", lambda v, _: v[key].update(state={}))
    assert [("O705", f"{key}.state", None)] == [one for one in serious(judged(folder)[2]) if one[0] != "P409"]
    assert [[]] * 4 == [serious(file) for file in judged(folder) if file.checkpoint.path.stem[-1] != "2"]
    assert judged(folder)[2].resume == "differs"
    folder = run(tmp_path / "new", GAN, STEP, None)
    for path in folder.glob("*_[01].pt"):
        changed(path, lambda v, _: v[key].update(state={}))
    assert [[]] * 5 == [serious(file) for file in judged(folder)]
    changed(folder / "checkpoint_3.pt", lambda v, _: v.update(epoch=0))  # which blames none that has not begun
    assert [[]] * 4 == [serious(file) for file in judged(folder) if file.checkpoint.path.stem[-1] != "3"]


def test_a_temperature_beside_the_models_is_no_foreign_parameter(tmp_path):
    """Soft actor-critic: an optimizer of one number that no model has; target networks are copies."""
    loop, alpha = Loop(GAN, None, None), torch.nn.Parameter(torch.zeros(1))
    third = torch.optim.Adam([alpha], lr=0.003)
    for epoch in range(4):
        loop.train()
        for _ in range(3):
            third.zero_grad()
            alpha.exp().sum().backward()
            third.step()
        more = {"log_alpha": alpha.detach().clone(), "alpha_optimizer": third.state_dict()}
        more["target_critic"] = loop.models[1].state_dict()
        torch.save({**loop.saved(epoch), **more}, tmp_path / f"sac_{epoch}.pt")
    assert {("plain", "identical", ())} == {(f.trainer, f.resume, tuple(serious(f))) for f in judged(tmp_path)}


@pytest.mark.parametrize("schedules", [(STEP, COSINE), (POLYNOMIAL, "LinearLR")])
@pytest.mark.parametrize("kind", [GAN, ALIKE])
def test_a_schedule_under_the_name_of_another(tmp_path, kind, schedules):
    """Copied over it, or the two exchanged; the siblings show whose each is."""
    (_, _, one), (_, _, other) = kind.keys
    for name, change in (
        ("copied", lambda v, _: v.update({other: dict(v[one])})),
        ("exchanged", lambda v, _: v.update({one: v[other], other: v[one]})),
    ):
        folder = run(tmp_path / name, kind, *schedules)
        changed(folder / "checkpoint_2.pt", change)
        file = judged(folder)[2]
        assert [("R509", key) for key in (one, other)][name == "copied" :] == [(c, w) for c, w, _ in serious(file)]
        assert file.resume == "differs"
        assert [[]] * 4 == [serious(file) for file in judged(folder) if file.checkpoint.path.stem[-1] != "2"]


def test_schedules_that_changed_places_in_a_list(tmp_path):
    folder = run(tmp_path, LISTS, STEP, COSINE, POLYNOMIAL)
    changed(folder / "checkpoint_2.pt", lambda v, _: v["schedulers"].reverse())
    assert [("R509", "schedulers[2]"), ("R509", "schedulers[0]")] == [(c, w) for c, w, _ in serious(judged(folder)[2])]
    assert judged(folder)[2].resume == "differs"


def test_an_optimizer_that_counts_no_steps_shows_by_its_rate(tmp_path):
    """SGD from another epoch's file, where the two agree in all others."""
    folder, key = run(tmp_path, SGD, STEP, COSINE), DCGAN[1][1]
    changed(folder / "checkpoint_3.pt", lambda v, o: v.update({key: o[key]}), folder / "checkpoint_1.pt")
    assert [("R504", f"{key}.param_groups[0].lr", None)] == serious(judged(folder)[3])
    assert judged(folder)[3].resume == "differs"


def test_a_count_alone_that_was_changed_moves_no_rate(tmp_path):
    """The rates are those of the right position already."""
    folder, key = run(tmp_path, GAN, COSINE, POLYNOMIAL), DCGAN[1][2]
    path = changed(folder / "checkpoint_2.pt", lambda v, _: v[key].update(last_epoch=2, _step_count=3))
    migrated(path)
    assert same(straight(GAN, COSINE, POLYNOMIAL), resumed(path, GAN, COSINE, POLYNOMIAL))


def test_an_optimizer_with_another_file_s_count_is_not_identical(tmp_path):
    """An actor that is trained with every second batch, saved at odd steps: no length shows, the order does."""
    loop = Loop(GAN, None, None)
    for number in range(20):
        for at, optimizer in enumerate(loop.optimizers):
            if at or number % 2:
                for one in loop.optimizers:
                    one.zero_grad()
                loop.loss(loop.batches[number % STEPS]).backward()
                optimizer.step()
        if number % 5 == 4:
            value = {key: part for key, part in loop.saved(0).items() if key != "epoch"}
            torch.save({**value, "step": number + 1}, tmp_path / f"model-{number + 1:02}.pt")
    told = {"resume_epoch": "label"}
    assert ["identical"] * 4 == [file.resume for file in judged(tmp_path, **told)]
    key = DCGAN[0][1]
    changed(tmp_path / "model-15.pt", lambda v, o: v.update({key: o[key]}), tmp_path / "model-05.pt")
    assert "open" == judged(tmp_path, **told)[2].resume
    assert "identical" == judged(tmp_path, **told)[3].resume


def test_optimizers_of_several_models_each_that_changed_places(tmp_path):
    """No name and no model shows whose moments these are: the siblings do."""
    folder, (one, other) = run(tmp_path, GAN, STEP, STEP), [key for _, key, _ in DCGAN]

    def split(value: Saved, _: Saved) -> None:
        for name, key in (("G", DCGAN[0][0]), ("D", DCGAN[1][0])):
            weights = list(value.pop(key).items())
            value[f"{name}_AB"], value[f"{name}_BA"] = dict(weights[:2]), dict(weights[2:])

    for path in folder.iterdir():
        changed(path, split)
    assert {("identical", ())} == {(file.resume, tuple(serious(file))) for file in judged(folder)}
    changed(folder / "checkpoint_2.pt", lambda v, _: v.update({one: v[other], other: v[one]}))
    file = judged(folder)[2]
    assert {one, other} == {where.split(".")[0] for code, where, _ in serious(file) if code == "O701"}
    assert file.resume != "identical"
    assert [[]] * 4 == [serious(file) for file in judged(folder) if file.checkpoint.path.stem[-1] != "2"]


def test_label_and_name_against_all_optimizers_stay_two_against_two(tmp_path):
    """Optimizers and schedules of another file: a new label would make it whole only if the model is theirs."""
    folder = run(tmp_path, GAN, STEP, COSINE)
    keys = [key for _, *both in DCGAN for key in both]
    path = changed(
        folder / "checkpoint_3.pt", lambda v, o: v.update({k: o[k] for k in keys}), folder / "checkpoint_1.pt"
    )
    assert {"P409"} == {code for code, _, _ in serious(judged(folder)[3])}
    before = path.read_bytes()
    migrate([folder], facts=facts(**TOLD))
    assert before == path.read_bytes()
    assert judged(folder)[3].resume != "identical"


def test_saves_by_steps_show_no_epochs_whichever_optimizer_counts(tmp_path):
    """HiFi-GAN's files: `epoch` 1, 2, 3 and 5 at steps 5 to 20; one optimizer is of another file."""
    loop = Loop(GAN, None, None)
    for number in range(20):
        for optimizer in loop.optimizers:
            for one in loop.optimizers:
                one.zero_grad()
            loop.loss(loop.batches[number % STEPS]).backward()
            optimizer.step()
        if number % 5 == 4:
            value = {**loop.saved((number + 1) // STEPS), "steps": number + 1}
            torch.save(value, tmp_path / f"model-{number + 1:02}.pt")
    assert [[]] * 4 == [serious(file) for file in judged(tmp_path)]
    key = DCGAN[0][1]
    changed(tmp_path / "model-15.pt", lambda v, o: v.update({key: o[key]}), tmp_path / "model-20.pt")
    assert ("model-20.pt", []) == ((last := judged(tmp_path)[3]).checkpoint.path.name, serious(last))
    assert judged(tmp_path)[2].resume != "identical"


def test_a_schedule_that_waits_for_its_optimizer_does_not_lag(tmp_path):
    """One file, of a discriminator whose training has not begun."""
    loop = Loop(GAN, STEP, STEP)
    loop.optimizers[1].step = lambda: None  # type: ignore[method-assign]
    loop.train()
    loop.schedulers[0].step()
    torch.save(loop.saved(0), tmp_path / "checkpoint_0.pt")
    (file,) = judged(tmp_path, epoch_label="finished")
    assert ("open", []) == (file.resume, serious(file))


def test_an_optimizer_of_another_whose_shapes_mostly_fit(tmp_path):
    """Two networks of nearly the same shapes, in files without a count."""
    torch.manual_seed(0)
    one, other = (torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, n)) for n in (2, 3))
    optimizers = [torch.optim.Adam(net.parameters()) for net in (one, other)]
    for step in range(1, 6):
        (one(torch.randn(2, 4)).sum() + other(torch.randn(2, 4)).pow(2).sum()).backward()
        for optimizer in optimizers:
            optimizer.step()
        held = {"g": one.state_dict(), "d": other.state_dict()}
        held |= {f"{name}_optim": optimizer.state_dict() for name, optimizer in zip("gd", optimizers, strict=True)}
        torch.save(held, tmp_path / f"00000{step}.pt")
    changed(tmp_path / "000003.pt", lambda v, _: v.update(g_optim=v["d_optim"], d_optim=v["g_optim"]))
    told = {file.checkpoint.path.stem: [code for code, _, _ in serious(file)] for file in judged(tmp_path)}
    assert {name: codes for name, codes in told.items() if codes} == {"000003": ["O701", "O701"]}
