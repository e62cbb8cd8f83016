"""`ckpt_doctor.prune` in place of the trainer's own `shutil.rmtree` loop: what the files say decides."""

import shutil
from pathlib import Path

import pytest

import ckpt_doctor
from ckpt_doctor.errors import UsageError

RUN = next((Path(__file__).parents[1] / "fixtures/sample-runs/first-patch-type1/checkpoints").iterdir())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with the best checkpoint and those of steps 120 and 140."""
    return Path(shutil.copytree(RUN, tmp_path / RUN.name))


def steps_in(run: Path) -> list[int]:
    return sorted(int(path.name.rpartition("_")[2]) for path in run.glob("checkpoint_step_*"))


def test_the_newest_stays_and_the_best_is_never_touched(run: Path) -> None:
    """As `save_total_limit 1` would have it."""
    result = ckpt_doctor.prune(run, keep=1)
    assert [140] == steps_in(run)
    assert [run / "checkpoint_step_120"] == list(result.removed)
    assert (run / "checkpoint").is_file()


def test_the_step_inside_outranks_the_number_in_the_name(run: Path) -> None:
    """A folder that was copied under a higher number is as old as what it holds."""
    (run / "checkpoint_step_120").rename(run / "checkpoint_step_9000")
    ckpt_doctor.prune(str(run), keep=1)
    assert [140] == steps_in(run)


def test_a_damaged_newest_does_not_count(run: Path) -> None:
    """The trainer's loop would keep the empty file and delete the only one that a resume can use."""
    (run / "checkpoint_step_140" / "checkpoint.pt").write_bytes(b"")
    result = ckpt_doctor.prune(run, keep=1)
    assert [120, 140] == steps_in(run)
    assert [run / "checkpoint_step_140"] == list(result.uncounted)


def test_a_dry_run_and_protection(run: Path) -> None:
    """Nothing is removed in a rehearsal, and what is protected stays in earnest."""
    assert [run / "checkpoint_step_120"] == list(ckpt_doctor.prune(run, keep=1, dry_run=True).removed)
    ckpt_doctor.prune(run, keep=1, protect=[run / "checkpoint_step_120"])
    assert [120, 140] == steps_in(run)


def test_at_least_one_must_stay(run: Path) -> None:
    """`keep=0` is the trainer's "off", which is not to prune at all."""
    with pytest.raises(UsageError, match="at least one"):
        ckpt_doctor.prune(run, keep=0)
    assert [120, 140] == steps_in(run)


def test_a_tree_of_several_runs_is_not_one(run: Path) -> None:
    """Said, instead of finding no step folder in it; `latest` would mix their checkpoints."""
    shutil.copytree(run, run.with_name("other"))
    for ask in (lambda: ckpt_doctor.prune(run.parent, keep=1), lambda: ckpt_doctor.latest(run.parent)):
        with pytest.raises(UsageError, match="holds 2 runs"):
            ask()
    with pytest.raises(UsageError, match="is not there"):
        ckpt_doctor.prune(run, keep=1, protect=["checkpoint_step_12O"])
    assert [120, 140] == steps_in(run)


def test_each_file_is_read_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, and however many stay: the trainer prunes after every save."""
    from ckpt_doctor.audit import auditing as audit

    for step in range(1, 9):
        shutil.copytree(run / "checkpoint_step_120", run / f"checkpoint_step_{step}")
    opened: list[Path] = []
    real = audit.open_checkpoint
    monkeypatch.setattr(audit, "open_checkpoint", lambda path: opened.append(path) or real(path))
    ckpt_doctor.prune(run, keep=1)
    assert len(opened) == len(set(opened)) == 11
