"""Whatever a command prints as JSON is what the schema in the package says, and the schema describes all of it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from ckpt_doctor import reports
from ckpt_doctor.cli.main import COMMANDS, app
from tests.cli.conftest import SAMPLES, sample  # noqa: F401 - a fixture
from tests.reports.report_samples import example, hostile
from tests.trainers.hf_trainer.runs import Writer

SCHEMA: dict[str, Any] = json.loads((files("ckpt_doctor") / "reports" / "schema" / "v1.json").read_text())


def strict(node: Any) -> Any:
    """The schema without room for what it does not describe: users' files may get fields, ours may not unseen."""
    if isinstance(node, list):
        return [strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    closed = {"additionalProperties": False} if "properties" in node and "additionalProperties" not in node else {}
    return {**{key: strict(value) for key, value in node.items()}, **closed}


STRICT = strict({"$defs": SCHEMA["$defs"]})


def problems(command: str, document: object) -> list[str]:
    """What is not as the schema has it."""
    validator = Draft202012Validator({**STRICT, "$ref": f"#/$defs/{command}"})
    return [f"{list(error.absolute_path)}: {error.message[:200]}" for error in validator.iter_errors(document)]


def printed(command: str, *arguments: object) -> Any:
    """What a command prints as JSON."""
    result = CliRunner().invoke(app, [command, *map(str, arguments), "--format", "json"])
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout)


def test_the_schema_is_one_and_has_every_command() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert {f"#/$defs/{name}" for name in COMMANDS if name != "record"} == {one["$ref"] for one in SCHEMA["anyOf"]}


@pytest.mark.parametrize("name", [folder.name for folder in SAMPLES.iterdir() if folder.is_dir()])
def test_scans_and_checks_of_the_sample_runs(sample, name: str) -> None:  # noqa: F811
    folder = sample(name)
    assert [] == problems("scan", printed("scan", "--deep"))
    for path in folder.iterdir():
        assert [] == problems("check", printed("check", path))


def test_a_checkpoint_of_several_files(tmp_path: Path) -> None:
    Writer(tmp_path / "run").write(4, 8)
    found = printed("scan", tmp_path)
    assert [] == problems("scan", found)
    assert any(unit["parts"] for unit in found["units"])
    unit = found["units"][-1]["path"]
    assert [] == problems("check", printed("check", unit))
    assert [] == problems("inspect", printed("inspect", unit, "--stats"))


@pytest.mark.parametrize("report", [example(), hostile()], ids=["example", "hostile"])
def test_names_and_values_of_any_kind(report) -> None:
    assert [] == problems("scan", json.loads(reports.judged(report, "json")))


@pytest.mark.long
def test_every_other_command(sample) -> None:  # noqa: F811
    folder = sample("complete-TST")
    whole, step = folder / "checkpoint", folder / "checkpoint_step_140"
    Path("train.py").write_text("import shutil\nshutil.rmtree('checkpoints')\n")
    Path("cut").write_bytes(whole.read_bytes()[:-2000])
    calls = {
        "inspect": [[whole], [whole, "--stats", "*.bias"]],
        "diff": [[whole, step], [whole, step, "--deep"]],
        "latest": [[folder], [folder, "--repairable"]],
        "prune": [[folder, "--keep", 1, "--dry-run"]],
        "salvage": [["cut", "-o", "saved.pt"]],
        "export": [[whole, "-o", "weights.safetensors"]],
        "lint": [["train.py"]],
        "rule": [[], ["E601"]],
        "demo": [["demo"]],
        "migrate": [["--all", "--dry-run"], ["--all"], ["--all"], ["demo", "--add-best-score", "--to-cpu"]],
        "undo": [[folder], [folder]],
    }
    assert {*calls, "scan", "check", "record", "trace", "rehearse"} == set(COMMANDS)
    for command, ways in calls.items():
        for arguments in ways:
            assert [] == problems(command, printed(command, *arguments)), (command, arguments)
    assert [] == problems("inspect", printed("inspect", whole))
