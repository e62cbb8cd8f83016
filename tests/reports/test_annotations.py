"""SARIF, GitHub and Markdown: well-formed, in the standard's terms, and nothing that a name can break out of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_samples import NO_BEST_SCORE, RATE_JUMP, RUN, example, file, hostile, report

from ckpt_doctor.reports.github import annotation, github
from ckpt_doctor.reports.located import Located, located
from ckpt_doctor.reports.markdown import code, markdown, markdown_list, prose
from ckpt_doctor.reports.sarif import sarif, uri
from ckpt_doctor.types import Finding

IN_SCRIPT = Located(NO_BEST_SCORE, Path("run_main.py"), line=3, column=5, end_line=4, suggestion="pass")
RULE = SimpleNamespace(code="E601", name="missing-best-score", severity="warning", manual="What.\n\nWhy.")

# Of SARIF 2.1.0: object -> its properties that may be used here, the required ones first (sections 3.13 to 3.49).
SARIF = {
    "log": (["version", "runs"], ["$schema"]),
    "run": (["tool"], ["results", "columnKind"]),
    "driver": (["name"], ["version", "rules"]),
    "rule": (["id"], ["name", "shortDescription", "fullDescription", "help", "defaultConfiguration"]),
    "result": (["message"], ["ruleId", "ruleIndex", "level", "locations"]),
    "region": ([], ["startLine", "startColumn", "endLine"]),
}


def sarif_log(items: list[Located]) -> Any:
    return json.loads(sarif(items, version="1.2.3", rules=[RULE]))


def check(kind: str, node: dict[str, Any]) -> None:
    required, optional = SARIF[kind]
    assert set(required) <= set(node) <= {*required, *optional}, kind


@pytest.mark.parametrize("items", [[], located(example()), located(hostile()), [IN_SCRIPT]], ids=range(4))
def test_sarif_has_the_structure_of_the_standard(items: list[Located]) -> None:
    log = sarif_log(items)
    check("log", log)
    assert log["version"] == "2.1.0"
    [run] = log["runs"]
    check("run", run)
    check("driver", run["tool"]["driver"])
    for rule in run["tool"]["driver"]["rules"]:
        check("rule", rule)
    for result in run["results"]:
        check("result", result)
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        [location] = result["locations"]
        check("region", location["physicalLocation"]["region"])


def test_each_sarif_result_points_at_the_rule_of_its_code() -> None:
    [run] = sarif_log(located(example()))["runs"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def test_a_known_rule_brings_its_manual() -> None:
    [rule] = sarif_log([IN_SCRIPT])["runs"][0]["tool"]["driver"]["rules"]
    assert (rule["shortDescription"]["text"], rule["help"]["text"]) == ("What.", "What.\n\nWhy.")


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


def test_one_annotation_per_finding() -> None:
    assert len(github(located(example())).splitlines()) == 5


def test_markdown_tells_the_same_finding_once_with_its_cure() -> None:
    text = markdown(example())
    assert text.count("E601") == 1
    assert "`ckpt-doctor migrate --add-best-score`" in text


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
