"""Repositories of a hub on loopback, which has the parts of its API that listings and files need."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckpt_doctor.remote.faults import ATTEMPTS
from tests.remote.samples import SAMPLES, safetensors
from tests.remote.web import Handler, Web

pytestmark = pytest.mark.long
TREE = "api/models/org/model/tree/main"


class Hub:
    """The repository `org/model` on a server."""

    def __init__(self, web: Web) -> None:
        self.web = web
        self.files: dict[str, bytes] = {}
        web.faults["api/models/org/model"] = lambda handler, *_: self.tell(
            handler, {"id": "org/model", "sha": "a" * 40}
        )

    def put(self, name: str, content: bytes) -> None:
        """Store a file."""
        self.files[name] = content
        self.web.put(f"org/model/resolve/main/{name}", content)
        for folder in ("", *(str(path) for path in Path(name).parents if str(path) != ".")):
            self.web.faults[f"{TREE}/{folder}".strip("/")] = self.tree(folder)

    def tree(self, folder: str) -> Any:
        """What answers a question for what lies in a folder, or with `recursive=true` below it."""

        def answer(handler: Handler, *_: int) -> bool:
            whole = "recursive=true" in handler.path.lower()
            below = [name for name in self.files if name.startswith(f"{folder}/".lstrip("/"))]
            rest = {name: name[len(folder) :].strip("/") for name in below}
            files = [
                {"type": "file", "path": name, "size": len(self.files[name]), "oid": f"{hash(self.files[name]):040x}"}
                for name, inside in rest.items()
                if whole or "/" not in inside
            ]
            names = {f"{folder}/{inside.partition('/')[0]}".strip("/") for inside in rest.values() if "/" in inside}
            folders = [{"type": "directory", "path": name, "size": 0, "oid": "b" * 40} for name in names]
            return self.tell(handler, files + folders)

        return answer

    @staticmethod
    def tell(handler: Handler, said: Any) -> bool:
        """Answer with JSON."""
        handler.answer(200, json.dumps(said).encode(), **{"Content-Type": "application/json"})
        return True

    def run(self, *arguments: str, home: Path) -> Any:
        """The program, told where the hub is: the library asks for that when it is imported."""
        more = {"HF_ENDPOINT": self.web.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return subprocess.run(
            [sys.executable, "-m", "ckpt_doctor", *arguments],
            env={**os.environ, **more},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
        )


@pytest.fixture
def hub(web: Web) -> Hub:
    """A hub with an empty repository."""
    pytest.importorskip("huggingface_hub")
    return Hub(web)


def test_a_repository_is_judged_as_a_folder(hub: Hub, tmp_path: Path) -> None:
    run = SAMPLES / "complete-COS"
    for file in run.rglob("*"):
        if file.is_file():
            hub.put(file.relative_to(run).as_posix(), file.read_bytes())
    far = json.loads(hub.run("scan", "hf://org/model", "--format", "json", home=tmp_path).stdout)
    near = json.loads(hub.run("scan", str(run), "--format", "json", home=tmp_path).stdout)
    told = [[(file["verdict"], file["findings"]) for file in report["files"]] for report in (near, far)]
    assert told[0] == told[1]
    assert 4 == sum(bool(re.search("resolve", name)) for name, _ in hub.web.asked)


def test_a_large_file_of_a_repository_costs_both_its_ends(hub: Hub, tmp_path: Path) -> None:
    hub.put("model.safetensors", safetensors(1 << 20))
    done = hub.run("check", "hf://org/model/model.safetensors", home=tmp_path)
    assert (0, "") == (done.returncode, done.stderr)
    assert 2 == sum("resolve" in name for name, _ in hub.web.asked)
    assert hub.web.sent < 140 << 10


@pytest.mark.parametrize("url", ["hf://org/other", "hf://org/model/nothing.pt"])
def test_what_is_not_there_is_wrong_usage(hub: Hub, tmp_path: Path, url: str) -> None:
    hub.put("model.safetensors", safetensors(8))
    hub.web.faults["api/models/org/other"] = lambda handler, *_: (
        handler.answer(404, b"{}", **{"X-Error-Code": "RepoNotFound"}) or True
    )
    done = hub.run("scan", url, home=tmp_path)
    assert (2, f"Error: {url} does not exist\n") == (done.returncode, done.stderr)


def test_a_file_that_always_fails_is_asked_for_as_often_as_elsewhere(hub: Hub, tmp_path: Path) -> None:
    """The hub's library alone asks six times, for half a minute."""
    hub.put("model.safetensors", safetensors(8))
    file = "org/model/resolve/main/model.safetensors"
    hub.web.faults[file] = lambda handler, *_: handler.answer(500, b"no") or True
    done = hub.run("scan", "hf://org/model", home=tmp_path)
    assert "status 500, again and again" in " ".join(done.stdout.split())
    assert ATTEMPTS == sum(name == file for name, _ in hub.web.asked)
