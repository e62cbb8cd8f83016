"""URLs as paths: their text, their parts, what is hidden of them, and what they find below them."""

from __future__ import annotations

import pickle
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.cli.main import main
from ckpt_doctor.errors import UsageError
from ckpt_doctor.remote import RemotePath, as_path, is_url, local
from tests.remote.samples import SAMPLES, safetensors, upload


def test_a_url_keeps_both_its_slashes_and_its_kind_when_it_is_joined() -> None:
    path = as_path("s3://bucket/run/checkpoint.pt")
    assert isinstance(path, RemotePath)
    assert ["s3://bucket/run/checkpoint.pt", "s3://bucket/run", "s3://bucket", "s3://bucket/run/x/y"] == [
        str(path),
        str(path.parent),
        str(path.parents[1]),
        str(path.parent / "x" / "y"),
    ]
    assert ("checkpoint.pt", ".pt", "checkpoint") == (path.name, path.suffix, path.stem)
    assert {type(path.parent), type(path.with_name("z")), type(path.absolute())} == {RemotePath}
    assert "run/checkpoint.pt" == str(path.relative_to(as_path("s3://bucket")))


def test_what_is_above_a_store_holds_nothing() -> None:
    above = as_path("s3://bucket").parent
    assert (False, False, []) == (above.is_dir(), above.exists(), list(above.glob("*")))


def test_a_path_of_this_machine_stays_what_it_is() -> None:
    assert [False, False, True] == [is_url("checkpoints/a:b"), is_url(Path("s3://bucket")), is_url("hf://org/model")]
    assert {type(as_path("checkpoints")), type(as_path("file:///tmp/x"))} == {type(Path())}
    assert Path("/tmp/x") == as_path("file:///tmp/x")


@pytest.mark.parametrize(
    "given",
    [
        "https://me:hunter2@host/a/model.pt",
        "https://host/a/model.pt?X-Amz-Signature=hunter2",
        "https://host/a/model.pt#hunter2",
        "s3://me:hunter2@bucket/a/model.pt",
        "hf://me:hunter2@org/repo/model.pt",
    ],
)
def test_credentials_are_kept_and_never_shown(given: str) -> None:
    path = as_path(given)
    assert isinstance(path, RemotePath)
    assert given == path.given
    assert "hunter2" not in f"{path} {path!r} {path.parts} {path.parent} {path.as_posix()}"
    assert "model.pt" == path.name


def test_a_path_that_goes_to_another_process_finds_the_same() -> None:
    path = as_path("https://host/model.pt?sig=hunter2")
    assert isinstance(path, RemotePath)
    again = pickle.loads(pickle.dumps(path))
    assert (path, path.given) == (again, again.given)


@pytest.mark.parametrize("output", ["s3://bucket/out", Path("s3://bucket/out")])
def test_nothing_is_written_to_a_url(output: Path | str) -> None:
    with pytest.raises(UsageError, match=re.escape("s3://bucket/out is a URL, where nothing is ever written")):
        local(output)


def test_a_folder_is_listed_once(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run/checkpoint", "run/step_1/checkpoint.pt", "logs/train.log"):
        memory.pipe(f"/bucket/{name}", b"x" * 5)
    folder = as_path("memory://bucket/run")
    assert isinstance(folder, RemotePath)
    store, calls = folder.store, []
    ls = store.fs.ls
    monkeypatch.setattr(store.fs, "ls", lambda *args, **named: calls.append(args) or ls(*args, **named))
    for _ in range(3):
        assert ["checkpoint", "step_1"] == [path.name for path in folder.iterdir()]
        assert (True, False, True) == tuple(
            (folder / name).is_file() for name in ("checkpoint", "step_1", "checkpoint")
        )
        assert (5, False) == ((folder / "checkpoint").stat().st_size, (folder / "nothing").exists())
        assert [folder / "checkpoint"] == list(folder.glob("check*"))
        assert [] == list((folder / "nothing").glob("*"))
    assert 1 == len(calls)


def test_an_object_is_read_as_a_stream(memory: Any) -> None:
    memory.pipe("/bucket/train.log", b"one\ntwo\n" * 100_000)
    path = as_path("memory://bucket/train.log")
    assert b"one\ntwo\n" * 100_000 == path.read_bytes()
    with path.open(encoding="utf-8") as stream:
        assert "one\n" == stream.readline()


def test_without_the_extra_a_url_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['fsspec'] = None; from ckpt_doctor.cli.main import main; "
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(main(sys.argv[1:]))", "scan", "s3://bucket/run"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (2, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "pip install 'ckpt-doctor[remote]'" in done.stderr


def test_an_unknown_kind_of_url_is_wrong_usage(memory: Any) -> None:
    with pytest.raises(UsageError, match="fsspec knows no nothing:// URLs"):
        _ = as_path("nothing://bucket").store  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", [["demo", "s3://bucket/new"], ["record", "-o", "s3://bucket/new", "--", "true"]])
def test_no_folder_is_named_like_a_url(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (2, []) == (main(command), list(tmp_path.iterdir()))
    assert "is a URL, where nothing is ever written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["a b", "50%20", "a+b", "üñí/模型", "what?versions=1", "epoch#3", "it's", "a*[1]", "$HOME"]
)
def test_a_key_may_have_any_letters_and_is_named_so_that_one_can_paste_it(
    memory: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for checkpoint in ("one", "two"):
        memory.pipe(f"/bucket/{name}/{checkpoint}.safetensors", safetensors(8))
    assert 2 == main(["check", "memory://bucket"])
    command = capsys.readouterr().err.rpartition("one run: check ")[2]
    [pasted] = shlex.split(command)
    assert f"memory://bucket/{name}" == pasted
    assert 0 == main(["scan", pasted])
    assert "2 checkpoints" in capsys.readouterr().out


def test_a_folder_that_was_given_with_a_slash_is_named_with_it(memory: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An object may have the name without it, and the commands that are printed would mean that one."""
    upload(memory, SAMPLES / "first-patch-type1", "bucket/run")
    for url in ("memory://bucket/run/", "memory://bucket/run"):
        assert 1 == main(["scan", url])
        told = capsys.readouterr().out
        assert re.search(rf"ckpt-doctor migrate .* {url}$", told, re.MULTILINE)


@pytest.mark.parametrize("command", ["scan", "check", "latest"])
def test_names_that_no_path_has_are_refused_and_in_a_listing_they_are_told(
    memory: Any, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """No path leads there: the one that is shown could be that of another object. Nor to what ends with a slash."""
    from fsspec.implementations.memory import MemoryFile

    memory.pipe("/bucket/run/model.safetensors", safetensors(8))
    memory.pipe("/bucket//run/model.safetensors", safetensors(8)[:50])
    memory.pipe("/bucket/run/../other.safetensors", safetensors(8)[:50])
    for key, body in (("/bucket/run/last.pt/", b"content"), ("/bucket/mark/", b"")):
        memory.store[key] = MemoryFile(memory, key, body)
    assert 2 == main([command, "memory://bucket//run"])
    refused = capsys.readouterr().err
    assert "Error: memory://bucket/run was given with two slashes in a row" in refused
    assert 0 == main(["scan", "memory://bucket"])
    told = capsys.readouterr()
    assert "1 checkpoint:" in told.out
    assert "3 objects were not looked at" in told.err
    assert "memory://bucket//run/model.safetensors" in told.err


@pytest.mark.parametrize(
    ("url", "missing"),
    [
        ("s3://", "bucket"),
        ("S3:///x", "bucket"),
        ("gs://", "bucket"),
        ("hf://", "repository"),
        ("hf://org", "repository"),
        ("https://", "host"),
        ("https://me:hunter2@/x?y", "host"),
    ],
)
def test_what_a_url_lacks_is_named(url: str, missing: str) -> None:
    with pytest.raises(UsageError, match=f"^a URL without a {missing}: give [a-z0-9]+://[A-Z/]+$"):
        as_path(url)
