"""The script and the functions of docs/resuming.md, as they stand there, run against the reference trainer."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import reference_trainer as trainer
from reference_trace import Start, Trace

from ckpt_doctor import migrate

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures"

SHIM = f"""\
import os, sys
sys.path.insert(0, {str(FIXTURES)!r})
import reference_trainer
sys.exit(reference_trainer.main([*sys.argv[1:], "--train_steps", "45", "--shuffle", *os.environ["MORE"].split()]))
"""
"""`run_main.py`: the reference trainer, with what the test has happen to it."""
TRAINING = (
    "--shuffle --lradj {} --train_epochs 4 --train_steps 12 --save_steps 5 --model_comment patched --vali-offsets 0 0.5"
)


def block(language: str) -> str:
    """The block with this info string."""
    (found,) = re.findall(
        rf"^```{re.escape(language)}\n(.*?)^```$", (ROOT / "docs" / "resuming.md").read_text(), re.M | re.S
    )
    return found


# --- the run script --------------------------------------------------------------------------------------------------


def start(folder: Path, more: str = "", lradj: str = "type1") -> subprocess.CompletedProcess[str]:
    """Run the script once, as a person starts a job."""
    (folder / "run_main.py").write_text(SHIM)
    (folder / "train.sh").write_text(block("bash run script").replace("lradj=type1", f"lradj={lradj}"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "train.sh"],
        cwd=folder,
        env={**os.environ, "PATH": path, "MORE": more, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("lradj", "killed", "resumed_at"),
    [("type1", 152, 140), ("type3", 182, 180)],
)
@pytest.mark.long
def test_a_run_started_again_by_the_script_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, lradj: str, killed: int, resumed_at: int
) -> None:
    """Started, killed, started again: the second start repairs, chooses, checks and hands over the flags itself.

    In type3 the files leave the mode open, and only the script's own facts settle it.
    """
    options = f"--lradj {lradj} --learning_rate 0.01 --train_epochs 5 --train_steps 45 --shuffle --checkpoints"
    whole = trainer.run(trainer.parse([*options.split(), str(tmp_path / "whole")]), log=io.StringIO())
    assert 137 == start(tmp_path, f"--stop-after-step {killed}", lradj).returncode
    resumed = start(tmp_path, "--trace rest.json", lradj)
    assert 0 == resumed.returncode, resumed.stderr
    rest = Trace.from_json((tmp_path / "rest.json").read_text())
    assert divmod(resumed_at, 45) == (rest.start.epoch, rest.start.skip)
    assert whole.steps[resumed_at:] == rest.steps


def test_the_script_stops_when_nothing_can_be_resumed_from(tmp_path: Path) -> None:
    """Files are there and none is whole: the trainer must not start anew over them unasked."""
    (damaged,) = (FIXTURES / "sample-runs" / "damaged" / "checkpoints").iterdir()
    shutil.copytree(damaged, tmp_path / "checkpoints" / "run-ETTh1-demo")
    stopped = start(tmp_path, "--trace rest.json")
    assert 1 == stopped.returncode
    assert "F104" in stopped.stderr
    assert not (tmp_path / "rest.json").exists()


# --- run_main.py -----------------------------------------------------------------------------------------------------


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The functions, in the places of the trainer's own."""
    functions: dict = {}
    exec(compile(block("python run_main.py"), "resuming.md", "exec"), functions)
    ours = SimpleNamespace(**{name: functions[name] for name in ("save_checkpoint", "limit_checkpoints", "resume")})

    began: dict = {}
    progress = trainer.progress

    def loading(loader, *rest):
        """Called before a loader deals; the training loader's windows are the first."""
        if loader.dataset.first == 0:
            began["state"] = functions["random_state"]()
        return progress(loader, *rest)

    def save(self: trainer.Training, file: Path, epoch: int, global_step: int) -> None:
        own = (self.accelerator, self.model, self.optimizer, self.scheduler, self.scaler, self.early_stopping)
        ours.save_checkpoint(file, *own, epoch, global_step, began["state"] if file.suffix else None)
        self.trace.saves.append(trainer.Save(str(file), epoch, global_step))

    def load(self: trainer.Training, file: Path, train_steps: int, say) -> Start:
        own = (self.accelerator, self.model, self.optimizer, self.scheduler, self.scaler, self.early_stopping)
        epoch, skip, global_step = ours.resume(str(file), self.args, train_steps, *own)
        say(f"Loading checkpoint: {file}")
        stopping = self.early_stopping
        return Start(epoch, skip, global_step, stopping.best_score, stopping.val_loss_min, stopping.counter)

    def limit(folder: Path, limit: int) -> None:
        ours.limit_checkpoints(folder, SimpleNamespace(save_total_limit=limit))

    monkeypatch.setattr(trainer, "progress", loading)
    monkeypatch.setattr(trainer.Training, "save", save)
    monkeypatch.setattr(trainer.Training, "load", load)
    monkeypatch.setattr(trainer, "prune", limit)
    return ours


def train(folder: Path, lradj: str, more: str = "") -> Trace:
    """One process of the trainer; its log is kept, as `tee -a` would."""
    args = trainer.parse([*TRAINING.format(lradj).split(), "--checkpoints", str(folder / "checkpoints"), *more.split()])
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    with (folder / "logs" / "train_patched_20260126_120000.log").open("a") as log:
        return trainer.run(args, log=log)


def outcome(epoch: trainer.Epoch) -> tuple:
    """A validation and EarlyStopping's answer. The printed train loss is left out: it averages the batches after the
    resume only."""
    return epoch.epoch, epoch.vali_loss, epoch.best_score, epoch.val_loss_min, epoch.counter, epoch.saved, epoch.lr


@pytest.mark.parametrize("lradj", ["TST", *(pytest.param(mode, marks=pytest.mark.long) for mode in ("COS", "type1"))])
def test_the_patched_trainer_goes_on_as_if_nothing_had_happened(patched, tmp_path: Path, lradj: str) -> None:
    """Killed in mid-epoch, repaired, resumed: every rate, loss and validation is the uninterrupted run's.

    The data are shuffled, and the random state needs no repair: it is that of the epoch's beginning, and marked so.
    """
    whole = train(tmp_path / "whole", lradj)
    assert train(tmp_path / "died", lradj, "--save_total_limit 2 --stop-after-step 33").killed
    run = next((tmp_path / "died" / "checkpoints").iterdir())
    assert {"checkpoint", "checkpoint_step_25", "checkpoint_step_30"} == {path.name for path in run.glob("[!.]*")}
    results = migrate([run])
    assert set() == {edit.key for result in results for edit in result.edits if edit.key == "rng_state"}
    assert set() == {refusal.migration for result in results for refusal in result.refusals}
    rest = train(tmp_path / "died", lradj, f"--resume_from_checkpoint {run / 'checkpoint_step_30'}")
    assert not rest.error
    assert whole.steps[30:] == rest.steps
    assert [outcome(epoch) for epoch in whole.epochs[2:]] == [outcome(epoch) for epoch in rest.epochs]


def test_the_patched_trainer_refuses_a_cut_file_before_it_loads_it(patched, tmp_path: Path) -> None:
    """With the plan and the finding in what it raises, and the best model as it was."""
    assert train(tmp_path, "TST", "--stop-after-step 33").killed
    file = next(tmp_path.glob("checkpoints/*/checkpoint_step_30/checkpoint.pt"))
    file.write_bytes(file.read_bytes()[:-5000])
    trace = train(tmp_path, "TST", f"--resume_from_checkpoint {file}")
    assert trace.error.startswith("ResumeError")
    assert "F101" in trace.error
    assert not trace.steps
