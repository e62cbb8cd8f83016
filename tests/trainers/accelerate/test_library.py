"""Real runs of the library: what is said of a folder is what a resume from it does, to the last bit; cures cure."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("accelerate")

from ckpt_doctor import migrate, repair, scan
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import FileReport
from tests.trainers.accelerate.library import Job, resumes_identically, train

pytestmark = pytest.mark.long
SCHEDULES = (
    "step multistep exponential linear polynomial cosine restarts onecycle sequential lambda".split()  # noqa: SIM905
)
JOBS = [
    *(Job(schedule=schedule, every=4) for schedule in ["", *SCHEDULES]),
    *(Job(schedule=schedule, every=4, shuffle=True) for schedule in SCHEDULES),
    *(Job(optimizer=optimizer, every=5, shuffle=True, dropout=0.3) for optimizer in ("adam", "adamw", "sgd")),
    *(Job(schedule=schedule, accumulation=3, every=3, shuffle=True) for schedule in ("step", "onecycle", "lambda")),
    *(Job(accumulation=4, every=every, schedule="cosine") for every in (2, 4)),
    *(Job(loop="diffusers", every=every, shuffle=shuffle) for every in (4, 6) for shuffle in (False, True)),
    *(Job(loop="diffusers", every=2, accumulation=2, by_epoch=False, schedule=s) for s in ("lambda", "cosine")),
    *(Job(seedable=True, shuffle=True, schedule=schedule) for schedule in ("step", "lambda")),
    Job(every=4, safe=False),
    *(Job(schedule=schedule, every=4, schedule_by_epoch=True) for schedule in ("exponential", "lambda", "restarts")),
]


def judged(run: Path, job: Job) -> dict[str, FileReport]:
    given = facts(shuffle=job.shuffle, seedable_sampler=job.seedable, steps_per_epoch=job.batches)
    return {file.checkpoint.path.name: file for file in scan(run, facts=given).files}


def codes(file: FileReport) -> set[str]:
    return {finding.code for finding in file.findings if finding.severity != "info"}


@pytest.mark.parametrize("job", JOBS, ids=str)
def test_what_is_said_of_a_folder_is_what_its_resume_does(tmp_path: Path, job: Job) -> None:
    """`identical` is identical, `differs` differs; where the folder is healthy nothing is found."""
    run = tmp_path / "run"
    whole = train(job, run)
    for name, file in judged(run, job).items():
        if not train(job, run, run / name)[0]:
            continue  # the run is over
        same = resumes_identically(job, run / name, whole)
        if job.dropout and file.plan is not None and file.plan.skip_batches:
            continue  # its noise is drawn anew within an epoch, as check says
        several = any("accumulation" in point.what for point in file.not_checked)  # lengths of it fit the folders
        may_call_set_epoch = job.seedable
        said = "open" if several or may_call_set_epoch else "identical" if same else "differs"
        assert said == file.resume, (name, codes(file), file.not_checked)
        assert not (same and codes(file)), (name, codes(file))
        assert "accelerate" == file.trainer


@pytest.mark.parametrize("schedule", ["step", "onecycle", "lambda"])
def test_the_random_state_of_the_epochs_beginning_deals_its_batches_again(tmp_path: Path, schedule: str) -> None:
    job, run = Job(schedule=schedule, every=4, shuffle=True), tmp_path / "run"
    whole = train(job, run)
    late = sorted(name for name, file in judged(run, job).items() if file.verdict == "repairable")
    assert ["step_12", "step_16", "step_8"] == late
    for name in late:
        assert not resumes_identically(job, run / name, whole)
        before = contents(run / name)
        (result,) = migrate([run / name], facts=facts(shuffle=True, seedable_sampler=False))
        assert "migrated" == result.status, result
        assert resumes_identically(job, run / name, whole)
        assert "identical" == judged(run, job)[name].resume
        (result,) = repair.undo([run / name])
        assert ("undone", before) == (result.status, contents(run / name)), result


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("schedule", [schedule for schedule in SCHEDULES if schedule != "lambda"])
@pytest.mark.parametrize("saved", ["before the schedule's step", "with another folder's schedule"])
def test_a_schedule_is_moved_to_where_the_optimizer_is(tmp_path: Path, schedule: str, saved: str) -> None:
    late = saved.startswith("before")
    job, run = Job(schedule=schedule, every=4, late_schedule=late), tmp_path / "run"
    whole = train(job, run)
    if not late:
        shutil.copy(run / "step_4/scheduler.bin", run / "step_16/scheduler.bin")
    unmoved: list[bool] = []
    for name in ["step_8", "step_16"] if late else ["step_16"]:
        file = judged(run, job)[name]
        assert ("R501", "repairable") == (min(codes(file)), file.verdict), codes(file)
        unmoved.append(resumes_identically(job, run / name, whole))
        (result,) = migrate([run / name], facts=facts(shuffle=False, steps_per_epoch=job.batches))
        assert "migrated" == result.status, result
        assert resumes_identically(job, run / name, whole)
        assert "identical" == judged(run, job)[name].resume
    # The others go on from the rate that the optimizer has, which another folder's schedule leaves alone
    assert not all(unmoved) or schedule in ("step", "multistep", "exponential")


@pytest.mark.parametrize("name", ["optimizer.bin", "scheduler.bin"])
def test_load_state_stops_at_half_a_folder(tmp_path: Path, name: str) -> None:
    job, run = Job(every=4), tmp_path / "run"
    whole = train(job, run)
    (run / "step_8" / name).unlink()
    with pytest.raises(FileNotFoundError):
        resumes_identically(job, run / "step_8", whole)
    assert "impossible" == judged(run, job)["step_8"].resume


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_missing_schedule_is_written_as_it_was(tmp_path: Path, schedule: str) -> None:
    job, run = Job(schedule=schedule, every=4), tmp_path / "run"
    whole = train(job, run)
    (run / "step_8/scheduler.bin").unlink()
    file = judged(run, job)["step_8"]
    assert ("impossible", "repairable") == (file.resume, file.verdict)
    (result,) = migrate([run / "step_8"], facts=facts(shuffle=False, steps_per_epoch=job.batches))
    assert "migrated" == result.status, result.message
    assert resumes_identically(job, run / "step_8", whole)
    assert "identical" == judged(run, job)["step_8"].resume


@pytest.mark.parametrize("schedule", ["exponential", "lambda", "polynomial", "cosine", "restarts", "sequential"])
def test_the_step_of_an_epoch_that_a_folder_lacks_is_made_up_for(tmp_path: Path, schedule: str) -> None:
    """The schedule goes by epochs, and the folder of an epoch's last batch is saved before its step."""
    job, run = Job(schedule=schedule, every=6, schedule_by_epoch=True), tmp_path / "run"
    whole = train(job, run)
    assert {"R501"} == codes(judged(run, job)["step_12"])
    assert not resumes_identically(job, run / "step_12", whole)
    (result,) = migrate([run / "step_12"], facts=facts(shuffle=False, steps_per_epoch=job.batches))
    assert "migrated" == result.status, result.message
    assert resumes_identically(job, run / "step_12", whole)
    assert "identical" == judged(run, job)["step_12"].resume


def test_without_random_states_others_are_drawn_without_a_word(tmp_path: Path) -> None:
    job, run = Job(shuffle=True), tmp_path / "run"
    whole = train(job, run)
    (run / "epoch_1/random_states_0.pkl").unlink()
    assert not resumes_identically(job, run / "epoch_1", whole)
    assert ("differs", {"F114"}) == (judged(run, job)["epoch_1"].resume, codes(judged(run, job)["epoch_1"]))


def test_a_renamed_folder_trains_a_batch_twice(tmp_path: Path) -> None:
    job, run = Job(every=7), tmp_path / "run"
    whole = train(job, run)
    (run / "step_14").rename(run / "step_13")
    assert not resumes_identically(job, run / "step_13", whole)
    (found,) = [f for f in judged(run, job)["step_13"].findings if f.code == "P401"]
    assert "rename the folder to step_14" == found.fix
    (run / "step_13").rename(run / "step_14")
    assert resumes_identically(job, run / "step_14", whole)
