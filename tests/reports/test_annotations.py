"""SARIF, GitHub and Markdown: well-formed, in the standard's terms, and nothing that a name can break out of."""

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
from ckpt_doctor.reports import judged
from ckpt_doctor.reports.github import annotation, escape_data, escape_property, github
from ckpt_doctor.reports.groups import located
from ckpt_doctor.reports.markdown import code, markdown_list, prose
from ckpt_doctor.reports.sarif import descriptor, sarif, sentence, uri
from ckpt_doctor.types import Finding, Located, Report
from ckpt_doctor.version import HOME
from tests.reports.report_samples import NO_BEST_SCORE, RATE_JUMP, RUN, example, file, hostile, report

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

IN_SCRIPT = Located(NO_BEST_SCORE, Path("run_main.py"), line=3, column=5, end_line=4, suggestion="pass")
RULE = SimpleNamespace(code="E601", name="missing-best-score", severity="warning", manual="What.\n\nWhy.")

SCHEMA = Draft202012Validator(
    json.loads(Path(__file__).with_name("sarif-2.1.0.json").read_text(encoding="utf-8-sig")),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)


def placed(judged: Report) -> list[Located]:
    return [item for run in judged.runs for item in located(run)]


def markdown(report: Report, *, plan: bool = False) -> str:
    return judged(report, "markdown", plan=plan)


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


def test_a_github_annotation_has_level_place_and_title() -> None:
    line = annotation(IN_SCRIPT)
    assert line.startswith("::warning file=run_main.py,line=3,col=5,endLine=4,title=E601 missing-best-score::Early")


def test_an_info_is_a_notice() -> None:
    assert annotation(Located(Finding("S203", "n", "info", "m"), Path("a"))).startswith("::notice ")


@given(st.text(), st.text(min_size=1))
def test_nothing_in_a_name_or_a_message_starts_a_second_command(name: str, message: str) -> None:
    """One line per finding, and the properties come back when unescaped as the runner does it."""
    line = annotation(Located(Finding("E1", "a-name", "error", message), Path("x") / name.replace("\0", "")))
    assert len(line.splitlines()) == 1
    head, _, _ = line.removeprefix("::error ").partition("::")
    keys = [part.partition("=")[0] for part in head.split(",")]
    assert keys == ["file", "title"]


@pytest.mark.parametrize(
    ("text", "data", "value"),
    [
        ("50%", "50%25", "50%25"),
        ("a: b, c", "a: b, c", "a%3A b%2C c"),
        ("a::b", "a::b", "a%3A%3Ab"),
        ("%0A", "%250A", "%250A"),
    ],
)
def test_messages_and_properties_are_escaped_as_the_runner_reads_them(text: str, data: str, value: str) -> None:
    assert (escape_data(text), escape_property(text)) == (data, value)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_the_runner_gets_the_path_and_the_message_back(text: str) -> None:
    """Unescaped in the order of the runner's parser (`ActionCommand.cs`): `%25` last."""
    line = annotation(Located(Finding("E1", "a-name", "error", text), Path("x", text.replace("/", "-"))))
    head, _, message = line.removeprefix("::error ").partition("::")
    place = head.removeprefix("file=").removesuffix(",title=E1 a-name")
    for sign, code_of in ((",", "%2C"), (":", "%3A"), ("\n", "%0A"), ("\r", "%0D"), ("%", "%25")):
        place = place.replace(code_of, sign)
    assert Path("x", text.replace("/", "-")).as_posix() == place
    assert text == message.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")


def test_one_annotation_per_finding() -> None:
    assert len(github(placed(example())).splitlines()) == 5


def test_markdown_tells_the_same_finding_once_with_its_cure() -> None:
    text = markdown(example())
    assert text.count("E601") == 1
    assert "`ckpt-doctor migrate --add-best-score`" in text


def test_the_markdown_of_a_check_begins_with_the_flags_the_verdict_and_the_plan() -> None:
    text = markdown(report(file(RUN / "checkpoint", NO_BEST_SCORE)), plan=True)
    order = ["Resume with: `--learning_rate 4e-06`", "**repairable**: migrate", "Resume: differs", "starts at epoch 1"]
    places = [text.index(words) for words in (*order, "| file |")]
    assert places == sorted(places)


def test_every_row_of_the_markdown_table_has_the_same_cells() -> None:
    rows = [line for line in markdown(report(file(RUN / "a|b"), file(RUN / "c"))).splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


@given(st.text(alphabet="a_*`<>[]|\\&~$ "))
def test_markup_in_a_sentence_is_escaped(sentence: str) -> None:
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*<>\[\]|&~$]", prose(sentence))


@given(st.text(alphabet="a`\n", min_size=1))
def test_a_code_span_is_longer_fenced_than_any_backticks_inside(value: str) -> None:
    span = code(value)
    fence = re.match("`+", span)[0]  # type: ignore[index]
    inside = span[len(fence) : -len(fence)]
    assert span.endswith(fence)
    assert fence not in re.findall("`+", inside)


def test_no_html_and_no_control_character_of_a_name_reaches_the_page() -> None:
    outside_code = re.sub(r"(`+).*?(?<!`)\1(?!`)", "", markdown(hostile()))
    assert "\x1b" not in outside_code
    assert "<script>" not in outside_code


def test_findings_in_scripts_name_file_line_and_replacement() -> None:
    text = markdown_list([IN_SCRIPT, Located(RATE_JUMP, Path("a.ipynb"), line=2, cell=7)])
    assert "`run_main.py:3`" in text
    assert "instead: `pass`" in text
    assert "`a.ipynb, cell 7, line 2`" in text
