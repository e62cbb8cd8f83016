"""An optimizer in several files, of DeepSpeed's ranks or FSDP's shards: its steps and rates are read and compared."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import checkpoint as dcp

from ckpt_doctor import scan
from tests.trainers.hf_trainer.runs import Writer, change_state, judged, remove, told
from tests.trainers.hf_trainer.test_judging import rate_of_its_own
from tests.trainers.hf_trainer.test_parts import deepspeed


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Writer(tmp_path / "run").write(14, 21)


def in_ranks(folder: Path, **engine: Any) -> None:
    """As ZeRO writes it, in two ranks; the Trainer keeps the schedule."""
    number = int(folder.name.removeprefix("checkpoint-"))
    tag, optimizer = folder / f"global_step{number}", torch.load(folder / "optimizer.pt")
    tag.mkdir()
    engine = {"module": {}, "dp_world_size": 2, "global_steps": number, "skipped_steps": 0, **engine}
    torch.save(engine, tag / "mp_rank_00_model_states.pt")
    for rank in range(2):
        states = {"optimizer_state_dict": {"zero_stage": 2, "base_optimizer_state": optimizer}}
        torch.save(states, tag / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    (folder / "latest").write_text(tag.name)
    (folder / "optimizer.pt").unlink()


def in_shards(folder: Path) -> None:
    """As FSDP writes it with sharded states."""
    optimizer = torch.load(folder / "optimizer.pt")
    model = load_file(folder / "model.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, state in (("pytorch_model_fsdp_0", {"model": model}), ("optimizer_0", {"optimizer": optimizer})):
            dcp.save(state, checkpoint_id=folder / name, no_dist=True)
    remove("optimizer.pt", "model.safetensors")(folder)


@pytest.mark.parametrize("form", [in_ranks, in_shards])
def test_an_optimizer_in_several_files_is_read_and_one_of_another_step_told(
    run: Path, form: Callable[[Path], None]
) -> None:
    for folder in list(run.iterdir()):
        form(folder)
    report = scan([run])
    assert ([], {"identical"}) == (report.findings, {file.resume for file in report.files})
    for name in ("optimizer_0", "global_step21"):
        if (run / "checkpoint-21" / name).is_dir():
            shutil.rmtree(run / "checkpoint-21" / name)
            other = name.replace("21", "14")
            shutil.copytree(run / "checkpoint-14" / other, run / "checkpoint-21" / name)
    file = judged(run / "checkpoint-21")
    assert ("differs", {"P409"}) == (file.resume, told(file))


def test_the_rate_of_an_optimizer_in_several_files_is_compared(run: Path) -> None:
    folder = run / "checkpoint-21"
    rate_of_its_own(folder)
    in_ranks(folder)
    assert {"P409"} == told(judged(folder))
    (folder / "scheduler.pt").unlink()  # DeepSpeed's own schedule, of which nothing is known
    plan = judged(folder).plan
    assert plan is not None and plan.next_lr == 0.5


def test_steps_that_deepspeed_skipped_are_no_other_step(run: Path) -> None:
    folder = run / "checkpoint-21"
    in_ranks(folder, global_steps=23, skipped_steps=2)
    change_state(folder, global_step=23)
    folder.rename(run / "checkpoint-23")
    assert "P409" not in told(judged(run / "checkpoint-23"))


def test_the_marker_of_deepspeed_and_its_folder_are_missed(run: Path) -> None:
    """Without either `deepspeed_load_checkpoint` raises a ValueError; a fresh optimizer is not made."""
    folder = run / "checkpoint-21"
    in_ranks(folder)
    marker = (folder / "latest").read_text()
    (folder / "latest").unlink()
    (found,) = (f for f in judged(folder).findings if f.severity == "error")
    assert ("F114", "latest") == (found.code, found.where)
    subprocess.run(["sh", "-c", found.fix or ""], check=True)
    assert (marker, "identical") == ((folder / "latest").read_text().strip(), judged(folder).resume)
    shutil.rmtree(folder / marker)
    assert [("F114", marker)] == [(f.code, f.where) for f in judged(folder).findings if f.severity == "error"]


def test_an_optimizer_that_shows_no_step_leaves_the_resume_open(run: Path) -> None:
    folder = run / "checkpoint-21"
    deepspeed(folder)
    assert "open" == judged(folder).resume
