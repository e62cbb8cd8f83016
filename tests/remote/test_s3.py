"""Buckets of an S3 API on loopback."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor import scan
from ckpt_doctor.cli.main import main
from ckpt_doctor.remote import RemoteError, Replaced, faults, s3
from ckpt_doctor.remote.entries import Entry
from tests.remote.samples import SAMPLES, asked_of, safetensors, told

pytestmark = pytest.mark.long


REPO = Path(__file__).parents[2]


class Bucket:
    """A bucket, and what its server was asked for."""

    def __init__(self, client: Any, asked: list[tuple[str, str, str]]) -> None:
        self.client, self.asked = client, asked

    def put(self, key: str, body: bytes) -> None:
        """Store an object."""
        self.client.put_object(Bucket="bucket", Key=key, Body=body)

    def upload(self, folder: Path, name: str) -> str:
        """Store all files of a folder; its URL."""
        for file in folder.rglob("*"):
            if file.is_file():
                self.put(f"{name}/{file.relative_to(folder).as_posix()}", file.read_bytes())
        self.asked.clear()
        return f"s3://bucket/{name}"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """An S3 API, and the requests that it sees: method, path, range."""
    pytest.importorskip("s3fs")
    pytest.importorskip("boto3")
    serving = pytest.importorskip("moto.server")
    from werkzeug.serving import WSGIRequestHandler

    asked: list[tuple[str, str, str]] = []

    def seen(handler: Any, *_: object) -> None:
        asked.append((handler.command, handler.path, handler.headers.get("Range", "")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WSGIRequestHandler, "log_request", seen)
        server = serving.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        yield f"http://127.0.0.1:{server.get_host_and_port()[1]}", asked
        server.stop()


@pytest.fixture
def bucket(server: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket called `bucket`."""
    import boto3

    address, asked = server
    for name, value in {
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(faults, "PAUSE", 0.0)
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield Bucket(client, asked)
    for found in client.list_objects_v2(Bucket="bucket").get("Contents", ()):
        client.delete_object(Bucket="bucket", Key=found["Key"])
    client.delete_bucket(Bucket="bucket")


@pytest.mark.parametrize("sample", ["complete-COS", "damaged"])
def test_a_run_in_a_bucket_is_judged_as_on_disk(bucket: Bucket, sample: str) -> None:
    url = bucket.upload(SAMPLES / sample, sample)
    report = scan([url])
    assert told(scan([SAMPLES / sample]), str(SAMPLES / sample)) == told(report, url)


def test_the_summary_counts_what_the_server_was_asked_for(bucket: Bucket) -> None:
    """One listing for all, then one request for each small file, whose size and ETag the listing gave."""
    url = bucket.upload(SAMPLES / "complete-COS", "run")
    report = scan([url])
    assert len(bucket.asked) == asked_of(report)[0]
    assert 4 == sum(bool(wanted) for _, _, wanted in bucket.asked)
    assert asked_of(report)[1] == sum(
        file.stat().st_size for file in (SAMPLES / "complete-COS").rglob("*") if file.is_file()
    )


@pytest.mark.long
def test_worker_processes_read_a_bucket_as_one_does(bucket: Bucket) -> None:
    """Each has connections of its own: it is no copy of a process whose threads hold some."""
    for sample in ("complete-COS", "damaged", "first-patch-type1"):
        url = bucket.upload(SAMPLES / sample, f"all/{sample}").rpartition("/")[0]
    reports = []
    for jobs in ("1", "2"):
        command = [sys.executable, "-m", "ckpt_doctor", "scan", "--format", "json", "--jobs", jobs, url]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
        assert (1, "") == (done.returncode, done.stderr)
        reports.append(json.loads(re.sub(r"changed \d+ s ago", "", done.stdout)))
    one, two = reports
    assert [one[part] for part in ("runs", "files", "units")] == [two[part] for part in ("runs", "files", "units")]
    assert 3 == len(two["runs"])
    assert one["summary"]["bytes_read"] == two["summary"]["bytes_read"]


def test_a_large_object_costs_both_its_ends(bucket: Bucket) -> None:
    bucket.put("run/model.safetensors", safetensors(1 << 21))
    bucket.asked.clear()
    report = scan(["s3://bucket/run/model.safetensors"])
    assert ["ok"] == [file.verdict for file in report.files]
    assert 2 == sum(bool(wanted) for _, _, wanted in bucket.asked)
    assert asked_of(report)[1] <= 131 << 10


def test_all_bytes_of_an_object_are_compared_with_its_checksums(bucket: Bucket) -> None:
    url = bucket.upload(SAMPLES / "complete-COS", "run")
    report = scan([url], deep=True)
    assert told(scan([SAMPLES / "complete-COS"], deep=True), str(SAMPLES / "complete-COS")) == told(report, url)


def test_an_object_that_is_replaced_meanwhile_is_not_judged(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store refuses the second request itself."""
    from ckpt_doctor.remote.store import Store

    bucket.put("run/model.safetensors", safetensors())
    fetch: Callable[..., bytes] = Store._fetch

    def replaced(*given: Any) -> bytes:
        bucket.put("run/model.safetensors", safetensors(1 << 17))
        return fetch(*given)

    monkeypatch.setattr(Store, "_fetch", replaced)
    report = scan(["s3://bucket/run/model.safetensors"])
    assert [("ok", "not judged", ())] == [(file.verdict, file.resume, file.findings) for file in report.files]
    assert ["the resume"] == [n.what for file in report.files for n in file.not_checked if "was replaced" in n.why]


@pytest.mark.parametrize("url", ["s3://no-bucket/run", "s3://bucket/nothing", "s3://bucket/nothing.pt"])
def test_what_is_not_there_is_wrong_usage(bucket: Bucket, capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert 2 == main(["scan", url])
    assert f"Error: {url} does not exist\n" == capsys.readouterr().err


def test_a_repaired_copy_is_written_here_and_nothing_there(bucket: Bucket, tmp_path: Path) -> None:
    url = bucket.upload(SAMPLES / "complete-COS", "run")
    assert 1 == main(["migrate", "--all", "--output", str(tmp_path / "out"), url])
    assert 3 == len([path for path in (tmp_path / "out").rglob("*") if path.is_file()])
    assert {"GET", "HEAD"} == {method for method, _, _ in bucket.asked}


def test_worker_processes_read_urls_as_one_process_does(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """The bucket is listed once for all of them; the report is the same, and counts what they asked for."""
    for sample in ("complete-COS", "complete-TST", "legacy"):
        bucket.upload(SAMPLES / sample, f"runs/{sample}")
    documents = []
    for jobs in ("1", "2"):
        bucket.asked.clear()
        assert 1 == main(["scan", "s3://bucket/runs", "--jobs", jobs, "--format", "json"])
        documents.append(json.loads(capsys.readouterr().out))
        assert documents[-1]["summary"]["requests"] == len(bucket.asked) >= 7
    for document in documents:
        assert document["summary"]["bytes_read"] > 0
        assert document["summary"].pop("seconds") > 0
    assert documents[0] == documents[1]


def test_another_version_is_not_taken_for_the_one_that_is_named(
    bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.put("run/model.safetensors", safetensors(8))
    assert 2 == main(["scan", "s3://bucket/run/model.safetensors?versionId=0123"])
    assert "gives an object's current version" in capsys.readouterr().err


def test_an_endpoint_that_is_silent_is_left_after_a_bounded_time(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """botocore alone asks it five times."""
    from s3fs import S3FileSystem

    monkeypatch.setattr(S3FileSystem, "read_timeout", 0.2)
    monkeypatch.setattr(faults, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert 2 == main(["scan", "s3://bucket/run"])
    assert "is silent or too slow" in capsys.readouterr().err
    assert 0.3 < time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({}, None),
        ({"ETag": 'W/"one"'}, None),  # of a proxy
        ({"ETag": '"two"'}, Replaced),  # of a store that takes no notice of If-Match
        ({"ContentRange": "bytes 0-9/90"}, RemoteError),
        ({"ContentRange": None, "ContentLength": 100}, RemoteError),  # nor of ranges
        ({"ContentRange": None}, None),
    ],
)
def test_an_answer_to_another_question_is_not_taken_for_the_range(
    said: dict[str, Any], error: type[RemoteError] | None
) -> None:
    read: list[int] = []

    class Body:
        async def read(self) -> bytes:
            read.append(1)
            return b"0123456789"

        def close(self) -> None:
            """Nothing to close."""

    class Store:
        split_path, req_kw = staticmethod(lambda name: ("bucket", name, None)), {"RequestPayer": "requester"}

        async def _call_s3(self, method: str, **asked: str) -> dict[str, Any]:
            assert ('"one"', "bytes=0-9", "requester") == (asked["IfMatch"], asked["Range"], asked["RequestPayer"])
            answer = {"ETag": '"one"', "ContentRange": "bytes 0-9/100", "ContentLength": 10, "Body": Body(), **said}
            return {key: value for key, value in answer.items() if value is not None}

    entry = Entry("x.pt", size=100, info={"ETag": '"one"'})
    with nullcontext() if error is None else pytest.raises(error):
        assert b"0123456789" == asyncio.run(s3.get_range(Store(), "x.pt", entry, 0, 10))
    assert (error is None) == bool(read), "what is refused is not read, whatever its length"
