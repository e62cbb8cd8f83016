"""A unit that is a folder is replaced as a whole, and undone to the last byte and time."""

import copy
import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor import audit, writer
from ckpt_doctor.errors import EditRefused, VerificationFailed, WriteRefused
from ckpt_doctor.inert import names
from ckpt_doctor.readers import open_checkpoint
from ckpt_doctor.types import Checkpoint, Edit
from ckpt_doctor.writer import staging
from tests.writer.sample_files import make
from tests.writer.sample_units import EDITS, NAME, archive, content, contents, make_unit, opened, place_of, snapshot
from tests.writer.test_json_file import VALUES
from tests.writer.unit_faults import RECORD, migrate

pytestmark = pytest.mark.usefixtures("quick_disk")


# --- what is written --------------------------------------------------------------------------------------------------


NAMES = st.sampled_from(["a.json", "b.pt", "deep/c.json", "deep/er/d.pt", "new.json", "deep/new.pt"])
KEYS = st.text("ab", min_size=1, max_size=2)
MIGRATIONS = st.lists(st.lists(st.tuples(NAMES, st.none() | KEYS, VALUES), min_size=1, max_size=4), max_size=3)


def edits_of(planned: list, said: dict[str, dict]) -> list[Edit]:
    """The edits of one migration; `said` follows: what each part says afterwards."""
    edits = []
    for name, key, value in planned:
        if key is None or name not in said:
            said[name] = {"whole": value}
            edits = [edit for edit in edits if edit.path[0] != name]
            edits.append(Edit((name,), None, said[name], "a test"))
        else:
            said[name] = {**said[name], key: value}
            edits.append(Edit((name, key), None, value, "a test"))
    return edits


def apply_and_undo(value: dict, migrations: list) -> None:
    """Migrate a unit of parts of both kinds, some in folders; the other files stay the very same files."""
    with tempfile.TemporaryDirectory() as run:
        unit = make_unit(Path(run))
        (unit / "deep" / "er").mkdir(parents=True)
        said = {name: copy.deepcopy(value) for name in ("a.json", "b.pt", "deep/c.json", "deep/er/d.pt")}
        for name in said:
            data = json.dumps(value).encode() if name.endswith(".json") else archive(value)
            (unit / name).write_bytes(data)
        states = [snapshot(unit)]
        weights = (unit / "model.bin").stat()
        for planned in migrations:
            edits = edits_of(planned, said)
            changes = writer.part_changes(unit_of(unit), edits)
            writer.write_unit(unit_of(unit), changes, RECORD, verify=unit_of)
            states.append(snapshot(unit))
        found = {name: content(unit / name) for name in said}
        assert json.dumps(said, sort_keys=True) == json.dumps(found, sort_keys=True)  # NaN is NaN there
        assert os.path.samestat(weights, (unit / "model.bin").stat())
        assert len(migrations) == len(writer.history(unit))
        while len(states) > 1:
            states.pop()
            writer.undo(unit)
            assert states[-1] == snapshot(unit)
        assert {NAME} == set(os.listdir(run))


@settings(max_examples=5)
@given(st.dictionaries(KEYS, VALUES), MIGRATIONS)
def test_any_edits_are_applied_exactly_and_undone_one_by_one(value, migrations):
    apply_and_undo(value, migrations)


@pytest.mark.long
@settings(max_examples=100)
@given(st.dictionaries(KEYS, VALUES), MIGRATIONS)
def test_many_more_edits_are_applied_exactly_and_undone_one_by_one(value, migrations):
    apply_and_undo(value, migrations)


def unit_of(unit: Path) -> Checkpoint:
    """The unit as read, parts in folders included."""
    parts = [part for folder in (unit, unit / "deep", unit / "deep" / "er") for part in opened(folder).parts]
    root = {part.path.relative_to(unit).as_posix(): part.root for part in parts}
    return Checkpoint(unit, 0, "folder", "training", root, parts=tuple(parts))


def test_only_the_changed_parts_differ_and_nothing_of_ours_lies_in_the_unit(tmp_path):
    unit = make_unit(tmp_path)
    before = snapshot(unit)
    receipt = migrate(unit)
    after = snapshot(unit)
    assert {"optimizer.pt", "trainer_state.json", "scheduler.pt"} == {n for n in after if after[n] != before.get(n)}
    assert before.keys() | {"scheduler.pt"} == after.keys()
    for name in ("optimizer.pt", "trainer_state.json"):
        assert before[name][:2] == after[name][:2], "mode and time"
    assert before["."][:2] == after["."][:2]
    assert 0.2 == content(unit / "optimizer.pt")["lr"]
    assert {"last_epoch": 500, "_last_lr": [2e-05]} == content(unit / "scheduler.pt")
    assert not open_checkpoint(unit / "optimizer.pt").damage
    assert (unit, ()) == (receipt.path, receipt.notes)
    assert place_of(unit).is_dir()
    (record,) = writer.history(unit)
    assert {"when", "previous_size", *RECORD} == record.keys()
    found = set(audit.checkpoint_files(tmp_path))
    assert not any(names.is_ours(step) for path in found for step in path.relative_to(tmp_path).parts)
    assert unit in found


def test_torch_loads_what_is_written(tmp_path):
    """Also a part that did not exist, with tensors from another file."""
    import torch

    unit = make_unit(tmp_path)
    torch.save({"state": torch.arange(6.0).reshape(2, 3), "lr": 0.1}, unit / "optimizer.pt")
    make(unit / "stream.pt", "torch-legacy")
    torch.save({"rng": torch.arange(9)}, tmp_path / "donor.pt")
    donor = open_checkpoint(tmp_path / "donor.pt")
    new = Edit(("rng_state.pth",), None, {"cpu": donor.root["rng"]}, "a test", donor=donor)
    before = snapshot(unit)
    migrate(unit, [EDITS[0], new, Edit(("stream.pt", "epoch"), 2, 3, "a test")])
    stream = torch.load(unit / "stream.pt", weights_only=True)
    assert (3, 17) == (stream["epoch"], len(stream["model"]["bias"]))
    assert torch.equal(torch.arange(9), torch.load(unit / "rng_state.pth", weights_only=True)["cpu"])
    loaded = torch.load(unit / "optimizer.pt", weights_only=True)
    assert 0.2 == loaded["lr"]
    assert torch.equal(torch.arange(6.0).reshape(2, 3), loaded["state"])
    writer.undo(unit)
    assert before == snapshot(unit)
    with pytest.raises(EditRefused, match="in no other"):
        writer.part_changes(opened(unit), [Edit(("other.pth",), None, {"cpu": donor.root["rng"]}, "a test")])


def test_the_output_is_a_unit_of_its_own(tmp_path):
    """It shares no file with the original, has its attributes, and takes no place that is taken."""
    unit = make_unit(tmp_path / "run")
    before = snapshot(unit)
    receipt = migrate(unit, mode="output", output=tmp_path / "out")
    result = tmp_path / "out" / "run" / NAME
    assert (result, before) == (receipt.path, snapshot(unit))
    assert {NAME} == set(os.listdir(tmp_path / "run"))
    assert not os.path.samefile(unit / "model.bin", result / "model.bin")
    written = snapshot(result)
    with pytest.raises(WriteRefused, match="exists already"):
        migrate(unit, mode="output", output=tmp_path / "out")
    shutil.rmtree(result)
    result.mkdir()  # empty, and a rename would take its place
    with pytest.raises(WriteRefused, match="exists already"):
        migrate(unit, mode="output", output=tmp_path / "out")
    result.rmdir()
    migrate(unit, mode="output", output=tmp_path / "out")
    assert written == snapshot(result)
    writer.undo(result)
    assert before == snapshot(result)


def test_a_changed_part_that_is_a_link_becomes_a_file_and_undo_makes_the_link_again(tmp_path):
    unit = make_unit(tmp_path)
    (unit / "optimizer.pt").rename(tmp_path / "elsewhere.pt")
    (unit / "optimizer.pt").symlink_to("../elsewhere.pt")
    before, linked = snapshot(unit), (tmp_path / "elsewhere.pt").read_bytes()
    receipt = migrate(unit)
    assert not (unit / "optimizer.pt").is_symlink()
    assert 0.2 == content(unit / "optimizer.pt")["lr"]
    assert linked == (tmp_path / "elsewhere.pt").read_bytes()
    assert any("link" in note for note in receipt.notes)
    writer.undo(unit)
    assert before == snapshot(unit)


def test_a_link_to_the_unit_stays_a_link(tmp_path):
    unit = make_unit(tmp_path / "far")
    before = snapshot(unit)
    (tmp_path / "best").symlink_to(unit)
    assert unit == migrate(tmp_path / "best").path
    assert (tmp_path / "best").is_symlink()
    assert 1 == len(writer.history(tmp_path / "best"))
    writer.undo(tmp_path / "best")
    assert before == snapshot(unit)


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_what_is_set_aside_is_not_more_widely_readable(mode, tmp_path):
    unit = make_unit(tmp_path)
    unit.chmod(mode)
    migrate(unit)
    assert mode == names.store(unit).stat().st_mode & 0o777
    assert mode == unit.stat().st_mode & 0o777


def test_the_lock_lies_beside_the_unit(tmp_path):
    unit = make_unit(tmp_path, "best")
    seen = []

    def verify(result: Path) -> None:
        seen.append({path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob(names.LOCK)})

    migrate(unit, verify=verify)
    assert [{names.LOCK}] == seen


@pytest.mark.parametrize("links", [True, False])
def test_the_cost_is_an_upper_bound(links, tmp_path, monkeypatch):
    """Of the disk space that lies in new files at the end."""
    unit = make_unit(tmp_path, weights=os.urandom(1 << 20))
    checkpoint = opened(unit)
    changes = writer.part_changes(checkpoint, EDITS)
    cost = writer.unit_cost(checkpoint, changes)
    assert cost.during < 1 << 20 < writer.unit_cost(checkpoint, changes, "output", tmp_path / "out").during
    if not links:
        monkeypatch.setattr(staging, "_linked", lambda *_: False)

    def taken() -> int:
        return sum(status.st_size for status in {p.lstat().st_ino: p.lstat() for p in tmp_path.rglob("*")}.values())

    before = taken()
    done: list[int] = []
    size = sum(path.stat().st_size for path in unit.rglob("*") if path.is_file())
    writer.write_unit(checkpoint, changes, RECORD, verify=opened, progress=done.append)
    assert size == sum(done)
    assert taken() - before <= cost.after + (1 << 14)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_refused_in_a_sentence(tmp_path):
    unit = make_unit(tmp_path)
    before = snapshot(unit)
    with pytest.raises(WriteRefused, match="--in-place"):
        migrate(unit, mode="in-place")
    with pytest.raises(WriteRefused, match="in place"):
        writer.undo(unit, in_place=True)
    with pytest.raises(EditRefused, match="set of files"):
        writer.part_changes(Checkpoint(unit / "model.bin", 0, "folder", "state-dict", {}), EDITS)
    with pytest.raises(WriteRefused, match="no migration"):
        writer.undo(unit)
    for path in (unit / "extra" / "pipe", unit / "extra" / "socket"):
        if path.name == "pipe":
            os.mkfifo(path)
        else:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(os.path.relpath(path))
        with pytest.raises(WriteRefused, match=path.name):
            migrate(unit)
        path.unlink()
    os.utime(unit / "extra", ns=before["extra"][1:2] * 2)
    assert before == snapshot(unit)
    assert {NAME} == set(os.listdir(tmp_path))


def test_a_part_that_changed_since_it_was_read_is_left_alone(tmp_path):
    """Also one that is not edited; and a JSON part that says what this reader did not say."""
    unit = make_unit(tmp_path)
    checkpoint = opened(unit)
    changes = writer.part_changes(checkpoint, EDITS)
    os.utime(unit / "model.bin")
    with pytest.raises(WriteRefused, match="changed since it was read"):
        writer.write_unit(checkpoint, changes, RECORD, verify=opened)
    (unit / "trainer_state.json").write_text('{"best_metric": 1}')
    with pytest.raises(WriteRefused, match="changed since it was read"):
        writer.part_changes(checkpoint, EDITS)
    assert {NAME} == set(os.listdir(tmp_path))


def test_a_result_that_is_not_accepted_leaves_nothing(tmp_path):
    unit = make_unit(tmp_path)
    before = snapshot(unit)

    def verify(result: Path) -> None:
        assert NAME == result.name
        assert 0.2 == content(result / "optimizer.pt")["lr"]
        raise VerificationFailed("no")

    with pytest.raises(VerificationFailed):
        migrate(unit, verify=verify)
    assert before == snapshot(unit)
    assert {NAME} == set(os.listdir(tmp_path))


# --- undo -------------------------------------------------------------------------------------------------------------


def in_place(path: Path) -> None:
    """Another content, of the same size and time."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(status.st_mode & 0o7777)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGED = {
    "a changed part": lambda unit: in_place(unit / "optimizer.pt"),
    "an unchanged part": lambda unit: in_place(unit / "model.bin"),
    "a new file": lambda unit: (unit / "new").touch(),
    "a file less": lambda unit: (unit / "extra" / "note.txt").unlink(),
    "another link": lambda unit: ((unit / "link").unlink(), (unit / "link").symlink_to("other")),
    "a folder less": lambda unit: (unit / "extra" / "empty").rmdir(),
    "what was set aside": lambda unit: in_place(place_of(unit) / "1"),
    "nothing set aside": lambda unit: (place_of(unit) / "1").unlink(),
    "a link set aside": lambda unit: ((place_of(unit) / "1").unlink(), (place_of(unit) / "1").symlink_to("0")),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_undo_refuses_what_is_not_as_the_migration_left_it(kind, tmp_path):
    unit = make_unit(tmp_path)
    migrate(unit)
    assert ("", True) == writer.undo_damage(unit)
    CHANGED[kind](unit)
    before = snapshot(tmp_path)
    with pytest.raises(WriteRefused):
        writer.undo(unit)
    assert contents(tmp_path) == {name: held for name, (_, _, held) in before.items()}
    assert before[NAME] == snapshot(tmp_path)[NAME]
    assert bool(writer.undo_damage(unit)[0]) is ("set aside" in kind)


def test_a_new_unit_of_the_same_name_has_no_migration_and_frees_the_old_ones(tmp_path):
    """The trainer saved again under the name: nothing of the old one is shown, undone or kept."""
    unit = make_unit(tmp_path)
    migrate(unit)
    shutil.rmtree(unit)
    make_unit(tmp_path, weights=b"of another run")
    before = snapshot(unit)
    assert [] == writer.history(unit)
    with pytest.raises(WriteRefused, match="was changed since"):
        writer.undo(unit)
    assert before == snapshot(unit)
    migrate(unit)
    assert ["2"] == os.listdir(names.store(unit))
    writer.undo(unit)
    assert before == snapshot(unit)
    assert {NAME} == set(os.listdir(tmp_path))
