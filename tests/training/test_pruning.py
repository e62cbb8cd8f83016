"""`ckpt_doctor.prune` in place of the trainer's own `shutil.rmtree` loop: what the files say decides."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import ckpt_doctor
from ckpt_doctor.audit import scanning
from ckpt_doctor.errors import UsageError
from ckpt_doctor.inert import names
from ckpt_doctor.reports import json_v1, outcomes

COS = next((Path(__file__).parents[2] / "fixtures/sample-runs/complete-COS/checkpoints").iterdir())
"""A run whose step 75 continues identically once it is migrated, and whose step 90 never does."""
RUN = next((Path(__file__).parents[2] / "fixtures/sample-runs/first-patch-type1/checkpoints").iterdir())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with the best checkpoint and those of steps 120 and 140."""
    return Path(shutil.copytree(RUN, tmp_path / RUN.name))


def steps_in(run: Path) -> list[int]:
    return sorted(int(path.name.rpartition("_")[2]) for path in run.glob("checkpoint_step_*"))


def test_the_newest_stays_and_the_best_is_never_touched(run: Path) -> None:
    """As `save_total_limit 1` would have it."""
    result = ckpt_doctor.prune(run, keep=1)
    assert "checkpoint_step_120" in str(result)
    assert "\n" not in repr(result)
    assert [140] == steps_in(run)
    assert [run / "checkpoint_step_120"] == list(result.removed)
    assert (run / "checkpoint").is_file()


@pytest.mark.parametrize("migrated", [False, True])
def test_a_newest_that_departs_for_good_does_not_cost_the_one_that_latest_prefers(
    migrated: bool, tmp_path: Path
) -> None:
    """Both stay, only the one that continues identically counts, and the result says why."""
    run = Path(shutil.copytree(COS, tmp_path / COS.name))
    if migrated:
        ckpt_doctor.migrate(run)
    older, newest = (run / f"checkpoint_step_{step}" for step in steps_in(run))
    given, passed_over = ckpt_doctor.latest(run, repairable=True)
    assert newest / "checkpoint.pt" != given
    result = ckpt_doctor.prune(run, keep=1)
    assert (given, passed_over) == ckpt_doctor.latest(run, repairable=True)
    assert ((older,), (newest,)) == (result.kept, result.departing)
    assert (older if migrated else None) == result.preferred
    (why,) = result.reasons
    assert newest == why.path
    assert {"P405", "R510"} >= set(why.codes) > set()
    told = outcomes.pruned(result)
    assert "P405" in told
    assert migrated == ("`latest` resumes from it" in told)


def test_what_latest_gives_stays_beside_a_newer_one_that_a_migration_cures(tmp_path: Path) -> None:
    """`latest` passes over a file that needs a repair, so pruning spares the one that does not."""
    run = Path(shutil.copytree(COS, tmp_path / COS.name))
    given, cured = (run / f"checkpoint_step_{step}" / "checkpoint.pt" for step in (75, 76))
    ckpt_doctor.migrate(given)
    cured.parent.mkdir()
    shutil.copyfile(COS / "checkpoint_step_75" / "checkpoint.pt", cured)
    assert given == ckpt_doctor.latest(run)[0]
    assert cured == ckpt_doctor.latest(run, repairable=True)[0]
    (spared,) = ckpt_doctor.prune(run, keep=1).spared
    assert (given.parent, "`latest` resumes from it") == (spared.path, spared.reason)
    assert given == ckpt_doctor.latest(run)[0]


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
    from ckpt_doctor.audit import opening

    for step in range(1, 9):
        shutil.copytree(run / "checkpoint_step_120", run / f"checkpoint_step_{step}")
    opened: list[Path] = []
    real = opening.open_checkpoint
    monkeypatch.setattr(opening, "open_checkpoint", lambda path: opened.append(path) or real(path))
    ckpt_doctor.prune(run, keep=1)
    assert len(opened) == len(set(opened)) == 11


def spoil(run: Path, step: int, how: str) -> None:
    """Damage a step's checkpoint where only reading it to the last byte shows it."""
    path = run / f"checkpoint_step_{step}" / "checkpoint.pt"
    if how == "NaN":
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
        next(iter(checkpoint["model"].values())).view(-1)[0] = float("nan")
        torch.save(checkpoint, path)
        return
    tensors = ckpt_doctor.open_checkpoint(path).tensors
    data = bytearray(path.read_bytes())
    data[max(tensors, key=lambda tensor: tensor.storage.nbytes).storage.offset] ^= 1
    path.write_bytes(data)


@pytest.fixture
def deep_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read to the last byte, as they come."""
    read: list[Path] = []
    real = scanning.deepened
    monkeypatch.setattr(scanning, "deepened", lambda file, progress: read.append(file.path) or real(file, progress))
    return read


@pytest.mark.parametrize("how", ["NaN", "a flipped bit"])
def test_a_newest_that_only_a_deep_look_finds_bad_does_not_cost_the_last_good_one(how: str, run: Path) -> None:
    """An older one stays in its place; `latest` goes by the same; `deep=False` knows of neither."""
    spoil(run, 140, how)
    newest, good = (run / f"checkpoint_step_{step}" / "checkpoint.pt" for step in (140, 120))
    (run / "checkpoint").unlink()
    assert newest == ckpt_doctor.latest(run, repairable=True, ignore=["E601"])[0]
    found, passed_over = ckpt_doctor.latest(run, repairable=True, deep=True, ignore=["E601"])
    assert (good, newest) == (found, passed_over[0][0])
    assert ("T801" if how == "NaN" else "F102") in passed_over[0][1]
    told = ckpt_doctor.prune(run, keep=1, dry_run=True)
    done = ckpt_doctor.prune(run, keep=1)
    assert [120, 140] == steps_in(run)
    assert (told.kept, told.uncounted, told.removed) == (done.kept, done.uncounted, done.removed)
    assert ([good.parent], [newest.parent], True) == (list(done.kept), list(done.uncounted), done.deep)
    code = "T801" if how == "NaN" else "F102"
    assert [(newest.parent, (code,))] == [(why.path, why.codes) for why in done.reasons]
    assert f"checkpoint_step_140: {code}" in outcomes.pruned(done)
    assert [code] == json.loads(json_v1.pruned(done))["reasons"][0]["codes"]
    ckpt_doctor.prune(run, keep=1, deep=False)
    assert [140] == steps_in(run)


def test_what_is_kept_is_read_once(run: Path, deep_reads: list[Path]) -> None:
    """Remembered until the file changes; nothing is read where nothing would go."""
    ckpt_doctor.prune(run, keep=2)
    assert [] == deep_reads
    path = run / "checkpoint_step_140" / "checkpoint.pt"
    for count in (1, 1):
        shutil.copytree(run / "checkpoint_step_120", run / "checkpoint_step_100", dirs_exist_ok=True)
        ckpt_doctor.prune(run, keep=1)
        assert [path] * count == deep_reads
        shutil.copytree(run / "checkpoint_step_140", run / "checkpoint_step_120")
        (run / "checkpoint_step_120").rename(run / "checkpoint_step_120 copy")
        (run / "checkpoint_step_120 copy").rename(run / "checkpoint_step_120")
    path.touch()
    ckpt_doctor.prune(run, keep=1)
    assert 2 == deep_reads.count(path)


def test_what_is_ignored_is_accepted_however_it_is_remembered(run: Path) -> None:
    """The memory has what was found, not what was made of it."""
    spoil(run, 140, "NaN")
    ckpt_doctor.prune(run, keep=1)
    assert [120, 140] == steps_in(run)
    ckpt_doctor.prune(run, keep=1, ignore=["T801"])
    assert [140] == steps_in(run)


@pytest.mark.parametrize(
    "content", ["link", "pipe", b"", b"{", b"[]", b'{"read": [1]}', b'{"read": {"x": 5}}', b"[" * 9999]
)
def test_a_memory_that_is_none_is_not_believed(content: object, run: Path, deep_reads: list[Path]) -> None:
    """Files are read again; what a link leads to stays as it is."""
    import os

    memory, other = names.remembered(run), run / "train.log"
    other.write_text("a log")
    if content == "link":
        memory.symlink_to(other)
    elif content == "pipe":
        os.mkfifo(memory)
    else:
        memory.write_bytes(content)
    ckpt_doctor.prune(run, keep=1)
    assert [140] == steps_in(run)
    assert 1 == len(deep_reads)
    assert "a log" == other.read_text()
