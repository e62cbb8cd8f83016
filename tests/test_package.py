"""The wheel: all that the package needs, nothing else, and a page that an index can show."""

from __future__ import annotations

import email.message
import email.parser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder

import hatch_build

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "fixtures" / "sample-runs" / "first-patch-type1"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


@pytest.fixture
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        return email.parser.Parser().parsestr(archive.read(name).decode())


def relative(folder: Path) -> set[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    return {path.relative_to(folder).as_posix() for path in files}


def test_the_wheel_holds_the_package_and_one_sample_run(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {f"ckpt_doctor/{name}" for name in relative(ROOT / "ckpt_doctor")}
    assert ours | {f"ckpt_doctor/sample_run/{name}" for name in relative(SAMPLE)} == names


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 2 << 20


def test_the_sample_run_of_the_wheel_is_made_without_a_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    command = [sys.executable, "-m", "ckpt_doctor", "demo", "here"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert relative(SAMPLE) == relative(tmp_path / "here")


def test_the_licence_travels_with_the_wheel(wheel: Path, metadata: email.message.Message) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
        assert archive.read(name) == (ROOT / "LICENSE").read_bytes()
    assert "Apache-2.0" == metadata["License-Expression"]


def test_the_metadata_say_who_where_and_on_what(metadata: email.message.Message) -> None:
    assert metadata["Author"]
    assert metadata.get_all("Project-URL")
    known = metadata.get_all("Classifier") or []
    assert {"Operating System :: POSIX :: Linux", "Operating System :: MacOS", "Typing :: Typed"} <= set(known)


def test_no_link_of_the_index_page_is_relative(metadata: email.message.Message) -> None:
    text = metadata.get_payload()
    assert isinstance(text, str)
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert [] == [target for target in targets if "://" not in target and not target.startswith("#")]
    assert "# ckpt-doctor\n" in text


def test_links_lead_into_the_repository_where_it_has_an_address() -> None:
    text = "[rules](docs/rules.md#f101) [there](https://example.org/x) [below](#install) ![picture](docs/a.png)"
    page = hatch_build.page(text, "https://example.org/repo/blob/main/")
    assert "[rules](https://example.org/repo/blob/main/docs/rules.md#f101)" in page
    assert "![picture](https://example.org/repo/blob/main/docs/a.png)" in page
    assert "[there](https://example.org/x) [below](#install)" in page
    assert "rules [there](https://example.org/x)" in hatch_build.page(text, None)


def hooks() -> dict[str, dict[str, str]]:
    """The hooks for pre-commit by id."""
    return {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}


@pytest.mark.parametrize(
    ("hook", "name", "content", "code"),
    [
        ("ckpt-doctor-lint", "train.py", b"import shutil\nshutil.rmtree('./checkpoints')\n", 1),
        ("ckpt-doctor-lint", "train.py", b"pass\n", 0),
        ("ckpt-doctor-scan", "model.safetensors", b"<!doctype html><html></html>", 1),
        ("ckpt-doctor-scan", "run/checkpoint", next(SAMPLE.rglob("checkpoint")).read_bytes(), 0),
    ],
)
def test_a_hook_fails_where_something_is_wrong(tmp_path: Path, hook: str, name: str, content: bytes, code: int) -> None:
    """Called as pre-commit calls it: with the names of files, from the top of the repository."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    program, *arguments = hooks()[hook]["entry"].split()
    assert "ckpt-doctor" == program
    command = [sys.executable, "-m", "ckpt_doctor", *arguments, name]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert code == done.returncode


def test_the_hook_for_checkpoints_is_called_for_checkpoints_alone() -> None:
    meant = re.compile(hooks()["ckpt-doctor-scan"]["files"])
    names = [
        path.relative_to(ROOT).as_posix() for path in (ROOT / "fixtures" / "sample-runs").rglob("*") if path.is_file()
    ]
    assert {name for name in names if not meant.search(name)} == {
        name for name in names if name.endswith((".log", ".md"))
    }
    assert not meant.search("model.py")
