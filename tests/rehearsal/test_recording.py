"""Processes and commands that are recorded: the recorder reaches their Pythons, and nothing else changes for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ckpt_doctor.errors import UsageError
from ckpt_doctor.rehearsal import record
from ckpt_doctor.rehearsal.recording import environment, found, new_folder
from ckpt_doctor.rehearsal.traces import read_traces

TRAIN = """
import torch
p = torch.nn.Parameter(torch.ones(2))
o = torch.optim.SGD([p], lr=0.1)
for _ in range(3):
    p.sum().backward(); o.step()
"""


def recorded(command: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    variables = environment({"folder": str(folder / "run.trace")}) | more
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "a script.py"
    path.write_text(TRAIN)
    return path


@pytest.mark.long
def test_a_script_is_recorded(script: Path, tmp_path: Path) -> None:
    assert recorded([sys.executable, str(script)], tmp_path).stderr == ""
    (trace,) = read_traces(tmp_path / "run.trace")
    assert len(trace.steps[0]) == 3
    assert trace.ended == "the process ended"
    assert trace.command == (str(script),)


def test_a_trace_is_never_written_over(tmp_path: Path) -> None:
    new_folder(tmp_path / "run.trace")
    with pytest.raises(UsageError, match="never written over"):
        new_folder(tmp_path / "run.trace")


@pytest.mark.parametrize(("command", "says"), [((), "no command"), (("no-such-program-here",), "no program")])
def test_a_command_that_is_none_is_a_sentence(command: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        found(command)


@pytest.mark.long
def test_two_ranks_under_torchrun_have_a_trace_each(tmp_path: Path) -> None:
    (tmp_path / "ranks.py").write_text(
        "import torch, torch.distributed as d\nd.init_process_group('gloo')\n"
        "m = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))\n"
        "o = torch.optim.SGD(m.parameters(), lr=0.1)\n"
        "for _ in range(4): m(torch.ones(1, 2)).sum().backward(); o.step()\n"
        "d.destroy_process_group()\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = recorded([*launcher, "ranks.py"], tmp_path, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    traces = read_traces(tmp_path / "run.trace")
    assert [(trace.rank, trace.world, len(trace.steps[0])) for trace in traces] == [(0, 2, 4), (1, 2, 4)]
    assert traces[0].steps[0][3].sample == traces[1].steps[0][3].sample


@pytest.mark.long
def test_a_process_that_is_killed_leaves_every_step_that_it_made(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(TRAIN.replace("range(3)", "iter(int, 1)") + "    print(flush=True)\n")
    variables = environment({"folder": str(tmp_path / "run.trace")})
    command = [sys.executable, "endless.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(200):
            process.stdout.readline()
        process.kill()
        printed = 200 + len(process.stdout.readlines())
    (trace,) = read_traces(tmp_path / "run.trace")
    assert trace.ended == ""
    assert [step.number for step in trace.steps[0]] in [list(range(1, printed + n)) for n in (1, 2)]


@pytest.mark.long
def test_the_state_of_python_has_one_fingerprint_in_every_process(tmp_path: Path) -> None:
    """Hashes of strings and of None differ from process to process."""
    prints = []
    for seed in ("1", "2"):
        script = "import random; random.seed(3)\n" + TRAIN
        folder = tmp_path / seed
        folder.mkdir()
        recorded([sys.executable, "-c", script], folder, PYTHONHASHSEED=seed)
        prints.append([step.random[0] for step in read_traces(folder / "run.trace")[0].steps[0]])
    assert prints[0] == prints[1]


def test_a_second_recording_in_one_process_is_refused(tmp_path: Path) -> None:
    with record(tmp_path / "one"), pytest.raises(RuntimeError, match="running"), record(tmp_path / "two"):
        pass


def test_a_block_without_steps_has_no_trace(tmp_path: Path) -> None:
    with record(tmp_path / "run.trace") as folder:
        torch.ones(1)
    with pytest.raises(UsageError, match="no trace"):
        read_traces(folder)
