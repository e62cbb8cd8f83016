"""`[tool.ckpt-doctor]`: what it may hold, where it is found, what is said of what it may not hold."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from ckpt_doctor.cli.main import COMMANDS, app
from ckpt_doctor.cli.settings import is_ignored, keys, parse, read_settings
from ckpt_doctor.errors import UsageError
from ckpt_doctor.types import Finding

FINDING = Finding("R506", "rate-jump", "warning", "What is.")


def settings(table: str, root: Path = Path("/project")):
    return parse(f"[tool.ckpt-doctor]\n{table}", root / "pyproject.toml")


@pytest.mark.parametrize(
    ("table", "option", "expected"),
    [
        ("steps-per-epoch = 8640", "steps_per_epoch", 8640),
        ('lradj = "TST"', "lradj", "TST"),
        ("learning-rate = 4e-6", "learning_rate", 4e-6),
        ('select = ["E", "R"]', "select", ["E", "R"]),
        ('ignore = "E601"', "ignore", ["E601"]),
        ("deep = true", "deep", True),
        ('fail-on = "error"', "fail_on", "error"),
    ],
)
def test_a_key_is_the_option_of_that_name(table: str, option: str, expected: object) -> None:
    assert settings(table).options == {option: expected}


def test_a_log_is_looked_for_beside_the_pyproject() -> None:
    assert settings('log = "logs/train.log"').options == {"log": ["/project/logs/train.log"]}


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("steps_per_epoch = 5", "steps_per_epoch"),
        ("dry-run = true", "dry-run"),
        ("deep = 1", "deep must be true or false, not 1"),
        ("patience = true", "patience must be a whole number above 0, not True"),
        ("patience = 2.5", "patience must be a whole number above 0, not 2.5"),
        ("world-size = 0", "world-size"),
        ('shuffle = "yes"', "shuffle must be true or false"),
        ("learning-rate = nan", "learning-rate must be a number above 0, not nan"),
        ('learning-rate = "4e-06"', "learning-rate"),
        ("pct-start = 2", "pct-start must be a number from 0 to 1, not 2"),
        ('lradj = "tst"', "lradj must be one of TST, COS, type1"),
        ('format = "xml"', "format must be one of table, json, sarif"),
        ('fail-on = "info"', "fail-on must be one of error, warning, never"),
        ("log = [3]", "log must be a path or a list of paths"),
        ("select = [1]", "select"),
        ("lradj = []", "lradj"),
        ("per-path-ignores = 3", "per-path-ignores"),
        ('per-path-ignores = {"*" = [3]}', "per-path-ignores"),
        ('per-path-ignores = {"*" = ["Z9"]}', "per-path-ignores names 'Z9', which is not the code or name of a rule"),
        ('per-path-ignores = {"*" = [""]}', "per-path-ignores names ''"),
    ],
)
def test_what_a_table_may_not_hold_is_named_with_its_file(table: str, named: str) -> None:
    with pytest.raises(UsageError, match=rf"/project/pyproject\.toml.*{named}"):
        settings(table)


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as refused:
        settings("failon = 1")
    assert all(key in str(refused.value) for key in (*keys(), "per-path-ignores"))


@pytest.mark.parametrize("text", ["tool = 3", "tool = []", "[tool.other]\nckpt-doctor = 1", ""])
def test_a_file_without_our_table_says_nothing(text: str) -> None:
    assert parse(text, Path("pyproject.toml")).options == {}


def test_a_file_that_is_no_toml_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"pyproject\.toml is not valid TOML"):
        parse("[tool.ckpt-doctor\n", Path("pyproject.toml"))


def test_the_nearest_pyproject_upwards_counts(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.ckpt-doctor]\npatience = 3\n")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert read_settings(inner).options == {"patience": 3}
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\n")
    assert read_settings(inner).options == {}


def test_a_pyproject_of_another_tool_is_not_even_parsed(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("not = [valid")
    assert read_settings(tmp_path).source is None


@pytest.mark.parametrize(
    ("glob", "codes", "path", "expected"),
    [
        ("old/*", ["R506"], "/project/old/run/checkpoint", True),
        ("old", ["R506"], "/project/old/run/checkpoint", True),
        ("**/checkpoint_step_5", ["R"], "/project/run/checkpoint_step_5/checkpoint.pt", True),
        ("old/*", ["rate-jump"], "/project/old/run", True),
        ("old/*", ["E601"], "/project/old/run", False),
        ("new/*", ["R506"], "/project/old/run", False),
        ("/else/*", ["R506"], "/else/run", True),
    ],
)
def test_a_glob_silences_rules_for_the_paths_below_it(glob: str, codes: list[str], path: str, expected: bool) -> None:
    table = settings(f'per-path-ignores = {{"{glob}" = {codes}}}')
    assert is_ignored(FINDING, Path(path), table) is expected


def test_without_a_file_nothing_is_silenced() -> None:
    assert not is_ignored(FINDING, Path("run"), read_settings(Path("/")))


def variables(command: click.Command) -> dict[str, str]:
    """Option -> environment variable, of those that have one."""
    return {option.opts[-1]: str(option.envvar) for option in command.params if option.envvar}


def test_every_key_is_an_option_that_has_a_variable_and_no_other_has_one() -> None:
    commands = [app.get_command(click.Context(app), name) for name in COMMANDS]
    found = {option: variable for command in commands if command for option, variable in variables(command).items()}
    assert {f"--{key}": f"CKPT_DOCTOR_{key.upper().replace('-', '_')}" for key in keys()} == found


def test_a_variable_is_named_as_the_source_of_its_fact(sample, run, monkeypatch: pytest.MonkeyPatch) -> None:
    sample("first-patch-type1")
    Path("pyproject.toml").write_text("[tool.ckpt-doctor]\npatience = 3\n")
    monkeypatch.setenv("CKPT_DOCTOR_PATIENCE", "7")
    monkeypatch.setenv("CKPT_DOCTOR_SHUFFLE", "0")

    def evidence(*options: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(run("scan", "--format", "json", *options).stdout)["runs"][0]["evidence"]
        return found

    assert ("CKPT_DOCTOR_PATIENCE", "CKPT_DOCTOR_SHUFFLE") == (evidence()["patience"], evidence()["shuffle"])
    assert "--patience" == evidence("--patience", "8")["patience"]
    monkeypatch.setenv("CKPT_DOCTOR_PATIENCE", "")
    assert "pyproject.toml" == evidence()["patience"]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("FAIL_ON", "error", 0),
        ("IGNORE", "E601,R", 0),
        ("IGNORE", "E601 R504", 1),
        ("SELECT", "F", 0),
        ("FAIL_ON", "", 1),
    ],
)
def test_a_variable_counts_as_its_option(sample, run, monkeypatch, variable: str, value: str, expected: int) -> None:
    sample("first-patch-type1")
    monkeypatch.setenv(f"CKPT_DOCTOR_{variable}", value)
    assert expected == run("scan").exit_code


def test_a_variable_with_a_wrong_value_is_named(sample, run, monkeypatch: pytest.MonkeyPatch) -> None:
    sample("first-patch-type1")
    assert "'--fail-on'" in run("scan", "--fail-on", "bad").stderr
    monkeypatch.setenv("CKPT_DOCTOR_FAIL_ON", "bad")
    assert "CKPT_DOCTOR_FAIL_ON" in run("scan").stderr


def test_what_only_some_commands_know_does_not_stop_the_others(sample, run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A format that scripts would not read, rules of scripts, a fact of a training command."""
    run_folder = sample("complete-TST")
    monkeypatch.setenv("CKPT_DOCTOR_FORMAT", "html")
    monkeypatch.setenv("CKPT_DOCTOR_SELECT", "E601")
    monkeypatch.setenv("CKPT_DOCTOR_LRADJ", "TST")
    assert run("latest", run_folder, "--repairable").stdout.startswith(str(run_folder))
    assert 0 == run("rule", "E601").exit_code
    Path("train.py").write_text("pass\n")
    linted = run("lint", "train.py")
    assert (0, True) == (linted.exit_code, linted.stdout.lstrip().startswith("<!doctype html>"))
    assert 0 == run("inspect", run_folder / "checkpoint").exit_code


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_help_names_the_settings_of_a_command_and_no_others(run, name: str) -> None:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    shown = " ".join(run(name, "--help").output.split())
    named = shown.partition("Settings: ")[2].partition(": each can be set")[0]
    assert [option.removeprefix("--") for option in variables(command)] == (named.split(", ") if named else [])
