"""SARIF: valid by the standard's own schema, whatever the names, with whole sentences and places."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ckpt_doctor.cli.rules import all_rules
from ckpt_doctor.reports.sarif import descriptor, sarif, sentence, uri
from ckpt_doctor.types import Finding, Located
from ckpt_doctor.version import HOME
from tests.reports.report_samples import IN_SCRIPT, NO_BEST_SCORE, example, hostile, placed

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RULE = SimpleNamespace(
    code="E601", name="missing-best-score", severity="warning", manual="What.\n\nWhy.", by_trainers=()
)

SCHEMA = Draft202012Validator(
    json.loads(Path(__file__).with_name("sarif-2.1.0.json").read_text(encoding="utf-8-sig")),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)


def sarif_log(items: list[Located]) -> Any:
    return json.loads(sarif(items, [RULE]))


@pytest.mark.parametrize("items", [[], placed(example()), placed(hostile()), [IN_SCRIPT]], ids=range(4))
def test_sarif_is_valid_by_the_schema_of_the_standard(items: list[Located]) -> None:
    log = sarif_log(items)
    assert [error.message for error in SCHEMA.iter_errors(log)] == []
    assert len(log["runs"][0]["results"]) == len(items)


def test_the_schema_refuses_what_is_no_sarif() -> None:
    log = sarif_log([IN_SCRIPT])
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert not SCHEMA.is_valid(log)


@given(st.text(), st.text(min_size=1), st.integers(1), st.integers(-5, 5))
def test_sarif_is_valid_whatever_the_names_and_lines(message: str, name: str, line: int, more: int) -> None:
    finding = Finding("E1", "a-name", "error", message or "m", fix=message)
    log = sarif_log([Located(finding, Path(name.replace("\0", "") or "x"), line, 1, line + more)])
    assert [error.message for error in SCHEMA.iter_errors(log)] == []


def test_each_sarif_result_points_at_the_rule_of_its_code() -> None:
    [run] = sarif_log(placed(example()))["runs"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_a_known_rule_brings_its_manual() -> None:
    [rule] = sarif_log([IN_SCRIPT])["runs"][0]["tool"]["driver"]["rules"]
    assert (rule["shortDescription"]["text"], rule["help"]["text"]) == ("What.", "What.\n\nWhy.")


def test_rules_and_tool_lead_to_the_project_s_page() -> None:
    driver = sarif_log([IN_SCRIPT])["runs"][0]["tool"]["driver"]
    assert driver["informationUri"] == HOME
    assert driver["rules"][0]["helpUri"] == f"{HOME}#e601"
    assert driver["rules"][0]["help"]["markdown"] == "What.\n\nWhy."


def test_the_page_is_the_one_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert HOME == project["urls"]["Homepage"]


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.code)
def test_what_a_rule_is_about_is_a_whole_sentence(rule) -> None:
    text = descriptor(rule.code, rule)["shortDescription"]["text"]
    assert re.fullmatch(r"[^a-z].*[.!?]|[\w`]*[^\w ,:;]\S* .*[.!?]", text), text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the file is empty", "The file is empty."),
        ("no `best_score`: it starts blind.", "No `best_score`: it starts blind."),
        ("torch.load raises", "torch.load raises."),
        ("global_step says 5", "global_step says 5."),
        ("R506 remains", "R506 remains."),
    ],
)
def test_a_sentence_begins_and_ends_as_one(text: str, expected: str) -> None:
    assert sentence(text) == expected


def test_a_result_says_what_where_and_how_it_is_cured_with_the_path() -> None:
    [result] = sarif_log([Located(NO_BEST_SCORE, Path("a run/checkpoint"))])["runs"][0]["results"]
    text = result["message"]["text"]
    assert text.endswith("Where: best_score. Cure: ckpt-doctor migrate --add-best-score 'a run/checkpoint'.")


def test_a_finding_in_a_script_has_its_lines() -> None:
    [result] = sarif_log([IN_SCRIPT])["runs"][0]["results"]
    region = {"startLine": 3, "startColumn": 5, "endLine": 4}
    assert result["locations"][0]["physicalLocation"]["region"] == region


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_sarif_uri_leads_back_to_the_path_and_is_no_other_scheme(name: str) -> None:
    path = Path("run") / name
    parts = urlsplit(uri(path))
    assert parts.scheme == ("file" if path.is_absolute() else "")
    assert unquote(parts.path) == path.as_posix()
    assert re.fullmatch(r"[\w/.%~:-]*", uri(path), re.ASCII)
