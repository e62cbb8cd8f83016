"""The suggested code: it is Python, it calls what exists, and a script that follows it is no longer reported."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

import pytest

import ckpt_doctor
from ckpt_doctor.lint import lint
from ckpt_doctor.types import Located

DELETING = """
import argparse
import shutil
parser = argparse.ArgumentParser()
args = parser.parse_args()
shutil.rmtree("./checkpoints")
"""
OVERWRITING = """
import torch
for epoch in range(9):
    torch.save({"model": m, "optimizer": o}, path)
"""
LAGGING = """
import torch
for step, batch in enumerate(loader):
    optimizer.step()
    torch.save({"optimizer": o, "scheduler": s}, f"c_{step}.pt")
    if args.lradj == "TST":
        scheduler.step()
"""
STOPPING = """
import torch
from stopping import EarlyStopping
stopper = EarlyStopping()
state = {"optimizer": o, "rng_state": {"torch": torch.get_rng_state()}}
torch.save(state, f"c_{step}.pt")
old = torch.load(path)
optimizer.load_state_dict(old["optimizer"])
torch.set_rng_state(old["rng_state"]["torch"])
"""
EVERY_RANK = """
import torch
torch.distributed.init_process_group("nccl")
for epoch in range(9):
    torch.save({"model": m, "epoch": epoch}, f"c_{epoch}.pt")
"""
EVERY_PROCESS = """
import torch
from accelerate import Accelerator
acc = Accelerator()
for epoch in range(9):
    state = {"model": m, "epoch": epoch}
    torch.save(state, f"c_{epoch}.pt")
"""
WHOLE = """
import torch
model.eval()
torch.save(model, "model.pt")
"""
UNSCHEDULED = """
import torch
for epoch in range(9):
    warmup_scheduler.step()
    torch.save({"optimizer": o}, f"c_{epoch}.pt")
"""
RATE = """
import torch
ckpt = torch.load(path)
for epoch in range(ckpt["epoch"], 9):
    if epoch == 0:
        args.learning_rate = optimizer.param_groups[0]["lr"]
"""


def linted(folder: Path, text: str) -> list[Located]:
    (folder / "run.py").write_text(text)
    (report,) = lint([folder / "run.py"])
    return list(report.findings)


def replaced(text: str, finding: Located) -> str:
    """The script with the reported lines replaced by the suggestion."""
    lines = text.split("\n")
    line = lines[finding.line - 1]
    indent = line[: len(line) - len(line.lstrip())]
    lines[finding.line - 1 : finding.end_line] = textwrap.indent(finding.suggestion, indent).split("\n")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("X901", DELETING),
        ("X905", OVERWRITING),
        ("X907", EVERY_RANK),
        ("X907", EVERY_PROCESS),
        ("X909", WHOLE),
    ],
)
def test_a_script_in_which_the_suggestion_takes_the_place_of_the_code_is_clean(
    tmp_path: Path, code: str, text: str
) -> None:
    (finding,) = linted(tmp_path, text)
    assert code == finding.finding.code
    assert [] == linted(tmp_path, replaced(text, finding))


def test_a_scheduler_step_is_moved_with_its_condition_and_not_doubled(tmp_path: Path) -> None:
    (finding,) = linted(tmp_path, LAGGING)
    moved = replaced(LAGGING, finding)
    end = '    if args.lradj == "TST":\n        scheduler.step()\n'
    assert moved.endswith(end)
    moved = moved.removesuffix(end)
    assert "if args.lradj == 'TST':\n        scheduler.step()  # moved to before the save\n    torch.save(" in moved
    assert [] == linted(tmp_path, moved)


def test_early_stopping_is_saved_and_read_back_as_suggested(tmp_path: Path) -> None:
    (save,) = linted(tmp_path, STOPPING)
    saving = STOPPING.replace("state = {", "state = {" + save.suggestion.replace("\n", ""))
    (load,) = linted(tmp_path, saving)
    whole = saving + load.suggestion + "\n"
    assert [] == linted(tmp_path, whole)
    assert 'stopper.best_score = old.get("best_score")' in whole
    assert 'stopper.val_loss_min = old.get("val_loss_min", float("inf"))' in whole
    assert 'stopper.counter = old.get("counter", 0)' in whole


def test_the_scheduler_is_saved_as_suggested(tmp_path: Path) -> None:
    (finding,) = linted(tmp_path, UNSCHEDULED)
    assert "X908" == finding.finding.code
    whole = UNSCHEDULED.replace('{"optimizer"', "{" + finding.suggestion + ' "optimizer"')
    assert [] == linted(tmp_path, whole)
    assert "warmup_scheduler.state_dict()" in whole


def test_the_first_process_is_named_in_the_terms_of_the_script(tmp_path: Path) -> None:
    (finding,) = linted(tmp_path, EVERY_PROCESS)
    assert "if acc.is_main_process:" in finding.suggestion


def test_a_dict_of_several_random_states_is_read_where_torchs_lies(tmp_path: Path) -> None:
    whole = STOPPING.replace('{"optimizer"', '{"best_score": 1, "val_loss_min": 2, "counter": 3, "optimizer"')
    whole = whole.replace('torch.set_rng_state(old["rng_state"]["torch"])', 'print(old["best_score"])')
    (finding,) = linted(tmp_path, whole)
    assert 'torch.set_rng_state(old["rng_state"]["torch"])' in finding.suggestion


def test_the_base_rate_is_set_before_the_loop_as_suggested(tmp_path: Path) -> None:
    (finding,) = linted(tmp_path, RATE)
    assert [] == linted(tmp_path, RATE.replace("for epoch", finding.suggestion + "\nfor epoch"))


def test_pruning_as_suggested_is_not_reported_and_calls_what_there_is(tmp_path: Path) -> None:
    loop = 'import glob, shutil\nfor f in sorted(glob.glob("checkpoint_step_*"))[:-3]:\n    shutil.rmtree(f)\n'
    (finding,) = linted(tmp_path, loop)
    assert "X902" == finding.finding.code
    assert [] == linted(tmp_path, "import ckpt_doctor\n" + finding.suggestion + "\n")


@pytest.mark.parametrize(
    "text", [OVERWRITING, 'import glob, shutil\nfor f in glob.glob("checkpoint_step_*")[3:]:\n    shutil.rmtree(f)\n']
)
def test_functions_of_this_package_are_called_with_arguments_that_they_take(tmp_path: Path, text: str) -> None:
    (finding,) = linted(tmp_path, text)
    (statement,) = ast.parse(finding.suggestion).body
    assert isinstance(statement, ast.Expr)
    call = statement.value
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Attribute)
    function = getattr(ckpt_doctor, call.func.attr)
    inspect.signature(function).bind(*call.args, **{k.arg: k.value for k in call.keywords})


def test_the_suggested_calls_do_what_they_say(tmp_path: Path) -> None:
    import torch

    (finding,) = linted(tmp_path, OVERWRITING)
    path = tmp_path / "checkpoint"
    path.write_bytes(b"the previous one")
    exec(finding.suggestion, {"ckpt_doctor": ckpt_doctor, "m": {}, "o": {"step": 7}, "path": path})
    assert {"model": {}, "optimizer": {"step": 7}} == torch.load(path)
