"""What `write` changes in each container, and what it leaves alone."""

import os
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpt_doctor import writer
from ckpt_doctor.errors import VerificationFailed, WriteRefused
from tests.writer.sample_files import CONTAINERS, RECORD, accept, edited, litter, load, make, same


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


@settings(max_examples=25)
@given(
    st.sampled_from(CONTAINERS),
    st.lists(st.sampled_from(["replace", "in-place", "undo", "undo in place"]), min_size=1, max_size=9),
)
@pytest.mark.long
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
            writer.undo(path, in_place=action == "undo in place")
            assert below.pop() == path.read_bytes()
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
