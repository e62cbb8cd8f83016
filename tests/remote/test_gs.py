"""Buckets of Google's on loopback: of its JSON API what listings and ranges need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from ckpt_doctor import scan
from ckpt_doctor.remote.faults import ATTEMPTS
from tests.remote.samples import SAMPLES, asked_of, safetensors, told
from tests.remote.web import Handler, Web

pytestmark = pytest.mark.long
REPO = Path(__file__).parents[2]
API = "storage/v1/b/bucket/o"


class Bucket:
    """The bucket `bucket` on a server."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.refuses = 0
        """The status of every answer; 0 for the right ones."""
        web.fallback = self.answer

    def put(self, key: str, body: bytes) -> None:
        """Store an object, of a new generation."""
        self.objects[key] = body, self.objects.get(key, (b"", 0))[1] + 1

    def answer(self, handler: Handler, *_: int) -> bool:
        """objects.list, objects.get and the bytes of an object."""
        split = urlsplit(handler.path)
        if self.refuses:
            said = {"error": {"code": self.refuses, "message": "no"}}
            return self.tell(handler, said, self.refuses)
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        where = split.path.strip("/").removeprefix("download/")
        if where == API:
            return self.tell(handler, self.listing(query.get("prefix", ""), query.get("delimiter", "")))
        key = unquote(where.removeprefix(f"{API}/"))
        if not where.startswith(f"{API}/") or key not in self.objects:
            return self.tell(handler, {"error": {"code": 404, "message": "none"}}, 404)
        if query.get("alt") != "media" and not split.path.startswith("/download"):
            return self.tell(handler, self.described(key))
        body = self.objects[key][0]
        first, _, last = handler.headers.get("Range", f"bytes=0-{len(body)}").removeprefix("bytes=").partition("-")
        handler.part(body[int(first) : int(last) + 1], int(first), int(last) + 1, len(body))
        return True

    def described(self, key: str) -> dict[str, Any]:
        """An object as the API describes it."""
        body, generation = self.objects[key]
        about = {"kind": "storage#object", "bucket": "bucket", "name": key, "size": str(len(body))}
        return {**about, "generation": str(generation), "etag": f"e{generation}", "updated": "2026-01-02T12:00:00Z"}

    def listing(self, prefix: str, delimiter: str) -> dict[str, Any]:
        """The objects whose names begin so; with a delimiter those behind one are folders."""
        found = [key for key in sorted(self.objects) if key.startswith(prefix)]
        rest = {key: key[len(prefix) :] for key in found}
        deeper = {key for key in found if delimiter and delimiter in rest[key]}
        folders = sorted({prefix + rest[key].partition("/")[0] + "/" for key in deeper})
        items = [self.described(key) for key in found if key not in deeper]
        return {"kind": "storage#objects", "items": items, "prefixes": folders}

    @staticmethod
    def tell(handler: Handler, said: Any, status: int = 200) -> bool:
        """Answer with JSON."""
        handler.answer(status, json.dumps(said).encode(), **{"Content-Type": "application/json"})
        return True


@pytest.fixture
def bucket(web: Web, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket, of which gcsfs is told as Google's own emulators are."""
    pytest.importorskip("gcsfs")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", web.url)
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # by which google.auth looks for a machine of Google's
    return Bucket(web)


def test_a_run_in_a_bucket_is_judged_as_on_disk(bucket: Bucket) -> None:
    folder = SAMPLES / "complete-COS"
    files = [file for file in folder.rglob("*") if file.is_file()]
    for file in files:
        bucket.put(f"run/{file.relative_to(folder).as_posix()}", file.read_bytes())
    report = scan(["gs://bucket/run"])
    assert told(scan([folder]), str(folder)) == told(report, "gs://bucket/run")
    assert asked_of(report)[1] == sum(file.stat().st_size for file in files)


def test_a_large_object_costs_both_its_ends_and_is_asked_for_once_more(bucket: Bucket) -> None:
    bucket.put("run/model.safetensors", safetensors(1 << 21))
    report = scan(["gs://bucket/run"])
    assert ["ok"] == [file.verdict for file in report.files]
    assert 2 == sum(ranged != "" for _, ranged in bucket.web.asked)
    assert asked_of(report)[1] <= 131 << 10
    assert asked_of(report)[0] == len(bucket.web.asked)


def test_an_object_that_is_replaced_meanwhile_is_not_judged(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    from ckpt_doctor.remote.store import Store

    bucket.put("run/model.safetensors", safetensors())
    fetch: Any = Store._fetch

    def replaced(*given: Any) -> bytes:
        bucket.put("run/model.safetensors", safetensors())
        return bytes(fetch(*given))

    monkeypatch.setattr(Store, "_fetch", replaced)
    [file] = scan(["gs://bucket/run"]).files
    assert ("ok", "not judged") == (file.verdict, file.resume)
    assert any("was replaced" in note.why for note in file.not_checked)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "access is refused: the credentials are those that fsspec finds"),
        (403, "`gcloud auth application-default login`"),
        (404, "does not exist"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(bucket: Bucket, status: int, sentence: str) -> None:
    """Of what gcsfs and Google's library log nothing is printed: there are no credentials here."""
    bucket.put("run/model.safetensors", safetensors())
    command = [sys.executable, "-m", "ckpt_doctor", "scan", "gs://bucket/run"]
    whole = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert (0, "") == (whole.returncode, whole.stderr)
    bucket.refuses = status
    refused = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert (2, "", 1) == (refused.returncode, refused.stdout, len(refused.stderr.splitlines()))
    assert "Error: gs://bucket/run" in refused.stderr
    assert sentence in refused.stderr


def test_an_object_that_always_fails_is_asked_for_as_often_as_elsewhere(bucket: Bucket) -> None:
    """gcsfs alone asks six times, for half a minute; other objects of the bucket are judged."""
    for name in ("a", "b"):
        bucket.put(f"run/{name}.safetensors", safetensors(8))
    refused: list[str] = []

    def answer(handler: Handler, *_: int) -> bool:
        if "b.safetensors" in handler.path and "download" in handler.path:
            refused.append(handler.path)
            return bucket.tell(handler, {"error": {"code": 500, "message": "no"}}, 500)
        return bucket.answer(handler)

    bucket.web.fallback = answer
    report = scan(["gs://bucket/run"])
    assert [[], ["F106"]] == [[found.code for found in file.findings] for file in report.files]
    assert len(refused) == ATTEMPTS


def test_a_slash_at_the_end_means_the_folder_not_the_object_of_that_name(bucket: Bucket) -> None:
    for key in ("run", "run/a.pt", "alone.pt"):
        bucket.put(key, safetensors(8))
    bucket.put("run/", b"")
    for url, key in {"run": "run", "run/": "run/a.pt", "alone.pt/": "alone.pt"}.items():
        assert [f"gs://bucket/{key}"] == [str(file.checkpoint.path) for file in scan([f"gs://bucket/{url}"]).files]
