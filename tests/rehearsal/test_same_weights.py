"""Recording changes nothing: each training computes, to the last bit, what it computes without."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_doctor.rehearsal.loop import describe
from ckpt_doctor.rehearsal.recording import environment
from ckpt_doctor.rehearsal.traces import read_traces

SCRIPTS = Path(__file__).with_name("scripts")
TRAINER = Path(__file__).parents[2] / "fixtures" / "reference_trainer.py"
TIMEOUT = 300
RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
TIME_LLM = [
    str(TRAINER),
    "--dropout",
    "0.2",
    "--shuffle",
    "--train_epochs",
    "17",
    "--patience",
    "99",
    "--save_steps",
    "30",
]

TRAININGS = {
    "foreach": ["plain.py"],
    "fused": ["plain.py", "--optimizer", "fused"],
    "sgd": ["plain.py", "--optimizer", "sgd"],
    "scaler": ["plain.py", "--scaler"],
    "compiled": ["plain.py", "--compile", "aot_eager"],
    "inductor": ["plain.py", "--compile", "inductor", "--steps", "40"],
    "two ranks": [*RANKS, "plain.py"],
    "accelerate": [*ACCELERATE, "with_accelerate.py"],
    "accelerate accumulating": ["with_accelerate.py", "--accumulate", "3"],
    "accelerate two ranks": [*RANKS, "with_accelerate.py", "--epochs", "20"],
    "hf": ["with_hf.py"],
    "lightning": ["with_lightning.py"],
    **{f"time-llm {mode}": [*TIME_LLM, "--lradj", mode] for mode in ("TST", "COS", "type1")},
    "time-llm scaler": [*TIME_LLM, "--lradj", "TST", "--use_amp"],
}
NEEDED = {"with_hf.py": "transformers", "with_lightning.py": "lightning"}
STEPS = {"inductor": 40, "accelerate accumulating": 70, **{f"time-llm {m}": 204 for m in ("TST", "COS", "type1")}}
"""Optimizer steps of each rank, where they are not 200."""


def _run(arguments: list[str], folder: Path, trace: Path | None) -> list[str]:
    """The digests that a training prints; of the reference trainer its last checkpoint."""
    folder.mkdir()
    command = [sys.executable, *[str(SCRIPTS / word) if (SCRIPTS / word).is_file() else word for word in arguments]]
    variables = environment({"folder": str(trace)}) if trace is not None else dict(os.environ)
    done = subprocess.run(
        command, cwd=folder, env=variables | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    assert "recording" not in done.stderr
    best = [path.read_bytes().hex() for path in folder.rglob("checkpoint*/checkpoint.pt")]
    # Two ranks may write into one line of each other
    digests = re.findall(r"\b[0-9a-f]{64}\b", done.stdout)
    return sorted([*digests, *(line for line in done.stdout.splitlines() if line.startswith("Epoch: 17 |"))]) + best


@pytest.mark.long
@pytest.mark.parametrize("name", TRAININGS)
def test_a_recorded_training_computes_the_same(name: str, tmp_path: Path) -> None:
    library = next((NEEDED[word] for word in TRAININGS[name] if word in NEEDED), "torch")
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    bare = _run(TRAININGS[name], tmp_path / "bare", None)
    assert bare
    assert bare == _run(TRAININGS[name], tmp_path / "recorded", tmp_path / "trace")
    traces = read_traces(tmp_path / "trace")
    ranks = 2 if "two ranks" in name else 1
    assert [(trace.rank, trace.world) for trace in traces] == [(rank, ranks) for rank in range(ranks)]
    assert {len(trace.steps[0]) for trace in traces} == {STEPS.get(name, 204 if "time-llm" in name else 200)}
    assert any(step.skipped for step in traces[0].steps[0]) == ("scaler" in name)
    assert describe(traces[0]).saves
