"""Runs, units and sets behind URLs are understood as on disk, from listings."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from time import sleep
from typing import Any

import pytest

from ckpt_doctor import scan
from ckpt_doctor.cli.main import main
from ckpt_doctor.remote import faults
from ckpt_doctor.remote.store import Store
from tests.remote.samples import SAMPLES, asked_of, safetensors, told, upload


@pytest.mark.parametrize("sample", ["complete-COS", "complete-TST", "damaged", "first-patch-type1", "legacy"])
def test_a_run_in_a_bucket_is_judged_as_on_disk(memory: Any, sample: str) -> None:
    """With its logs, beside its folder."""
    url = upload(memory, SAMPLES / sample, sample)
    assert told(scan([SAMPLES / sample]), str(SAMPLES / sample)) == told(scan([url]), url)


def sharded(folder: Path) -> Path:
    """A model in two files, and their index."""
    folder.mkdir()
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for number, name in enumerate(names):
        (folder / name).write_bytes(safetensors(8).replace(b"weight", b"weigh%d" % number))
    placed = {"weight_map": {"weigh0": names[0], "weigh1": names[1]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(placed))
    return folder


def test_a_set_in_a_bucket_is_one_checkpoint(memory: Any, tmp_path: Path) -> None:
    url = upload(memory, sharded(tmp_path / "model"), "bucket/model")
    report = scan([url])
    assert [(f"{url}/model.safetensors.index.json", "ok", 2)] == [
        (
            str(file.checkpoint.path),
            file.verdict,
            len(file.checkpoint.tensors) + sum(len(p.tensors) for p in file.checkpoint.parts),
        )
        for file in report.files
    ]


def test_a_shard_that_is_absent_is_a_finding(memory: Any, tmp_path: Path) -> None:
    (sharded(tmp_path / "model") / "model-00002-of-00002.safetensors").unlink()
    report = scan([upload(memory, tmp_path / "model", "bucket/model")])
    assert ["F114"] == [found.code for found in report.findings]


def test_a_tree_costs_a_listing_and_a_request_for_each_small_file(memory: Any) -> None:
    for number in range(40):
        memory.pipe(f"/bucket/run/model_{number}.safetensors", safetensors(8))
    report = scan(["memory://bucket"])
    assert (40, 43) == (len(report.files), asked_of(report)[0])  # and two to see that it is a folder
    assert sum(file.checkpoint.size for file in report.files) == asked_of(report)[1]


@pytest.mark.parametrize("layout", ["files", "set", "folder"])
def test_several_objects_are_asked_for_at_a_time(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """And none twice: what a look ahead brought serves whoever opens the object."""
    {
        "files": lambda: [memory.pipe(f"/bucket/run/model_{n}.pt", safetensors(8)) for n in range(9)],
        "set": lambda: upload(memory, sharded(tmp_path / "model"), "bucket/model"),
        "folder": lambda: upload(memory, unit(tmp_path / "checkpoint-10"), "bucket/checkpoint-10"),
    }[layout]()
    asked: list[str] = []
    at_once: list[int] = [0]
    lock, fetch = Lock(), Store._fetch

    def slowly(self: Store, path: Any, *given: Any) -> bytes:
        with lock:
            asked.append(str(path))
            at_once.append(at_once[-1] + 1)
        sleep(0.02)
        with lock:
            at_once.append(at_once[-1] - 1)
        return fetch(self, path, *given)

    monkeypatch.setattr(Store, "_fetch", slowly)
    assert scan(["memory://bucket"]).files
    assert max(at_once) > 1
    assert len(asked) == len(set(asked))


def test_a_copy_in_a_bucket_has_not_moved(memory: Any, tmp_path: Path) -> None:
    """Its state names the folder in which it was trained; where it is resumed from nobody knows."""
    state = {"global_step": 10, "best_metric": 0.5, "best_model_checkpoint": "/data/run/checkpoint-10"}
    (unit(tmp_path / "checkpoint-10") / "trainer_state.json").write_text(json.dumps(state))
    url = upload(memory, tmp_path, "bucket/other")
    near, far = ({found.code for found in scan([path]).findings} for path in (tmp_path, url))
    assert near - far == {"E610"}
    assert far <= near


def unit(folder: Path) -> Path:
    """A checkpoint folder as the Trainer of transformers lays it out."""
    folder.mkdir()
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_bytes(safetensors(8))
    (folder / "trainer_state.json").write_text('{"global_step": 10}')
    return folder


def test_an_object_that_is_replaced_between_two_requests_is_not_judged(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/bucket/model.safetensors", safetensors())
    fetch: Any = Store._fetch

    def replaced(*given: Any) -> bytes:
        memory.pipe("/bucket/model.safetensors", safetensors())
        return fetch(*given)

    monkeypatch.setattr(Store, "_fetch", replaced)
    report = scan(["memory://bucket/model.safetensors"])
    assert [("ok", "not judged", ())] == [(file.verdict, file.resume, file.findings) for file in report.files]
    assert ["the resume"] == [n.what for file in report.files for n in file.not_checked if "was replaced" in n.why]


def test_names_without_a_suffix_are_known_by_content(memory: Any) -> None:
    memory.pipe("/bucket/run/weights", safetensors(8))
    memory.pipe("/bucket/run/notes", b"nothing")
    memory.pipe("/bucket/run/picture.png", safetensors(8))  # which is not opened
    assert ["memory://bucket/run/weights"] == [str(file.checkpoint.path) for file in scan(["memory://bucket"]).files]


def test_other_commands_read_urls(memory: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = upload(memory, SAMPLES / "first-patch-type1", "type1")
    top = next(path for path in (SAMPLES / "first-patch-type1" / "checkpoints").iterdir())
    run = f"{url}/checkpoints/{top.name}"
    assert 0 == main(["diff", f"{run}/checkpoint", str(top / "checkpoint"), "--deep"])
    assert 0 == main(["inspect", f"{run}/checkpoint", "--stats"])
    assert 0 == main(["export", f"{run}/checkpoint", "-o", str(tmp_path / "weights.safetensors")])
    assert 0 == main(["latest", run, "--repairable"])
    assert f"{run}/checkpoint" in capsys.readouterr().out.splitlines()[-1]


def test_an_object_whose_name_begins_others_is_judged_and_so_are_these(memory: Any) -> None:
    """Files of a disk cannot lie like that; an empty object of that kind marks a folder."""
    from fsspec.implementations.memory import MemoryFile

    keys = {"run/weights": safetensors(8), "run/weights/a.pt": safetensors(8), "mark": b"", "mark/b.pt": safetensors(8)}
    for key, body in keys.items():
        memory.store[f"/bucket/{key}"] = MemoryFile(memory, f"/bucket/{key}", body)
    found = [str(file.checkpoint.path) for file in scan(["memory://bucket"]).files]
    assert sorted(found) == sorted(f"memory://bucket/{key}" for key, body in keys.items() if body)


def test_a_server_that_cannot_be_reached_is_asked_for_one_of_many_files(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(40):
        memory.pipe(f"/bucket/run/model_{n}.pt", safetensors(8))
    asked: list[object] = []

    class EndpointConnectionError(Exception):
        """As botocore's."""

    def unreachable(*given: object) -> bytes:
        asked.append(given)
        raise EndpointConnectionError

    monkeypatch.setattr(Store, "_fetch", unreachable)
    monkeypatch.setattr(faults, "PAUSE", 0.0)
    report = scan(["memory://bucket"])
    assert [{"F106"}] * 40 == [{found.code for found in file.findings} for file in report.files]
    assert {len(safetensors(8))} == {file.checkpoint.size for file in report.files}, "which the listing shows"
    assert len(asked) <= faults.ATTEMPTS * 8, "those that were on their way"
