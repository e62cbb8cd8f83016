"""Which files are one run, whose it is, and which file a trainer loads from a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ckpt_doctor.audit.opening import open_file
from ckpt_doctor.audit.runs import find_runs, one_run, resume_file, understand, with_siblings
from ckpt_doctor.errors import UsageError
from ckpt_doctor.types import Evidence


def test_files_are_grouped_by_run_in_the_order_that_a_person_counts() -> None:
    """`step_900` before `step_1000`; a step file belongs to the run that its folder lies in."""
    steps = [Path(f"b/checkpoint_step_{n}/checkpoint.pt") for n in (1000, 900)]
    assert {Path("a"): [Path("a/checkpoint")], Path("b"): [steps[1], steps[0]]} == find_runs(
        [*steps, Path("a/checkpoint")]
    )


def test_a_run_of_a_known_trainer_is_its_own_with_the_facts_that_were_given(sample) -> None:
    run = sample("complete-TST")
    files = with_siblings(run, [run / "checkpoint"])
    given = {"steps_per_epoch": Evidence(45, "given", given=True), "max_steps": Evidence(5, "given", given=True)}
    found, members = understand(run, files, given)
    assert found.trainer == "time-llm"
    assert len(files) == len(found.members) == len(members) > 1
    assert found.facts.steps_per_epoch is not None
    assert found.facts.steps_per_epoch.given
    assert any("max-steps" in note.what for note in found.not_checked)  # a fact that this trainer does not have


def test_a_file_that_cannot_be_read_to_its_end_is_no_member(sample) -> None:
    run = sample("complete-TST")
    data = (run / "checkpoint").read_bytes()
    (run / "checkpoint").write_bytes(data[: len(data) // 2])
    step = next(run.glob("checkpoint_step_*/checkpoint.pt"))
    found, members = understand(run, map(open_file, [run / "checkpoint", step]), {})
    assert [step] == [member.checkpoint.path for member in found.members]
    assert (run / "checkpoint",) == found.unjudged
    assert len(members) == 2


def test_siblings_are_the_run_s_other_checkpoints(sample) -> None:
    run = sample("complete-TST")
    everything = [checkpoint.path for checkpoint in with_siblings(run, [])]
    assert run / "checkpoint" in everything
    first, *others = (checkpoint.path for checkpoint in with_siblings(run, [run / "checkpoint"]))
    assert run / "checkpoint" == first
    assert set(everything) - {first} == set(others)


def test_the_file_that_a_resume_loads(sample, tmp_path) -> None:
    """A file itself; a step folder's only checkpoint; of a run what its trainer looks for."""
    run = sample("complete-TST")
    step = next(run.glob("checkpoint_step_*"))
    assert run / "checkpoint" == resume_file(run / "checkpoint")
    assert step / "checkpoint.pt" == resume_file(step)
    alone = tmp_path / "plain"
    alone.mkdir()
    shutil.copy(run / "checkpoint", alone / "last.pt")
    assert alone / "last.pt" == resume_file(alone)
    shutil.copy(run / "checkpoint", alone / "other.pt")
    with pytest.raises(UsageError, match="ckpt-doctor latest"):
        resume_file(alone)


def test_a_marker_names_what_a_resume_from_the_run_loads(tmp_path) -> None:
    """A folder of Megatron-LM's ranks is one checkpoint, of the run around it."""
    for step in (10, 20):
        folder = tmp_path / f"iter_{step:07d}" / "mp_rank_00"
        folder.mkdir(parents=True)
        torch.save({"iteration": step, "model": {"w": torch.ones(1)}}, folder / "model_optim_rng.pt")
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("10\n")
    assert tmp_path / "iter_0000010" == resume_file(tmp_path)
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("30")
    with pytest.raises(UsageError, match="holds 3 checkpoints"):
        resume_file(tmp_path)


def test_a_folder_of_runs_names_them(sample, tmp_path) -> None:
    run = sample("complete-TST")
    shutil.copytree(run, run.with_name("second"))
    with pytest.raises(UsageError, match=r"holds 2 runs .*second.*; name one of them"):
        resume_file(run.parent)
    with pytest.raises(UsageError, match="holds 2 runs"):
        one_run(run.parent)
    assert run == one_run(run)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="nothing to resume from"):
        resume_file(tmp_path / "empty")
