"""Repairs of what lies behind a URL: a copy is made beside the output, and nothing is written to the URL."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor import scan
from ckpt_doctor.cli.main import main
from ckpt_doctor.repair import fetching
from tests.remote.conftest import memory as memory
from tests.remote.samples import SAMPLES, told, upload


def test_a_repaired_copy_is_that_of_a_repair_on_disk(
    memory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`migrate --output` alone writes for a URL, and leaves no copy of the original behind."""
    url = upload(memory, SAMPLES / "complete-COS", "cos")
    shutil.copytree(SAMPLES / "complete-COS", tmp_path / "cos")
    for source, output in ((url, "far"), (str(tmp_path / "cos"), "near")):
        assert 1 == main(["migrate", "--all", "--output", str(tmp_path / output), source])
    assert "3 migrated" in capsys.readouterr().out
    far, near = (
        {file.relative_to(top): file.stat().st_size for file in top.rglob("*") if file.is_file()}
        for top in (tmp_path / "far", tmp_path / "near")
    )
    assert 3 == len(far)
    assert far.keys() == near.keys()
    assert told(scan([tmp_path / "far"]), str(tmp_path / "far")) == told(
        scan([tmp_path / "near"]), str(tmp_path / "near")
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["migrate", "--all"], "give --output DIR"),
        (["migrate", "--all", "--in-place"], "give --output DIR"),
        (["undo"], "works on files of this machine"),
        (["prune", "--keep", "1"], "nothing is ever written"),
    ],
)
def test_what_writes_where_the_checkpoint_is_is_refused(
    memory: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    before = {name: bytes(file.getvalue()) for name, file in memory.store.items()}
    url = upload(memory, SAMPLES / "legacy", "run")
    before = {name: bytes(file.getvalue()) for name, file in memory.store.items()}
    assert 2 == main([arguments[0], url, *arguments[1:]])
    assert sentence in capsys.readouterr().err
    assert before == {name: bytes(file.getvalue()) for name, file in memory.store.items()}


def test_a_cut_checkpoint_is_salvaged_from_a_copy(memory: Any, tmp_path: Path) -> None:
    url = upload(memory, SAMPLES / "damaged", "run")
    cut = next(path for path in (SAMPLES / "damaged").rglob("checkpoint_step_120"))
    far, near = tmp_path / "far.pt", tmp_path / "near.pt"
    assert 0 == main(["salvage", f"{url}/{cut.relative_to(SAMPLES / 'damaged').as_posix()}", "-o", str(far)])
    assert 0 == main(["salvage", str(cut), "-o", str(near)])
    assert near.stat().st_size == far.stat().st_size
    assert {far, near} == set(tmp_path.iterdir())


def test_what_cannot_be_salvaged_is_named_by_its_url(
    memory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory.pipe("/run/cut.pt", b"PK\x03\x04")
    assert 1 == main(["salvage", "memory://run/cut.pt", "-o", str(tmp_path / "out.pt")])
    assert "nothing can be recovered from memory://run/cut.pt: " in capsys.readouterr().err


def test_a_copy_that_shows_damage_is_not_repaired(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a local header disagrees, which from afar nobody reads."""
    url = upload(memory, SAMPLES / "legacy", "run")
    copy: Any = fetching.fetch

    def damaged(*given: Any) -> Path:
        made: Path = copy(*given)
        made.write_bytes(made.read_bytes()[:-100])
        return made

    monkeypatch.setattr(fetching, "fetch", damaged)
    assert 1 == main(["migrate", "--to-cpu", "--output", str(tmp_path / "out"), url])
    assert "shows what the URL did not" in " ".join(capsys.readouterr().out.split())
    assert [] == [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize("form", ["table", "sarif", "github", "markdown"])
def test_every_command_that_repairs_says_where_the_results_go(
    memory: Any, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """A printed cure is one that would be carried out."""
    for sample in ("complete-COS", "first-patch-type1"):
        upload(memory, SAMPLES / sample, f"runs/{sample}")
    main(["scan", "memory://runs", "--format", form, *(["-v"] if form == "table" else [])])
    told = [line for line in capsys.readouterr().out.splitlines() if "ckpt-doctor migrate" in line]
    assert told
    assert [] == [line for line in told if "memory://" in line and "--output" not in line]
