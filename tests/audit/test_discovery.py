"""Which files are found below a folder: links, loops, folders that cannot be read."""

import os
from pathlib import Path

import pytest

from ckpt_doctor import scan
from ckpt_doctor.audit import checkpoint_files

SAMPLE = next((Path(__file__).parents[2] / "fixtures/sample-runs/complete-TST/checkpoints").glob("*/checkpoint"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """`tree/run/checkpoint`."""
    (tmp_path / "tree" / "run").mkdir(parents=True)
    (tmp_path / "tree" / "run" / "checkpoint").write_bytes(SAMPLE.read_bytes())
    return tmp_path / "tree"


def found(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in checkpoint_files(folder))


def test_a_run_behind_a_link_is_found(tree):
    """As on Colab, where `checkpoints/run` is a link into Drive; passed over, it would be a false all-clear."""
    (tree.parent / "checkpoints").mkdir()
    (tree.parent / "checkpoints" / "run").symlink_to(tree / "run")
    assert ["run/checkpoint"] == found(tree.parent / "checkpoints")
    (tree.parent / "link").symlink_to(tree)
    assert ["run/checkpoint"] == found(tree.parent / "link")


def test_each_folder_counts_once_and_by_its_own_name(tree):
    """A link beside what it leads to, one to itself, one around the tree, and a loop through two folders."""
    (tree / "a link").symlink_to("run")
    (tree / "self").symlink_to("self")
    (tree / "up").symlink_to("..")
    (tree / "here").symlink_to(".")
    (tree / "run" / "back").symlink_to("..")
    (tree.parent / "other").mkdir()
    (tree.parent / "other" / "checkpoint").write_bytes(SAMPLE.read_bytes())
    assert ["run/checkpoint"] == found(tree)


def test_a_folder_that_cannot_be_read_is_named(tree, monkeypatch):
    """F106 for that one; the rest is judged as always."""
    (tree / "closed").mkdir()
    real = os.scandir

    def scandir(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert ["closed", "run/checkpoint"] == found(tree)


def test_a_step_folder_that_may_not_be_entered_stops_nothing(tree, monkeypatch):
    """It is no evidence then, and the others are judged without it."""
    (tree / "run" / "checkpoint_step_7").mkdir()
    real = Path.is_file

    def is_file(path):
        if path.parent.name == "checkpoint_step_7":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    (report,) = scan(tree / "run").files
    assert "checkpoint" == report.checkpoint.path.name


def test_the_words_of_a_tokenizer_are_no_checkpoint(tree):
    """SentencePiece's file lies among a model's weights and has a suffix that checkpoints have."""
    for name in ("tokenizer.model", "tokenizer.model.v3", "spiece.model", "openvino_tokenizer.bin"):
        (tree / "run" / name).write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02" * 50)
    assert ["run/checkpoint"] == found(tree)
    (tree / "run" / "tokenizer.model").write_bytes(SAMPLE.read_bytes())
    assert ["run/checkpoint", "run/tokenizer.model"] == found(tree)
