"""Real runs of the library: healthy ones are silent, broken ones resume as predicted, cured ones identically."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ckpt_doctor import audit, latest, repair
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import FileReport

pytest.importorskip("lightning.pytorch")

import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks import ModelCheckpoint as Saver

from tests.trainers.lightning.real_library import BATCHES, Module, continues, fit, saver

pytestmark = pytest.mark.long

SCHEDULES = ("none", "onecycle", "cosine", "step", "exponential", "lambda", "restarts", "warmup")
MOMENTS = {
    "epoch": {},
    "validation": {"save_on_train_epoch_end": False, "monitor": "val_loss"},
    "best": {"monitor": "val_loss", "save_top_k": 1, "save_last": True},
    "last batch": {"every_n_train_steps": BATCHES},
}


def files(folder: Path) -> list[Path]:
    """In order of their steps."""
    return sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)


def judged(path: Path, **given: object) -> FileReport:
    return audit.check(path, facts=facts(**given)).files[0]


def codes(report: FileReport) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity != "info"}


def migrate(path: Path) -> None:
    """All that the findings call for."""
    (result,) = repair.migrate([path])
    assert result.status == "migrated", result


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_healthy_runs_are_identical_and_silent(tmp_path, name, moment, optimizer):
    """Every file, judged in its run; one of each is resumed."""
    folder = tmp_path / "run"
    whole = fit([saver(folder, **MOMENTS[moment])], module=Module(name, optimizer=optimizer), epochs=3, root=tmp_path)
    report = audit.scan(folder, facts=facts(shuffle=False))
    assert report.files and not [f for f in report.findings if f.severity != "info"], report.findings
    assert {file.resume for file in report.files} == {"identical"}
    first = files(folder)[0]
    if optimizer == "adamw":
        again = fit([saver(folder)], resume=first, module=Module(name, optimizer=optimizer), epochs=3, root=tmp_path)
        assert continues(again, whole) or not again.seen
    assert judged(first, shuffle=False).resume == "identical"


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate_grad_batches": 2},
        {"accumulate_grad_batches": 3},
        {"gradient_clip_val": 0.5},
        {"limit_train_batches": 3},
        {"check_val_every_n_epoch": 2},
        {"validate": False},
        {"min_epochs": 2},
    ],
    ids=str,
)
def test_healthy_runs_with_options_of_the_trainer(tmp_path, options):
    folder, module = tmp_path / "run", lambda: Module("lambda", interval="step")
    whole = fit([saver(folder)], module=module(), epochs=3, root=tmp_path, **options)
    report = audit.scan(folder, facts=facts(shuffle=False))
    assert {file.resume for file in report.files} == {"identical"}, report.findings
    assert continues(
        fit([saver(folder)], resume=files(folder)[0], module=module(), epochs=3, root=tmp_path, **options), whole
    )


@pytest.mark.parametrize("mode", ["min", "max"])
def test_healthy_callbacks_that_have_seen_no_validation_yet(tmp_path, mode):
    """What every callback starts from is in a file of the first epoch; after a last batch its checks are left out."""
    early = saver(tmp_path / "run", every_n_train_steps=2, save_top_k=-1)
    best = saver(tmp_path / "best", monitor="val_loss", mode=mode, save_last=True)
    fit([early, best, EarlyStopping("val_loss", mode=mode, patience=9)], epochs=2, root=tmp_path)
    for path in files(tmp_path / "run"):
        due = {"P405"} if path.name.endswith("step=10.ckpt") else {"P410"}
        assert codes(judged(path, shuffle=False)) == due, judged(path).findings


@pytest.mark.parametrize(
    "optimizer", ["adam", "sgd without momentum", "rmsprop", "adagrad", "nadam", "lbfgs", "groups"]
)
def test_healthy_runs_with_other_optimizers(tmp_path, optimizer):
    """Each file by itself, too: without siblings there is less to go by."""
    folder, alone = tmp_path / "run", tmp_path / "alone"
    whole = fit([saver(folder)], module=Module("step", optimizer=optimizer), epochs=3, root=tmp_path)
    report = audit.scan(folder, facts=facts(shuffle=False))
    assert {file.resume for file in report.files} == {"identical"}, report.findings
    alone.mkdir()
    for path in files(folder):
        copy = Path(shutil.copy(path, alone))
        assert not codes(judged(copy)), judged(copy).findings
        copy.unlink()
    again = fit(
        [saver(folder)], resume=files(folder)[0], module=Module("step", optimizer=optimizer), epochs=3, root=tmp_path
    )
    assert continues(again, whole)


@pytest.mark.parametrize("name", ["none", "onecycle", "lambda"])
@pytest.mark.parametrize("at", [0, 1])
def test_files_of_a_resumed_run_are_silent(tmp_path, name, at):
    folder = tmp_path / "run"
    options = {"monitor": "val_loss", "save_last": True}
    fit([saver(folder, **options)], module=Module(name), epochs=2, root=tmp_path)
    path = folder / f"epoch={at}-step={BATCHES * (at + 1)}.ckpt"
    fit([saver(folder, **options)], resume=path, module=Module(name), epochs=4, root=tmp_path)
    report = audit.scan(folder, facts=facts(shuffle=False))
    assert {file.resume for file in report.files} == {"identical"}, report.findings


def test_a_checkpoint_saved_by_hand_after_training_and_one_saved_on_an_exception(tmp_path):
    folder = tmp_path / "run"

    class Fails(Module):
        def training_step(self, batch, index):
            if self.current_epoch == 1 and index == 2:
                raise RuntimeError("out of memory")
            return super().training_step(batch, index)

    keeper = saver(folder, save_on_exception=True)
    with pytest.raises(RuntimeError):
        fit([keeper], module=Fails(), epochs=3, root=tmp_path)
    (path,) = [path for path in files(folder) if codes(judged(path))]
    assert codes(judged(path)) == {"P410"} and "after 2 batches" in judged(path).findings[-1].message + "".join(
        finding.message for finding in judged(path).findings
    )


class ByHand(Module):
    """Manual optimization."""

    count = 1

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self):
        parts = (self.net[0], self.net[2])[: self.count]
        made = [torch.optim.Adam(part.parameters(), lr=0.01) for part in parts]
        return made, [torch.optim.lr_scheduler.StepLR(one, 1, 0.9) for one in made]

    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        made = self.optimizers() if self.count > 1 else [self.optimizers()]
        for one in made:
            one.zero_grad()
        self.manual_backward(loss)
        for one in made:
            one.step()
        return loss


class TwoByHand(ByHand):
    count = 2


@pytest.mark.parametrize("kind", [ByHand, TwoByHand])
def test_manual_optimization_is_silent(tmp_path, kind):
    folder = tmp_path / "run"
    whole = fit([saver(folder)], module=kind(), epochs=3, root=tmp_path)
    report = audit.scan(folder, facts=facts(shuffle=False))
    assert {file.resume for file in report.files} == {"identical"}, report.findings
    assert continues(fit([saver(folder)], resume=files(folder)[0], module=kind(), epochs=3, root=tmp_path), whole)


class Frozen(Module):
    """A layer that is not trained, in the optimizer all the same; another that joins late."""

    def configure_optimizers(self):
        for parameter in self.net[0].parameters():
            parameter.requires_grad_(False)
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class JoinsLate(Frozen):
    def on_train_epoch_start(self) -> None:
        self.net[0].requires_grad_(self.current_epoch > 0)


@pytest.mark.parametrize("kind", [Frozen, JoinsLate])
def test_frozen_layers_are_silent(tmp_path, kind):
    folder = tmp_path / "run"
    fit([saver(folder)], module=kind(), epochs=3, root=tmp_path)
    for path in files(folder):
        alone = tmp_path / "alone" / path.name
        alone.parent.mkdir(exist_ok=True)
        shutil.copy(path, alone)
        assert not codes(judged(alone)), judged(alone).findings
        alone.unlink()


@pytest.mark.parametrize("options", [{"every_n_train_steps": 3}, {"every_n_train_steps": 2}])
def test_within_an_epoch_as_many_batches_are_lost_as_are_repeated(tmp_path, options):
    folder = tmp_path / "run"
    fit([saver(folder, **options)], epochs=2, root=tmp_path)
    for path in files(folder):
        report = judged(path)
        again = fit([saver(tmp_path / "x", save_top_k=0)], resume=path, epochs=2, root=tmp_path)
        state = torch.load(path, weights_only=False)["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        done = state["current"]["processed"]
        if state["is_last_batch"]:
            assert "P410" not in codes(report)
            continue
        epoch = int(path.name[6])
        data = [item // 4 for e, _, item, _, _ in again.seen if e == epoch]
        assert data == list(range(BATCHES - done))
        lost = min(done, BATCHES - done)
        (finding,) = [finding for finding in report.findings if finding.code == "P410"]
        assert set(range(BATCHES)) - {*range(done), *data} == set(range(BATCHES - lost, BATCHES))
        assert f"batches 0 to {lost - 1}" in finding.message or (lost == 1 and "batch 0" in finding.message)
        assert report.resume == "differs"


def test_validation_within_the_epoch(tmp_path):
    folder = tmp_path / "run"
    fit([saver(folder, monitor="val_loss")], epochs=2, root=tmp_path, val_check_interval=2)
    found = {path.name: "P410" in codes(judged(path)) for path in files(folder)}
    assert found == {f"epoch={(step - 1) // BATCHES}-step={step}.ckpt": True for step in (2, 4, 7, 9)}


def test_latest_prefers_the_end_of_an_epoch(tmp_path):
    folder = tmp_path / "run"
    fit([saver(folder), saver(folder, every_n_train_steps=3, filename="{step}")], epochs=2, root=tmp_path, max_steps=8)
    path, passed = latest(folder)
    assert path == folder / "epoch=0-step=5.ckpt"
    assert any("trained twice" in reason for _, reason in passed)


@pytest.mark.parametrize("name", ["onecycle", "cosine", "step", "exponential", "warmup", "restarts"])
def test_a_schedule_that_lags_is_cured(tmp_path, name):
    folder = tmp_path / "run"
    whole = fit([saver(folder)], module=Module(name, interval="step"), epochs=3, root=tmp_path)
    path = files(folder)[1]
    held = torch.load(path, weights_only=False)
    optimizer = torch.optim.AdamW([torch.zeros(1)], lr=0.02)
    from tests.trainers.lightning.real_library import schedule

    late = schedule(name, optimizer, 20)
    for _ in range(held["global_step"] - 1):
        optimizer.step()
        late.step()
    held["lr_schedulers"] = [late.state_dict()]
    for key in ("lr", "betas"):
        held["optimizer_states"][0]["param_groups"][0][key] = optimizer.param_groups[0][key]
    torch.save(held, path)

    def module() -> Module:
        return Module(name, interval="step")

    assert not continues(fit([saver(folder)], resume=path, module=module(), epochs=3, root=tmp_path), whole)
    torch.save(held, path)
    assert "R501" in codes(judged(path))
    migrate(path)
    assert judged(path, shuffle=False).resume == "identical"
    assert continues(fit([saver(folder)], resume=path, module=module(), epochs=3, root=tmp_path), whole)


def test_the_step_of_a_plateau_is_lost_and_cured(tmp_path):
    folder = tmp_path / "run"
    whole = fit([saver(folder, monitor="val_loss")], module=Module("plateau"), epochs=6, root=tmp_path)
    path = files(folder)[2]
    report = judged(path, shuffle=False)
    assert codes(report) == {"R501"} and report.resume == "differs"

    def again() -> Module:
        nothing = Saver(folder / "x", save_top_k=0)
        return fit([nothing], resume=path, module=Module("plateau"), epochs=6, root=tmp_path)

    assert not continues(again(), whole)
    migrate(path)
    assert judged(path, shuffle=False).resume == "identical"
    assert continues(again(), whole)


def memory_of(folder: Path, resume: Path, root: Path, epochs: int = 5) -> tuple[Saver, EarlyStopping]:
    keeper, stopper = saver(folder, monitor="val_loss"), EarlyStopping("val_loss", patience=50)
    fit([keeper, stopper], resume=resume, epochs=epochs, root=root)
    return keeper, stopper


def same_memory(one: tuple[Saver, EarlyStopping], other: tuple[Saver, EarlyStopping]) -> bool:
    keeper, stopper = one
    other_keeper, other_stopper = other
    return (
        keeper.best_k_models == other_keeper.best_k_models
        and keeper.best_model_score == other_keeper.best_model_score
        and keeper.best_model_path == other_keeper.best_model_path
        and stopper.best_score == other_stopper.best_score
        and stopper.wait_count == other_stopper.wait_count
    )


def test_a_moved_run_is_cured(tmp_path):
    old, new, stand_in = tmp_path / "old", tmp_path / "new", tmp_path / "stand-in"
    fit([saver(old, monitor="val_loss"), EarlyStopping("val_loss", patience=50)], epochs=3, root=tmp_path)
    shutil.move(old, new)
    path = files(new)[-1]
    report = judged(path)
    assert codes(report) == {"E610"}
    shutil.copytree(new, stand_in)
    forgot, _ = memory_of(stand_in, files(stand_in)[-1], tmp_path)
    assert len(forgot.best_k_models) == 2
    migrate(path)
    assert not codes(judged(path))
    keeper, _ = memory_of(new, path, tmp_path)
    assert len(keeper.best_k_models) == 5
    assert all(Path(kept).is_file() for kept in keeper.best_k_models)


@pytest.mark.parametrize("form", ["no key", "empty"])
def test_lost_callbacks_are_cured_from_a_later_file(tmp_path, form):
    folder = tmp_path / "run"
    fit([saver(folder, monitor="val_loss"), EarlyStopping("val_loss", patience=50)], epochs=4, root=tmp_path)
    path = files(folder)[1]
    whole = torch.load(path, weights_only=False)
    broken = {**whole, "callbacks": {}}
    if form == "no key":
        del broken["callbacks"]
    torch.save(broken, path)
    assert codes(judged(path)) == {"E611"}
    migrate(path)
    assert not codes(judged(path))
    cured = torch.load(path, weights_only=False)["callbacks"]
    assert cured.keys() == whole["callbacks"].keys()
    for key, state in whole["callbacks"].items():
        assert cured[key] == state


def test_files_of_a_pruned_run_do_not_prove_lost_callbacks(tmp_path):
    folder = tmp_path / "run"
    options = {"monitor": "val_loss", "save_top_k": 1}
    fit([saver(folder, **options), saver(folder, filename="all-{step}")], epochs=4, root=tmp_path)
    path = sorted(folder.glob("all-*"))[1]
    held = torch.load(path, weights_only=False)
    held["callbacks"] = {key: state for key, state in held["callbacks"].items() if state["monitor"] is None}
    torch.save(held, path)
    assert codes(judged(path)) == {"E611"} and judged(path).verdict == "ok"


def test_weights_only_raises_and_says_so(tmp_path):
    folder = tmp_path / "run"
    fit([saver(folder, save_weights_only=True)], epochs=1, root=tmp_path)
    (path,) = files(folder)
    with pytest.raises(KeyError):
        fit([saver(folder)], resume=path, root=tmp_path)
    report = judged(path)
    assert codes(report) == {"L302"} and report.resume == "impossible"
    (scanned,) = audit.scan(folder).files
    assert not codes(scanned) and scanned.resume == "impossible"


def test_a_finished_one_cycle_raises_with_more_epochs(tmp_path):
    folder = tmp_path / "run"
    fit([saver(folder)], module=Module("onecycle", total=2 * BATCHES), epochs=2, root=tmp_path)
    path = files(folder)[-1]
    with pytest.raises(ValueError, match="Tried to step"):
        fit([saver(folder)], resume=path, module=Module("onecycle", total=2 * BATCHES), epochs=4, root=tmp_path)
    assert "R511" in codes(judged(path, train_epochs=4))
    assert "R511" not in codes(judged(path)) | codes(judged(path, train_epochs=2))


def test_a_shuffling_loader_deals_the_first_order_again(tmp_path):
    folder = tmp_path / "run"
    whole = fit([saver(folder)], epochs=3, shuffle=True, root=tmp_path)
    path = files(folder)[1]
    again = fit([saver(folder)], resume=path, epochs=3, shuffle=True, root=tmp_path)
    assert [item for _, _, item, _, _ in again.seen] == [item for e, _, item, _, _ in whole.seen if e == 0]
    assert judged(path, shuffle=True).resume == "differs"


def test_an_exhausted_patience(tmp_path):
    folder = tmp_path / "run"
    stopper = EarlyStopping("val_loss", patience=2, min_delta=1e9)
    fit([saver(folder, monitor="val_loss"), stopper], epochs=9, root=tmp_path)
    assert "E604" in codes(judged(files(folder)[-1])) and "E604" not in codes(judged(files(folder)[0]))


def test_a_wrong_step_of_the_loops_is_set_right(tmp_path):
    folder = tmp_path / "run"
    fit([saver(folder)], epochs=2, root=tmp_path)
    path = files(folder)[-1]
    held = torch.load(path, weights_only=False)
    steps = held["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]
    steps["total"]["completed"] = 7
    torch.save(held, path)
    assert codes(judged(path)) >= {"P403"}
    migrate(path)
    assert not codes(judged(path))
    loops = torch.load(path, weights_only=False)["loops"]["fit_loop"]
    assert loops["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]["completed"] == 10
