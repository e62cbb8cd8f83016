"""Files of PyTorch Lightning: which are its own, what their resume does, what is wrong and what cures it."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from click.testing import CliRunner

from ckpt_doctor import audit, latest, repair
from ckpt_doctor.cli.main import app
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import FileReport, Finding
from tests.trainers.lightning.runs import (
    AUTOMATIC,
    BATCHES,
    FIT,
    LOSSES,
    MONITOR,
    STOPPER,
    Run,
    change,
    one_cycle,
    plateau,
    put,
    within_epoch,
    write,
)


def judged(path: Path, **given: object) -> FileReport:
    return audit.check(path, facts=facts(**given)).files[0]


def said(report: FileReport) -> dict[str, Finding]:
    """Findings above info, by code."""
    return {finding.code: finding for finding in report.findings if finding.severity != "info"}


def cured(path: Path) -> FileReport:
    """The file after all repairs that its findings call for."""
    (result,) = repair.migrate([path])
    assert result.status == "migrated", (result.message, result.refusals)
    return judged(path, shuffle=False)


@pytest.mark.parametrize("schedule", [one_cycle, lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.01, 60)])
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_a_healthy_run_is_identical_and_silent(tmp_path, schedule, optimizer):
    options = {"schedule": schedule, "optimizer": optimizer}
    if optimizer is torch.optim.SGD:
        options["schedule"] = lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.01, 60, cycle_momentum=False)
    write(tmp_path, **options)
    report = audit.scan(tmp_path, facts=facts(shuffle=False))
    assert [("identical", "ok", "lightning")] * 3 == [
        (file.resume, file.verdict, file.trainer) for file in report.files
    ]
    assert [] == list(report.findings)


def test_the_names_of_another_trainer_are_null_and_its_own_have_the_values(tmp_path):
    path = write(tmp_path)[-1]
    document = json.loads(CliRunner().invoke(app, ["scan", str(path), "--format", "json"]).stdout)
    (unit,), (file,) = document["units"], document["files"]
    own = unit["training"].pop("own")
    assert [min(LOSSES[:3]), "best_model_score"] == [pytest.approx(own["best_model_score"]), next(iter(own))]
    assert unit["training"] == file["training"] and file["training"]["global_step"] == 30
    assert [None] * 3 == [file["training"][name] for name in ("best_score", "val_loss_min", "counter")]


def test_without_a_word_on_shuffling_the_absent_random_state_is_a_note(tmp_path):
    report = judged(write(tmp_path)[-1])
    assert {"L306": "info"} == {f.code: f.severity for f in report.findings} and report.resume == "identical"
    assert "differs" == judged(tmp_path / "epoch=2-step=30.ckpt", shuffle=True).resume


@pytest.mark.parametrize(
    "root",
    [
        {"state_dict": {"w": torch.ones(2)}, "epoch": 1, "optimizer_states": []},
        {"pytorch-lightning_version": "2.0", "model": {"w": torch.ones(2)}},
        {"pytorch-lightning_version": 2, "state_dict": {"w": torch.ones(2)}},
    ],
)
def test_only_the_version_beside_a_state_dict_is_lightnings(tmp_path, root):
    torch.save(root, tmp_path / "last.ckpt")
    assert "" == judged(tmp_path / "last.ckpt").trainer


@pytest.mark.parametrize(
    ("batches", "told"), [(3, "batches 0 to 2 "), (7, "batches 0 to 2 "), (9, "batch 0 "), (1, "batch 0 ")]
)
def test_a_file_from_within_an_epoch_says_what_it_costs(tmp_path, batches, told):
    report = judged(within_epoch(tmp_path, batches))
    assert {"P410"} == said(report).keys() and told in said(report)["P410"].message
    assert "differs" == report.resume and (1, batches) == (report.plan.start_epoch, report.plan.skip_batches)


def test_latest_passes_a_newer_file_from_within_an_epoch_over(tmp_path):
    newer = within_epoch(tmp_path, 4)
    path, passed = latest(tmp_path)
    assert tmp_path / "epoch=0-step=10.ckpt" == path
    ((over, why),) = passed
    assert newer == over and "the last 4 never" in why and "continues identically" in why


def test_a_loader_with_a_state_goes_on(tmp_path):
    path = within_epoch(tmp_path, 4)
    put(path, (*FIT, "state_dict"), {"combined_loader": [{"samples": 16}]})
    assert {} == said(judged(path))


@pytest.mark.parametrize("others", [0, 1])
def test_a_run_that_was_moved_is_a_warning_where_its_files_lie_together(tmp_path, others):
    paths = write(tmp_path / "old")
    new = tmp_path / "new"
    new.mkdir()
    for path in paths[-1 - others :]:
        shutil.copy(path, new)
    path = new / paths[-1].name
    found = next(finding for finding in judged(path).findings if finding.code == "E610")
    assert ("warning" if others else "info") == found.severity and str(tmp_path / "old") in found.message
    if others:
        assert "identical" == cured(path).resume
        held = torch.load(path, weights_only=False)["callbacks"][MONITOR]
        assert str(new) == held["dirpath"] and str(new / paths[1].name) == held["best_model_path"]
        assert {str(new / p.name): loss for p, loss in zip(paths, LOSSES, strict=False)} == held["best_k_models"]


@pytest.mark.parametrize("optimizer", [torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.Adadelta])
def test_a_weight_that_is_gone_is_missed_by_the_optimizers_moments(tmp_path, optimizer):
    """Buffers make up for it in number."""
    path = write(tmp_path, optimizer=optimizer, schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 9))[-1]
    weights = torch.load(path, weights_only=False)["state_dict"]
    change(path, state_dict={**weights, "net.mean": torch.ones(7), "net.steps": torch.tensor(3)})
    assert "O701" not in said(judged(path))
    del weights["net.bias"]
    change(path, state_dict={**weights, "net.mean": torch.ones(7), "net.steps": torch.tensor(3)})
    assert "O701" in said(judged(path))


@pytest.mark.parametrize("saved, away", [("run/version_0", False), ("../run/version_0/", False), ("run/other", True)])
def test_a_relative_folder_is_not_taken_for_a_move(tmp_path, saved, away):
    paths = write(tmp_path / "run" / "version_0")
    held = torch.load(paths[-1], weights_only=False)["callbacks"][MONITOR]
    put(paths[-1], ("callbacks", MONITOR), {**held, "dirpath": saved})
    assert away == ("E610" in {finding.code for finding in judged(paths[-1]).findings})


def test_a_second_callback_that_saves_elsewhere_is_no_sign_of_a_move(tmp_path):
    path = write(tmp_path)[-1]
    other = copy.deepcopy(torch.load(path, weights_only=False)["callbacks"][MONITOR]) | {"dirpath": "/elsewhere"}
    put(path, ("callbacks", MONITOR.replace("val_loss", "accuracy")), other)
    assert {} == said(judged(path))


def test_the_default_loggers_folder_is_named_at_the_gate(tmp_path):
    path = write(tmp_path / "lightning_logs" / "version_0" / "checkpoints")[-1]
    report = judged(path)
    assert {} == said(report)
    assert any("dirpath" in one.settle for one in report.not_checked)


@pytest.mark.parametrize("form", [{}, ...])
def test_lost_callbacks_come_back_from_a_later_file(tmp_path, form):
    path = write(tmp_path, 4)[2]
    before = torch.load(path, weights_only=False)["callbacks"]
    change(path, callbacks=form)
    report = judged(path)
    assert {"E611"} == said(report).keys() and "add-best-score" == said(report)["E611"].migration
    assert "identical" == cured(path).resume
    assert before == torch.load(path, weights_only=False)["callbacks"]


def test_lost_callbacks_are_not_made_up(tmp_path):
    """The newest file has none later; with `save_top_k=1` a later file does not keep every score."""
    paths = write(tmp_path)
    change(paths[-1], callbacks={})
    (result,) = repair.migrate([paths[-1]])
    assert "ok" == judged(paths[-1]).verdict and result.status in ("unchanged", "refused")


def test_callbacks_that_joined_later_are_not_lost(tmp_path):
    first, *_ = write(tmp_path)
    held = torch.load(first, weights_only=False)["callbacks"]
    change(first, callbacks={MONITOR: held[MONITOR]})
    assert {} == said(judged(first))


@pytest.mark.parametrize("waited", [5, 6])
def test_an_exhausted_patience_ends_the_training(tmp_path, waited):
    path = write(tmp_path)[-1]
    put(path, ("callbacks", STOPPER, "wait_count"), waited)
    assert "E604" in said(judged(path))


def late(path: Path, by: int = 1) -> None:
    """Set the schedule back, as if its last steps were missing."""
    run = Run(path.parent)
    for _ in range(int(path.stem.split("=")[-1]) - by):
        run.batch()
    value = torch.load(path, weights_only=False)
    value["lr_schedulers"] = [run.scheduler.state_dict()]
    for key in ("lr", "betas"):
        value["optimizer_states"][0]["param_groups"][0][key] = run.optimizer.param_groups[0][key]
    torch.save(value, path)


def test_a_schedule_that_lags_is_cured(tmp_path):
    path = write(tmp_path)[1]
    whole = torch.load(path, weights_only=False)
    late(path)
    assert {"R501"} == said(judged(path)).keys()
    assert "identical" == cured(path).resume
    held = torch.load(path, weights_only=False)
    assert whole["lr_schedulers"][0]["last_epoch"] == held["lr_schedulers"][0]["last_epoch"]
    assert whole["optimizer_states"][0]["param_groups"] == held["optimizer_states"][0]["param_groups"]


def test_a_script_that_places_the_schedule_itself_is_left_alone(tmp_path):
    """`scheduler.step(epoch)` in every file: the loops' count is another one."""
    for epoch, path in enumerate(write(tmp_path)):
        for key, number in (("last_epoch", epoch), ("_step_count", BATCHES * (epoch + 1) + 1)):
            put(path, ("lr_schedulers", 0, key), number)
        state = torch.load(path, weights_only=False)["lr_schedulers"][0]
        put(path, ("lr_schedulers", 0), {key: held for key, held in state.items() if key != "total_steps"})
    assert not [f for f in audit.scan(tmp_path).findings if f.code in ("R501", "R502")]


def test_the_plateaus_step_that_no_resume_makes_up_for(tmp_path):
    paths = write(tmp_path, schedule=plateau)
    report = judged(paths[1])
    assert {"R501"} == said(report).keys() and "plateau" in said(report)["R501"].message
    assert "identical" == cured(paths[1]).resume
    after = torch.load(paths[2], weights_only=False)
    held = torch.load(paths[1], weights_only=False)
    assert after["lr_schedulers"][0] == held["lr_schedulers"][0]
    assert after["optimizer_states"][0]["param_groups"] == held["optimizer_states"][0]["param_groups"]


def test_a_plateau_whose_value_no_file_proves_has_no_cure(tmp_path):
    (path,) = write(tmp_path, 1, schedule=plateau)
    assert "R501" in said(judged(path)) and said(judged(path))["R501"].migration is None
    put(path, ("callbacks",), {})
    assert said(judged(path))["R501"].migration is None


def test_labels_at_the_top_are_a_note_and_the_loops_step_is_set_right(tmp_path):
    first, second, _ = write(tmp_path)
    change(first, global_step=7)
    report = judged(first)
    assert {} == said(report) and "P409" in {finding.code for finding in report.findings}
    put(second, (*FIT, AUTOMATIC, "optimizer", "step", "total", "completed"), 7)
    assert "P403" in said(judged(second))
    assert "identical" == cured(second).resume


def test_without_loops_training_starts_at_epoch_0(tmp_path):
    path = write(tmp_path)[-1]
    change(path, loops=...)
    report = judged(path)
    assert {"P402"} == said(report).keys() and "differs" == report.resume


def test_weights_alone_stop_only_the_gate(tmp_path):
    path = write(tmp_path, 1)[0]
    change(path, callbacks=..., optimizer_states=..., lr_schedulers=...)
    (scanned,) = audit.scan(tmp_path).files
    assert {} == said(scanned) and "impossible" == scanned.resume
    assert {"L302"} == said(judged(path)).keys()
    runner = CliRunner()
    assert (0, 1) == tuple(runner.invoke(app, [name, str(path)]).exit_code for name in ("scan", "check"))
    assert (None, 1) == (latest(tmp_path)[0], len(latest(tmp_path)[1]))


def test_a_finished_one_cycle_is_a_note_until_more_is_asked_of_it(tmp_path):
    path = write(tmp_path, 6)[-1]
    assert {"R511"} <= {finding.code for finding in judged(path).findings} and {} == said(judged(path))
    assert "R511" in said(judged(path, train_epochs=8))
    assert {"P404"} == said(judged(path, train_epochs=6)).keys()


def test_a_one_cycle_inside_of_another_scheduler_ends_as_well(tmp_path):
    """After a warm-up of 10 steps it has 50: the 61st raises."""

    def warmed_up(optimizer):
        line = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=9)
        return torch.optim.lr_scheduler.SequentialLR(optimizer, [line, one_cycle(optimizer, 50)], [10])

    path = write(tmp_path, 5, schedule=warmed_up)[-1]
    assert "R511" not in said(judged(path, train_epochs=6))
    assert "R511" in said(judged(path, train_epochs=7))


@pytest.mark.parametrize("version", ["1.5.10", "1.7.7", "1.9.5"])
def test_files_of_lightning_1_are_read_without_an_alarm(tmp_path, version):
    path = write(tmp_path)[-1]
    value = torch.load(path, weights_only=False)
    fit = value["loops"]["fit_loop"]
    fit["epoch_loop.batch_loop.optimizer_loop.optim_progress"] = fit.pop(AUTOMATIC)
    fit["epoch_loop.batch_loop.manual_loop.optim_step_progress"] = fit.pop(
        "epoch_loop.manual_optimization.optim_step_progress"
    )
    if version.startswith("1.5"):
        del fit["epoch_loop.state_dict"], fit["epoch_loop.scheduler_progress"]
        value |= {"epoch": 3, "global_step": 31}
    change(path, loops=value["loops"], epoch=value["epoch"], **{"pytorch-lightning_version": version})
    report = judged(path)
    assert {} == said(report) and "open" == report.resume and "lightning" == report.trainer
    assert any(version in one.why for one in report.not_checked)


def test_a_model_whose_only_attribute_is_called_module(tmp_path):
    path = write(tmp_path, 1)[0]
    weights = torch.load(path, weights_only=False)["state_dict"]
    change(path, state_dict={f"module.{name}": value for name, value in weights.items()})
    assert {} == said(judged(path))


def test_frozen_layers_and_layers_that_join_late(tmp_path):
    path = write(tmp_path, 1)[0]
    put(path, ("optimizer_states", 0, "state", 1, "step"), torch.tensor(3.0))
    assert {} == said(judged(path))
    state = torch.load(path, weights_only=False)["optimizer_states"][0]["state"]
    put(path, ("optimizer_states", 0, "state"), {0: state[0]})
    assert {} == said(judged(path))
    put(path, ("optimizer_states", 0, "state"), {})
    assert {"O705"} == said(judged(path)).keys()


def test_rates_set_by_hand_in_every_file(tmp_path):
    for path in write(tmp_path):
        put(path, ("optimizer_states", 0, "param_groups", 0, "lr"), 0.123)
    assert not [f for f in audit.scan(tmp_path).findings if f.code == "R504"]
    write(tmp_path)
    put(path, ("optimizer_states", 0, "param_groups", 0, "lr"), 0.123)
    assert "by hand" in said(judged(path))["R504"].message


def test_a_truncated_file_leaves_its_siblings_judged(tmp_path):
    paths = write(tmp_path)
    paths[-1].write_bytes(paths[-1].read_bytes()[:3000])
    report = audit.scan(tmp_path)
    assert ["identical", "identical", "impossible"] == [file.resume for file in report.files]
    assert paths[1] == latest(tmp_path)[0]


def test_a_scaler_that_only_a_sibling_has_is_a_note(tmp_path):
    first, second, _ = write(tmp_path)
    scale = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000}
    change(first, MixedPrecision={**scale, "_growth_tracker": 3})
    assert {} == said(judged(first)) | said(judged(second))
    assert "O706" in {finding.code for finding in judged(second).findings}


def test_a_second_fit_with_a_new_optimizer_is_left_alone(tmp_path):
    """Loops that go on over an optimizer and a schedule that began anew."""
    first = write(tmp_path / "first")
    for path in write(tmp_path):
        value = torch.load(path, weights_only=False)
        fit = value["loops"]["fit_loop"]
        for counts in (fit["epoch_loop.scheduler_progress"], fit[AUTOMATIC]["optimizer"]["step"]):
            counts["total"] = {"ready": counts["total"]["ready"] + 50, "completed": counts["total"]["completed"] + 50}
        value["global_step"] += 50
        torch.save(value, path.with_name(f"epoch={value['epoch']}-step={value['global_step']}.ckpt"))
        path.unlink()
    shutil.copytree(first[0].parent, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(first[0].parent)
    assert not [f for f in audit.scan(tmp_path).findings if f.code in ("P403", "R501", "P401")]


def test_a_plateau_beside_another_schedule_leaves_the_rate_open(tmp_path):
    path = write(tmp_path, schedule=plateau)[1]
    value = torch.load(path, weights_only=False)
    beside = torch.optim.lr_scheduler.StepLR(Run(tmp_path).optimizer, 2).state_dict()
    change(path, lr_schedulers=[*value["lr_schedulers"], beside])
    report = judged(path, shuffle=False)
    assert {} == said(report) and "open" == report.resume
    assert any("plateau" in one.why for one in report.not_checked)


@pytest.mark.parametrize(
    "damage", [{"fit_loop": {}}, {"fit_loop": {"epoch_progress": {"current": {"completed": 3}}}}, {}]
)
def test_loops_that_lack_parts_leave_the_place_open(tmp_path, damage):
    path = write(tmp_path)[-1]
    change(path, loops=damage)
    report = judged(path, shuffle=False)
    assert "open" == report.resume or "L302" in said(report)
    assert not said(report).keys() - {"L302"}


def test_a_numpy_number_among_the_weights_is_no_tensor(tmp_path):
    """`load_state_dict` refuses it, and as a plain number as well."""
    path = write(tmp_path)[1]
    put(path, ["state_dict", "net.scale"], numpy.float32(1))
    file = judged(path)
    assert ("L303", "impossible") == (next(f.code for f in file.findings if f.severity == "error"), file.resume)
    (result,) = repair.migrate([path], fixes=["plain-scalars"])
    assert result.status != "failed"


@pytest.mark.parametrize("monitor", [5, {"a": 1}, None])
def test_a_memory_whose_monitor_is_no_name_is_still_one(tmp_path, monitor):
    """No resume reads it, so nothing is lost, and nothing is written in its place."""
    path = write(tmp_path, 4)[1]
    put(path, ["callbacks", MONITOR, "monitor"], monitor)
    file = judged(path)
    assert "E611" not in {f.code for f in file.findings}
    (result,) = repair.migrate([path])
    assert result.status == "unchanged"


BATCH = (*FIT, "epoch_loop.batch_progress")
ODD = {
    "the loops": (("loops",), "x"),
    "a loop": (BATCH, 3),
    "a count of text": ((*BATCH, "total", "ready"), "30"),
    "a count below 0": ((*BATCH, "current", "completed"), -1),
    "the optimizer's steps": ((*FIT, AUTOMATIC, "optimizer"), None),
    "the optimizer's state": (("optimizer_states", 0), None),
    "the schedule's state": (("lr_schedulers", 0), None),
    "how long it waited": (("callbacks", STOPPER, "wait_count"), "2"),
    "the best so far": (("callbacks", STOPPER, "best_score"), None),
    "the best that were kept": (("callbacks", MONITOR, "best_k_models"), None),
}


@pytest.mark.parametrize("what", ODD)
def test_a_value_with_which_lightning_stops_is_told(tmp_path, what):
    path, (keys, new) = write(tmp_path)[1], ODD[what]
    put(path, keys, new)
    file = judged(path, shuffle=False)
    assert "impossible" == file.resume, [(f.code, f.message) for f in file.findings]
    assert {"O707", "L303", "L302"} & said(file).keys()


@pytest.mark.parametrize("worst", [float("inf"), -float("inf")])
def test_a_file_from_before_the_first_validation_has_the_worst_score_and_no_fault(tmp_path, worst):
    """EarlyStopping.__init__: `torch.inf`, or minus that with mode max."""
    path = write(tmp_path)[1]
    put(path, ("callbacks", STOPPER, "best_score"), torch.tensor(worst))
    assert {} == said(judged(path, shuffle=False))
    put(path, ("callbacks", STOPPER, "best_score"), torch.tensor(float("nan")))
    assert {"O707"} == said(judged(path, shuffle=False)).keys()


def test_counts_of_older_releases_are_no_fault(tmp_path):
    path = write(tmp_path)[1]
    for span in ("total", "current"):
        put(path, (*BATCH, span, "started"), None)
    assert {} == said(judged(path, shuffle=False))
