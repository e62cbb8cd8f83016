"""Several programs in one tree at the same time: doctors, a pruning trainer, readers."""

import subprocess
from pathlib import Path

import pytest
import torch

from tests.writer.processes import go, start
from tests.writer.sample_files import checkpoint_of, litter, make, program_of

HERE = Path(__file__).parent
MIGRATE = """
import sys; from contextlib import nullcontext; from pathlib import Path
from tests.writer.sample_files import checkpoint_of, program_of, with_key
from ckpt_doctor import writer
from ckpt_doctor.errors import WriteRefused
from ckpt_doctor.inert.names import is_ours
from ckpt_doctor.writer.locking import run_lock

run, mode, locked = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "locked"
print("ready", flush=True); input()
for path in sorted(run.rglob("checkpoint*")):
    if path.is_dir() or is_ours(path.name):
        continue
    with run_lock(run) if locked else nullcontext():
        try:
            checkpoint = checkpoint_of(path, "torch-zip")
            program = program_of(checkpoint)
            if b"best_score" in program:
                print(path.name, "has it"); continue
            program = with_key(program, "best_score", -0.5)
            writer.write(checkpoint, program, {"edits": []}, mode=mode, verify=lambda p: None)
            print(path.name, "migrated")
        except (WriteRefused, OSError, StopIteration, ValueError) as refusal:
            print(path.name, "refused", refusal)
"""


def finish(processes: list[subprocess.Popen]) -> list[str]:
    """Let them all go at once, wait, and give their lines."""
    go(*processes)
    lines = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert ("", 0) == (err, process.returncode)
        lines += out.splitlines()
    return lines


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder with twelve checkpoints."""
    for step in range(11):
        (tmp_path / f"checkpoint_step_{step}").mkdir()
        make(tmp_path / f"checkpoint_step_{step}" / "checkpoint.pt", "torch-zip")
    make(tmp_path / "checkpoint", "torch-zip")
    return tmp_path


@pytest.mark.parametrize("mode", ["replace", pytest.param("in-place", marks=pytest.mark.long)])
def test_two_doctors_that_lock_from_reading_to_writing_share_the_work(mode, run):
    """Each file is migrated once, by one of them; nobody is refused; nothing is left over."""
    lines = finish([start(MIGRATE, run, mode, "locked") for _ in range(3)])
    assert 12 == sum("migrated" in line for line in lines)
    assert 24 == sum("has it" in line for line in lines)
    check(run)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["replace", "in-place"])
def test_two_doctors_that_do_not_know_of_each_other_are_safe_too(mode, run):
    """Who read the file before the other's change is refused; a file is never migrated twice or damaged."""
    lines = finish([start(MIGRATE, run, mode, "unlocked") for _ in range(3)])
    assert 12 == sum("migrated" in line for line in lines), lines
    check(run)


def check(run: Path) -> None:
    """Every file has the key once, loads, and stands alone."""
    files = [path for path in run.rglob("checkpoint*") if path.is_file()]
    assert {str(path.relative_to(run)) for path in files} == litter(run)
    for path in files:
        assert -0.5 == torch.load(path)["best_score"]
        assert 1 == program_of(checkpoint_of(path, "torch-zip")).count(b"best_score")


def test_a_reader_sees_the_old_or_the_new_file_at_every_instant(tmp_path):
    """torch.load in a loop, while another process migrates and undoes the file in a loop."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    original = path.read_bytes()
    code = """
import sys; from pathlib import Path; from tests.writer.sample_files import edited; from ckpt_doctor import writer
print("ready", flush=True); input(); path = Path(sys.argv[1])
for _ in range(10):
    writer.write(*edited(path, "torch-zip"), {"edits": []}, verify=lambda p: None)
    writer.undo(path)
"""
    process = start(code, path)
    process.stdin.write("go\n")
    process.stdin.flush()
    seen = {}
    while process.poll() is None:
        value = torch.load(path).get("best_score")
        seen[value] = seen.get(value, 0) + 1
    assert ("", 0) == (process.communicate()[1], process.returncode)
    assert {None, -0.5} == set(seen)
    assert original == path.read_bytes()
    assert {"checkpoint"} == litter(tmp_path)


def test_pruning_and_migrating_the_same_run_do_not_meet(run):
    """Both take the run's lock: what is pruned is gone entirely, what stays is migrated entirely."""
    prune = """
import sys; from pathlib import Path; from ckpt_doctor.training.retention import Step, contents, keep_newest
def find_steps():
    folders = Path(sys.argv[1]).glob("checkpoint_step_*")
    return [Step((int(f.name.rpartition("_")[2]),), f, (f / "checkpoint.pt").exists(), contents(f)) for f in folders]
print("ready", flush=True); input()
for keep in (9, 7, 5, 3):
    keep_newest(Path(sys.argv[1]), keep, find_steps=find_steps)
"""
    lines = finish([start(MIGRATE, run, "replace", "unlocked"), start(prune, run)])
    steps = sorted(int(path.name.rpartition("_")[2]) for path in run.iterdir() if path.is_dir())
    assert [8, 9, 10] == steps, lines
    check(run)
