"""What `write` changes in each container, and what it leaves alone."""

import json
import os
import stat
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor import writer
from ckpt_doctor.errors import VerificationFailed, WriteRefused
from ckpt_doctor.inert.zip_structures import ALIGNMENT
from ckpt_doctor.writer import copying
from tests.writer.sample_files import CONTAINERS, checkpoint_of, edited, litter, load, make, program_of, with_key

RECORD = {"tool_version": "0", "edits": [{"key": "best_score", "before": None, "after": -0.5, "evidence": "by hand"}]}


def accept(_path: Path) -> None:
    """A verification that has nothing to say."""


def same(a: object, b: object) -> bool:
    """Deep equality, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b


@pytest.fixture(params=CONTAINERS)
def container(request) -> str:
    return request.param


@pytest.mark.parametrize("mode", ["replace", "in-place", "output"])
def test_the_result_is_the_old_checkpoint_with_the_new_program(container, mode, tmp_path):
    """torch (or pickle) loads all that was there, bit for bit, and the key that the program adds."""
    path = make(tmp_path / "run" / "checkpoint" if (tmp_path / "run").mkdir() is None else tmp_path, container)
    expected = {**load(path, container), "best_score": -0.5}
    receipt = writer.write(*edited(path, container), RECORD, mode=mode, output=tmp_path / "out", verify=accept)
    assert same(expected, load(receipt.path, container))
    assert (path.resolve() if mode != "output" else tmp_path / "out" / "run" / "checkpoint") == receipt.path


@pytest.mark.parametrize("mode", ["replace", "in-place"])
def test_torch_loads_an_appended_zip_in_every_way(mode, tmp_path):
    """weights_only and mmap, on and off; Python's zipfile finds every checksum right."""
    path = make(tmp_path / "checkpoint.pt", "torch-zip")
    expected = {**load(path, "torch-zip"), "best_score": -0.5}
    writer.write(*edited(path, "torch-zip"), RECORD, mode=mode, verify=accept)
    for weights_only in (True, False):
        for mmap in (True, False):
            assert same(expected, torch.load(path, weights_only=weights_only, mmap=mmap))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


@pytest.mark.parametrize("mode", ["replace", "in-place"])
def test_a_zip_keeps_all_its_bytes_and_grows_at_the_end(mode, tmp_path):
    """The old file is a prefix of the new one; the new program begins at a multiple of 64 bytes, as torch aligns."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = path.read_bytes()
    checkpoint, program = edited(path, "torch-zip")
    receipt = writer.write(checkpoint, program, RECORD, mode=mode, verify=accept)
    after = path.read_bytes()
    assert before == after[: len(before)]
    assert (len(before), len(after)) == (receipt.previous_size, receipt.new_size)
    now = checkpoint_of(path, "torch-zip")
    assert program == program_of(now)
    assert 0 == now.program.offset % ALIGNMENT


def test_the_record_stays_in_the_zip_for_a_person_to_read(tmp_path):
    """It lies beside the program as JSON, one per migration, infinities as text; `when` is added."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    for number, value in enumerate((float("inf"), 1.5), 1):
        size = path.stat().st_size
        record = {"edits": [{"key": "val_loss_min", "before": value, "after": (1, 2)}]}
        writer.write(*edited(path, "torch-zip"), record, verify=accept)
        with zipfile.ZipFile(path) as archive:
            prefix = archive.namelist()[0].split("/")[0]
            found = json.loads(archive.read(f"{prefix}/.ckpt_doctor/migration-{number}.json"))
        assert [{"key": "val_loss_min", "before": value if value == 1.5 else "inf", "after": [1, 2]}] == found["edits"]
        assert size == found["previous_size"]
        assert "when" in found


def test_the_records_of_other_containers_stay_beside_the_file(tmp_path):
    """`history` gives them oldest first, for as long as the file is the one that was migrated."""
    path = make(tmp_path / "checkpoint", "torch-legacy")
    assert [] == writer.history(path)
    for version in ("1", "2"):
        writer.write(*edited(path, "torch-legacy"), {"tool_version": version, "edits": []}, verify=accept)
    assert ["1", "2"] == [record["tool_version"] for record in writer.history(path)]
    make(path, "torch-legacy")
    assert [] == writer.history(path)


@settings(max_examples=25)
@given(
    st.sampled_from(CONTAINERS),
    st.lists(st.sampled_from(["replace", "in-place", "undo", "undo in place"]), min_size=1, max_size=9),
)
def test_any_sequence_of_migrations_and_undos_is_a_stack(tmp_path_factory, container, actions):
    """Each undo gives back, byte for byte, the file before the migration; past the first it is refused."""
    path = make(tmp_path_factory.mktemp("stack") / "checkpoint", container)
    times = path.stat().st_mtime_ns
    below: list[bytes] = []
    for number, action in enumerate(actions):
        now = path.read_bytes()
        if not action.startswith("undo"):
            writer.write(*edited(path, container, f"key{number}"), RECORD, mode=action, verify=accept)
            below.append(now)
            assert f"key{number}" in load(path, container)
        elif below:
            receipt = writer.undo(path, in_place=action == "undo in place")
            assert below.pop() == path.read_bytes()
            assert len(below) == receipt.left
        else:
            with pytest.raises(WriteRefused, match="no migration to undo"):
                writer.undo(path)
            assert now == path.read_bytes()
        assert times == path.stat().st_mtime_ns
    kept = {"checkpoint"} if container == "torch-zip" or not below else {"checkpoint", "checkpoint.ckpt-doctor-undo"}
    assert kept == litter(path.parent)


@pytest.mark.parametrize("mode", ["replace", "in-place", "output"])
def test_a_failed_verification_leaves_everything_as_it_was(container, mode, tmp_path):
    """The callback sees the complete result; when it raises, nothing of it stays."""
    path = make(tmp_path / "checkpoint", container)
    before, stat_before = path.read_bytes(), path.stat()
    seen = []

    def fail(result: Path) -> None:
        seen.append(load(result, container)["best_score"])
        raise VerificationFailed("not as planned")

    with pytest.raises(VerificationFailed, match="not as planned"):
        writer.write(*edited(path, container), RECORD, mode=mode, output=tmp_path / "out", verify=fail)
    assert [-0.5] == seen
    assert before == path.read_bytes()
    assert (stat_before.st_ino, stat_before.st_mtime_ns) == (path.stat().st_ino, path.stat().st_mtime_ns)
    assert {"checkpoint"} == litter(tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["replace", "in-place"])
@pytest.mark.parametrize("moment", ["before", "during"])
def test_a_file_that_changes_meanwhile_is_left_alone(mode, moment, tmp_path):
    """A trainer that saves over the file between reading and commit keeps its save, and the migration says so."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    edit = edited(path, "torch-zip")

    def save_over(_result: Path | None = None) -> None:
        replacement = tmp_path / "new"
        torch.save({"epoch": 3}, replacement)
        replacement.replace(path)

    if moment == "before":
        save_over()
    with pytest.raises(WriteRefused, match="changed"):
        writer.write(*edit, RECORD, mode=mode, verify=save_over if moment == "during" else accept)
    assert {"epoch": 3} == torch.load(path)
    assert {"checkpoint"} == litter(tmp_path)


def test_a_change_of_the_same_size_is_noticed(tmp_path):
    """Size alone does not identify a file: the time of its last change counts too."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    edit = edited(path, "torch-zip")
    os.utime(path, ns=(1, 1))
    with pytest.raises(WriteRefused, match="changed"):
        writer.write(*edit, RECORD, verify=accept)


def test_a_file_that_was_removed_is_not_brought_back(tmp_path):
    """`save_total_limit` may take a step folder's file away in the middle."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    with pytest.raises(WriteRefused, match="removed"):
        writer.write(*edited(path, "torch-zip"), RECORD, verify=lambda _: path.unlink())
    assert set() == litter(tmp_path)


@pytest.mark.parametrize("mode", ["replace", "in-place", "output"])
def test_a_full_disk_is_found_out_before_writing(container, mode, tmp_path, monkeypatch):
    """The refusal names the bytes that are free and needed."""
    path = make(tmp_path / "checkpoint", container)
    before = path.read_bytes()
    real = os.statvfs(tmp_path)
    full = type("Full", (), {"f_bavail": 3, "f_frsize": real.f_frsize, "f_blocks": real.f_blocks})()
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    monkeypatch.setattr(copying, "write_all", None)
    with pytest.raises(WriteRefused, match=rf"{3 * real.f_frsize:,} bytes free and [\d,]+ are needed"):
        writer.write(*edited(path, container), RECORD, mode=mode, output=tmp_path / "out", verify=accept)
    assert before == path.read_bytes()
    assert {"checkpoint"} == litter(tmp_path)


@pytest.mark.parametrize("mode", ["replace", "in-place", "output"])
def test_the_cost_told_beforehand_is_not_exceeded(container, mode, tmp_path):
    """Neither by the extra bytes kept afterwards, and it is close: within the allowance for the record."""
    path = make(tmp_path / "run" / "checkpoint" if (tmp_path / "run").mkdir() is None else tmp_path, container)
    checkpoint, program = edited(path, container)
    told = writer.cost(checkpoint, len(program), mode, tmp_path / "out")
    receipt = writer.write(checkpoint, program, RECORD, mode=mode, output=tmp_path / "out", verify=accept)
    assert receipt.disk_cost <= told.after <= told.during
    assert told.after - receipt.disk_cost < 70_000
    assert told.free == pytest.approx(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.1)


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path):
    """The trainer's `checkpoint` may point into a bigger disk."""
    (tmp_path / "store").mkdir()
    (tmp_path / "run").mkdir()
    real = make(tmp_path / "store" / "best", "torch-zip")
    link = tmp_path / "run" / "checkpoint"
    link.symlink_to(real)
    receipt = writer.write(*edited(link, "torch-zip"), RECORD, verify=accept)
    assert link.is_symlink()
    assert real.resolve() == receipt.path
    assert -0.5 == torch.load(link)["best_score"]
    assert {"store/best", "run/checkpoint"} == litter(tmp_path)


@pytest.mark.parametrize(("mode", "other"), [("replace", None), ("in-place", -0.5)])
def test_hard_links_keep_the_old_content_unless_edited_in_place(mode, other, tmp_path):
    """A hard-linked backup is a backup: only an edit in place reaches it, and a note says what happened."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    os.link(path, tmp_path / "backup")
    receipt = writer.write(*edited(path, "torch-zip"), RECORD, mode=mode, verify=accept)
    assert -0.5 == torch.load(path)["best_score"]
    assert other == torch.load(tmp_path / "backup").get("best_score")
    assert any("hard link" in note for note in receipt.notes)


def test_attributes_survive_a_replacement_and_its_undo(container, tmp_path):
    """Mode, times and user attributes; read-only stays read-only."""
    path = make(tmp_path / "checkpoint", container)
    os.setxattr(path, "user.note", b"best of May")
    os.utime(path, ns=(1_700_000_000_000_000_001, 1_600_000_000_000_000_003))
    os.chmod(path, 0o440)
    writer.write(*edited(path, container), RECORD, verify=accept)
    for _ in range(2):
        assert 0o440 == stat.S_IMODE(path.stat().st_mode)
        assert 1_600_000_000_000_000_003 == path.stat().st_mtime_ns
        assert b"best of May" == os.getxattr(path, "user.note")
        if "best_score" in load(path, container):
            writer.undo(path)


def test_a_read_only_file_is_not_edited_in_place(tmp_path):
    """Not even by root, for whom the system would allow it."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    edit = edited(path, "torch-zip")
    path.chmod(0o444)
    with pytest.raises(WriteRefused, match="read-only"):
        writer.write(*edit, RECORD, mode="in-place", verify=accept)
    writer.write(*edit, RECORD, verify=accept)
    with pytest.raises(WriteRefused, match="read-only"):
        writer.undo(path, in_place=True)


def test_a_read_only_folder_is_refused_in_plain_words(tmp_path, monkeypatch):
    """Before a lock file or a copy is tried there."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    edit = edited(path, "torch-zip")
    monkeypatch.setattr(os, "access", lambda folder, how: not (Path(folder) == tmp_path and how & os.W_OK))
    with pytest.raises(WriteRefused, match=r"the folder .* is read-only"):
        writer.write(*edit, RECORD, verify=accept)


@pytest.mark.parametrize("name", ["checkpoint", "with space.pt", "最佳模型.pt", "x" * 250, "界" * 85, ".hidden", "-rf"])
def test_any_file_name_will_do(name, tmp_path):
    """Spaces, Chinese, no suffix, and names so long that nothing can be added to them."""
    path = make(tmp_path / name, "torch-legacy")
    before = path.read_bytes()
    writer.write(*edited(path, "torch-legacy"), RECORD, verify=accept)
    assert -0.5 == load(path, "torch-legacy")["best_score"]
    writer.undo(path)
    assert before == path.read_bytes()
    assert {name} == litter(tmp_path)


def test_names_that_differ_only_by_suffix_share_nothing(tmp_path):
    """Undo data and temporary files of `checkpoint` and `checkpoint.pt` are kept apart."""
    paths = [make(tmp_path / name, "torch-legacy") for name in ("checkpoint", "checkpoint.pt")]
    before = paths[1].read_bytes()
    (tmp_path / ".checkpoint.pt.ckpt-doctor-12345.tmp").write_bytes(b"of a killed run")
    for path in paths:
        writer.write(*edited(path, "torch-legacy", value=-0.25 if path.suffix else -0.5), RECORD, verify=accept)
        if not path.suffix:
            assert ".checkpoint.pt.ckpt-doctor-12345.tmp" in litter(tmp_path)
    writer.undo(paths[1])
    assert -0.5 == load(paths[0], "torch-legacy")["best_score"]
    assert before == paths[1].read_bytes()
    assert {"checkpoint", "checkpoint.pt", "checkpoint.ckpt-doctor-undo"} == litter(tmp_path)


def test_output_is_laid_out_as_the_run_and_written_over_nothing(tmp_path):
    """`DIR/<run>/checkpoint_step_N/checkpoint.pt`, so that the trainer can resume from DIR."""
    step = tmp_path / "checkpoints" / "my run" / "checkpoint_step_90"
    step.mkdir(parents=True)
    path = make(step / "checkpoint.pt", "torch-zip")
    edit = edited(path, "torch-zip")
    receipt = writer.write(*edit, RECORD, mode="output", output=tmp_path / "fixed", verify=accept)
    assert tmp_path / "fixed" / "my run" / "checkpoint_step_90" / "checkpoint.pt" == receipt.path
    with pytest.raises(WriteRefused, match="exists already"):
        writer.write(*edit, RECORD, mode="output", output=tmp_path / "fixed", verify=accept)
    assert "best_score" not in torch.load(path)


def test_a_file_without_a_program_is_refused(tmp_path):
    """safetensors have no pickle: the caller must not get a silent success."""
    path = make(tmp_path / "model.safetensors", "pickle")
    checkpoint = replace(checkpoint_of(path, "pickle"), container="safetensors", program=None)
    with pytest.raises(WriteRefused, match="no program"):
        writer.write(checkpoint, b"\x80\x02}.", RECORD, verify=accept)


def test_a_clone_is_taken_where_the_file_system_offers_it(tmp_path, monkeypatch):
    """Then no byte is copied, and no room for a copy is asked for; undo cuts the clone."""
    path = make(tmp_path / "checkpoint", "torch-zip")
    before = path.read_bytes()
    size = len(before)

    def reflink(source: int, target: int) -> bool:
        os.pwrite(target, os.pread(source, 1 << 20, 0), 0)
        return True

    monkeypatch.setattr(copying, "clone", reflink)
    monkeypatch.setattr(copying, "copy_range", None)
    receipt = writer.write(*edited(path, "torch-zip"), RECORD, verify=accept)
    assert (0, True) == (receipt.bytes_copied, receipt.cloned)
    assert receipt.new_size - size == receipt.disk_cost
    assert -0.5 == torch.load(path)["best_score"]
    writer.undo(path)
    assert before == path.read_bytes()


def test_without_help_from_the_kernel_the_bytes_are_copied_in_pieces(container, tmp_path, monkeypatch):
    """macOS has no copy_file_range, and some file systems refuse it; the progress adds up to the file either way."""
    path = make(tmp_path / "checkpoint", container)
    expected = {**load(path, container), "best_score": -0.5}
    checkpoint, program = edited(path, container)
    done: list[int] = []
    monkeypatch.setattr(copying, "BUFFER", 100)
    monkeypatch.delattr(os, "copy_file_range")
    writer.write(checkpoint, program, RECORD, verify=accept, progress=done.append)
    assert same(expected, load(path, container))
    unchanged = checkpoint.size if container == "torch-zip" else checkpoint.size - checkpoint.program.length
    assert unchanged - (1023 if container == "torch-tar" else 0) <= sum(done) <= unchanged


def test_holes_stay_holes(tmp_path):
    """A sparse file of 300 MB costs what its data cost, and reads the same."""
    path = tmp_path / "checkpoint"
    with torch.serialization.skip_data():
        torch.save({"w": torch.empty(75_000_000)}, path)
    blocks = path.stat().st_blocks
    assert blocks * 512 < 1_000_000
    writer.write(*edited(path, "torch-zip"), RECORD, verify=accept)
    assert path.stat().st_blocks < blocks + 100
    assert 75_000_000 == torch.load(path, mmap=True)["w"].numel()


def test_another_process_that_writes_the_file_is_noticed(tmp_path):
    """F108: a checkpoint that is still being written is never touched, even while the writer pauses."""
    import subprocess
    import sys

    path = make(tmp_path / "checkpoint", "torch-zip")
    code = f"f = open({str(path)!r}, 'r+b'); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert "open\n" == process.stdout.readline()
        with pytest.raises(WriteRefused, match=f"written by process {process.pid}"):
            writer.write(*edited(path, "torch-zip"), RECORD, verify=accept)
        process.communicate("\n")
    writer.write(*edited(path, "torch-zip"), RECORD, verify=accept)


def test_a_terminated_process_leaves_no_copy_behind(tmp_path):
    """SIGTERM in the middle of a write: the old file, no litter, and the exit status of a terminated program."""
    import signal
    import subprocess
    import sys

    path = make(tmp_path / "checkpoint", "torch-zip")
    before = path.read_bytes()
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.writer.sample_files import edited; from ckpt_doctor import writer\n"
        "writer.write(*edited(Path(sys.argv[1]), 'torch-zip'), {}, "
        "verify=lambda p: os.kill(os.getpid(), signal.SIGTERM))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, capture_output=True, text=True)
    assert 128 + signal.SIGTERM == result.returncode, result.stderr
    assert before == path.read_bytes()
    assert {"checkpoint"} == litter(tmp_path)


def test_programs_may_be_much_longer_or_shorter(container, tmp_path):
    """The rest of the file moves along, however much the length changes."""
    path = make(tmp_path / "checkpoint", container)
    original = load(path, container)
    before = path.read_bytes()
    checkpoint = checkpoint_of(path, container)
    program = program_of(checkpoint)
    for number in range(400):
        program = with_key(program, f"a key of some length, number {number}", 0.5)
    writer.write(checkpoint, program, RECORD, verify=accept)
    assert len(original) + 400 == len(load(path, container))
    short = b"\x80\x02}" + struct.pack("<BI", ord("X"), 5) + b"epochK\x07s."
    writer.write(checkpoint_of(path, container), short, RECORD, verify=accept)
    if container != "torch-legacy":  # whose loader insists on the storages that its second list names
        assert {"epoch": 7} == load(path, container)
    writer.undo(path)
    writer.undo(path)
    assert before == path.read_bytes()
