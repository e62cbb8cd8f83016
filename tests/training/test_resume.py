"""`check_resume` in a training script: what it says of live objects is what their `load_state_dict` then does."""

from __future__ import annotations

import copy
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor import check_resume
from ckpt_doctor.errors import ResumeError, UsageError

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "fixtures" / "sample-runs"
STEPS, EPOCHS = 45, 5


def step_file(sample: str, step: int) -> Path:
    """A step checkpoint of a sample run."""
    return next((SAMPLES / sample / "checkpoints").glob(f"*/checkpoint_step_{step}/checkpoint.pt"))


class Net(torch.nn.Module):
    """A model with a scalar parameter, shared weights, buffers and nested modules."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.embedding = torch.nn.Linear(3, width, bias=False)
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(width, width), torch.nn.BatchNorm1d(width)])
        self.head = torch.nn.Linear(3, width, bias=False)
        self.head.weight = self.embedding.weight
        self.scale = torch.nn.Parameter(torch.tensor(1.0))


def objects(width: int = 4, optimizer_class=torch.optim.Adam):
    """A script's model, optimizer and scheduler, one step into its training."""
    model = Net(width)
    body = [*model.embedding.parameters(), *model.blocks.parameters()]
    extra = {"momentum": 0.9} if optimizer_class is torch.optim.SGD else {}
    optimizer = optimizer_class([{"params": body}, {"params": [model.scale], "lr": 0.001}], lr=0.01, **extra)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=STEPS * EPOCHS)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return model, optimizer, scheduler


def save(path: Path, model: dict, optimizer: dict, scheduler: dict) -> Path:
    """A training checkpoint of these states."""
    states = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    torch.save({**states, "epoch": 0, "global_step": 1}, path)
    return path


def codes(path: Path, **live: object) -> set[str]:
    """The live rules' findings."""
    return {f.code for f in check_resume(path, **live).findings} & {"L307", "L308", "O704", "R507"}


# --- what load_state_dict will say ------------------------------------------------------------------------------------

MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["drop", "rename", "add", "reshape", "transpose", "scalar", "to one element", "wrap"]),
        st.integers(0, 99),
    ),
    max_size=4,
)


def mutate(state: dict, mutations: list[tuple[str, int]]) -> dict:
    """A state_dict with some defects."""
    for kind, number in mutations:
        if not state:
            break
        key = sorted(state)[number % len(state)]
        if kind == "drop":
            del state[key]
        elif kind == "rename":
            state[f"{key}_{number}"] = state.pop(key)
        elif kind == "add":
            state[f"extra.{number}"] = torch.ones(1 + number % 3)
        elif kind == "reshape":
            state[key] = torch.zeros(1 + number % 5, 2)
        elif kind == "transpose":
            state[key] = state[key].t() if state[key].dim() == 2 else state[key]
        elif kind == "scalar":
            state[key] = torch.tensor(1.0)
        elif kind == "to one element":
            state[key] = state[key].reshape(-1)[:1]
        else:
            state = {f"module.{name}": value for name, value in state.items()}
    return state


@settings(max_examples=40)
@given(MUTATIONS, st.booleans())
def test_the_models_verdict_is_foretold_key_by_key_and_shape_by_shape(tmp_path, mutations, versions):
    """Missing keys, unexpected keys and shapes are those that torch's error names; no error, no finding.

    With and without the versions of the modules, by which BatchNorm tells whether its counter may be missing.
    """
    model, optimizer, scheduler = objects()
    state = mutate(copy.deepcopy(model.state_dict()) if versions else dict(model.state_dict()), mutations)
    path = save(tmp_path / "checkpoint", state, optimizer.state_dict(), scheduler.state_dict())
    found = {f.code: f for f in check_resume(path, model=model).findings if f.code in ("L307", "L308")}
    try:
        Net().load_state_dict(torch.load(path)["model"])
        error = ""
    except RuntimeError as refusal:
        error = str(refusal)
    assert bool(error) == bool(found), error
    listed = {
        kind: set(re.findall(r'"([^"]+)"', re.search(rf"{kind} key\(s\) in state_dict: (.*)", error)[1]))
        for kind in ("Missing", "Unexpected")
        if f"{kind} key(s)" in error
    }
    keys = found.get("L307")
    assert listed.get("Missing", set()) == set(keys.expected if keys else ())
    assert listed.get("Unexpected", set()) == set(keys.found if keys else ())
    assert ("size mismatch" in error) == ("L308" in found)
    if "L308" in found:
        where = found["L308"].where.removeprefix("model.")
        assert f"size mismatch for {where}:" in error


GROUPS = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@settings(max_examples=40)
@given(GROUPS, GROUPS, st.sampled_from([torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD]), st.booleans())
def test_the_optimizers_verdict_is_foretold(tmp_path, saved, live, kind, same_shapes):
    """Groups and parameters per group must agree; shapes too, though torch fails on them only in the first step."""

    def build(sizes: list[int], width: int) -> torch.optim.Optimizer:
        groups = [{"params": [torch.nn.Parameter(torch.zeros(width)) for _ in range(size)]} for size in sizes]
        optimizer = kind(groups, lr=0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        return optimizer

    writer, reader = build(saved, 3), build(live, 3 if same_shapes else 5)
    writer.step()
    path = save(tmp_path / "checkpoint", {}, writer.state_dict(), {})
    try:
        reader.load_state_dict(torch.load(path)["optimizer"])
        reader.step()
        refused = False
    except (ValueError, RuntimeError):
        refused = True
    assert refused == ("O704" in codes(path, optimizer=build(live, 3 if same_shapes else 5)))


SCHEDULERS = {
    "OneCycleLR": lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=30),
    "CosineAnnealingLR": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20),
    "StepLR": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 3),
}


@pytest.mark.parametrize("live", ["OneCycleLR", "CosineAnnealingLR"])
@pytest.mark.parametrize("saved", SCHEDULERS)
def test_a_schedule_of_another_class_is_told_before_its_first_step(saved, live, tmp_path):
    """load_state_dict takes any dict; what it makes of it shows later."""
    model, optimizer, _ = objects()
    state = SCHEDULERS[saved](optimizer).state_dict()
    path = save(tmp_path / "checkpoint", model.state_dict(), optimizer.state_dict(), state)
    assert (saved != live) == ("R507" in codes(path, scheduler=SCHEDULERS[live](optimizer)))


@pytest.mark.parametrize(
    "wrap",
    [lambda model: model, torch.nn.DataParallel, pytest.param(torch.compile, marks=pytest.mark.long)],
    ids=["bare", "DataParallel", "compile"],
)
def test_objects_that_fit_raise_nothing(wrap, tmp_path):
    """Wrapped ones too: their keys have a prefix, and the trainer unwraps them to load."""
    model, optimizer, scheduler = objects()
    path = save(tmp_path / "checkpoint", model.state_dict(), optimizer.state_dict(), scheduler.state_dict())
    assert set() == codes(path, model=wrap(model), optimizer=optimizer, scheduler=scheduler)


def test_no_tensor_is_read(tmp_path):
    """Neither of the file, whose weights here are holes, nor of the model, which here has none."""
    with torch.device("meta"):
        model = torch.nn.Linear(50_000, 50_000)
    path = tmp_path / "checkpoint"
    with torch.serialization.skip_data():
        torch.save({"model": model.to_empty(device="cpu").state_dict(), "optimizer": {}, "scheduler": {}}, path)
    assert path.stat().st_size > 10_000_000_000
    began = time.monotonic()
    assert set() == codes(path, model=model)
    assert time.monotonic() - began < 2


# --- in a script ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [None, ""])
def test_nothing_to_resume_from_is_a_first_start(empty):
    """And fine: the same line stands in the script for both."""
    check = check_resume(empty, steps_per_epoch=STEPS)
    assert check.first_start
    assert ("ok", None, ()) == (check.verdict, check.plan, check.findings)
    assert check is check.raise_for_errors("warning")
    assert "First start" in str(check)
    assert "First start" in check._repr_html_()
    assert repr(check) == "ResumeCheck(first start)"


def test_a_path_that_does_not_exist_is_the_callers_mistake(tmp_path):
    """Not a finding: there is nothing to judge. A folder without a checkpoint likewise."""
    with pytest.raises(UsageError, match="gone does not exist"):
        check_resume(tmp_path / "gone")
    with pytest.raises(UsageError, match="holds nothing to resume from"):
        check_resume(tmp_path)


def test_the_exception_says_what_the_trainer_would_do_and_what_is_wrong(tmp_path):
    """One type, whose message is the plan and the findings, and which carries the plan."""
    model, optimizer, scheduler = objects()
    path = save(tmp_path / "checkpoint", model.state_dict(), optimizer.state_dict(), scheduler.state_dict())
    check = check_resume(path, steps_per_epoch=STEPS, model=Net(5), trainer="time-llm")
    assert "broken" == check.verdict
    with pytest.raises(ResumeError) as raised:
        check.raise_for_errors()
    assert str(check).strip() == str(raised.value).strip()
    assert check.plan == raised.value.plan
    for told in ("L308", "embedding.weight is [4, 3]", "[5, 3]", "epoch 0"):
        assert told in re.sub(r"\s+", " ", str(raised.value)), told
    assert "L308" in check._repr_html_()
    assert "L308" in repr(check)
    assert "\n" not in repr(check)


def test_warnings_raise_where_they_are_asked_to():
    """A schedule that lags resumes, but not as the uninterrupted run."""
    check = check_resume(step_file("complete-TST", 140), steps_per_epoch=STEPS, train_epochs=EPOCHS, lradj="TST")
    assert "R501" in {finding.code for finding in check.findings}
    assert check is check.raise_for_errors()
    with pytest.raises(ResumeError, match="R501"):
        check.raise_for_errors("warning")


def test_a_damaged_file_is_a_finding(tmp_path):
    """Cut off anywhere, it is judged, not stumbled over; the live objects change nothing about that."""
    model, optimizer, scheduler = objects()
    path = save(tmp_path / "checkpoint", model.state_dict(), optimizer.state_dict(), scheduler.state_dict())
    content = path.read_bytes()
    for size in (0, 1, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        check = check_resume(path, model=model, optimizer=optimizer, scheduler=scheduler)
        assert "broken" == check.verdict
        with pytest.raises(ResumeError):
            check.raise_for_errors()


def test_torch_is_not_imported_for_a_script_that_hands_over_none():
    """Nor numpy: a check costs milliseconds and no import that the script does not have."""
    path = step_file("complete-TST", 140)
    code = f"""
import sys, time
from ckpt_doctor import check_resume
check_resume({str(path)!r})
began = time.process_time()
check = check_resume({str(path)!r}, lradj="TST")
print(check.plan.global_step, "torch" in sys.modules, "numpy" in sys.modules, time.process_time() - began < 0.1)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ("", "140 False False True\n") == (result.stderr, result.stdout)


PROCESSES = """
import os, sys, torch
from accelerate import Accelerator
from ckpt_doctor import check_resume
from ckpt_doctor.training import resume
from ckpt_doctor.errors import CkptDoctorError
rank, port, path = sys.argv[1:]
os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
if rank == "1":
    resume.audit = None  # whoever reads a file here fails
check = check_resume(path, model=torch.nn.Linear(1, 1))
print(check.verdict, check.plan.global_step, [finding.code for finding in check.findings], len(str(check)))
for failing in (path + "-gone", None):
    if failing is None and rank == "0":
        resume.audit.check = lambda *_, **__: {}["a bug"]
    try:
        check_resume(failing or path)
    except (CkptDoctorError, KeyError) as error:
        print(type(error).__name__)
torch.distributed.destroy_process_group()
"""


@pytest.mark.long
def test_one_process_reads_and_all_get_its_verdict():
    """Under Accelerate, where the second cannot read: the same plan and findings, the same mistake, and no hanging.

    A failure of ours shows in the first process; the others say where to look.
    """
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "-c", PROCESSES]
    started = [
        subprocess.Popen(
            [*line, rank, str(port), str(step_file("complete-TST", 140))], stdout=-1, stderr=-1, text=True, cwd=ROOT
        )
        for rank in "01"
    ]
    printed = [process.communicate(timeout=100) for process in started]
    assert [0, 0] == [process.returncode for process in started], printed
    (first, *failures), (second, *others) = (out.splitlines() for out, _ in printed)
    assert first == second
    assert first.startswith("broken 140 ")
    assert "L307" in first
    assert (["UsageError", "KeyError"], ["UsageError", "CkptDoctorError"]) == (failures, others)
