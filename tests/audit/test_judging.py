"""From findings to a verdict and to what happens on a resume; what a person may accept or select."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor.audit import scan
from ckpt_doctor.audit.judging import codes, counting, packages, resume_of, verdict_of
from ckpt_doctor.errors import UsageError
from ckpt_doctor.trainers import file_rules
from ckpt_doctor.types import Case, Finding, Resume, Verdict

CURABLE = Finding("E601", "missing-best-score", "error", "m", migration="add-best-score")
INCURABLE = Finding("F101", "truncated", "error", "m")
WARNED = Finding("R506", "rate-jump", "warning", "m")
NOTED = Finding("S202", "needs-globals", "info", "m")
LEFT = Finding("P411", "diverged-before", "warning", "m")
OPEN = Finding("P413", "fact-open", "warning", "m")


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ([], "ok"),
        ([NOTED], "ok"),
        ([WARNED], "ok"),
        ([CURABLE, WARNED], "repairable"),
        ([CURABLE, INCURABLE], "broken"),
    ],
)
def test_one_error_that_nothing_cures_breaks_a_file_and_one_cure_makes_it_repairable(
    findings: list[Finding], verdict: Verdict
) -> None:
    assert verdict_of(findings) == verdict


@pytest.mark.parametrize(
    ("findings", "otherwise", "resume"),
    [
        ([], "identical", "identical"),
        ([NOTED], "identical", "identical"),
        ([WARNED], "identical", "differs"),
        ([WARNED], "open", "open"),
        ([CURABLE], "identical", "impossible"),
        ([INCURABLE], "not judged", "impossible"),
        ([OPEN], "identical", "open"),
        ([OPEN, LEFT], "open", "differs"),
        ([LEFT], "not judged", "not judged"),
    ],
)
def test_a_resume_is_as_its_worst_finding_lets_it_be(
    findings: list[Finding], otherwise: Resume, resume: Resume
) -> None:
    """What has left its path stays off it, whatever else is open; of what nobody judged nothing is promised."""
    assert resume_of(findings, otherwise) == resume


def test_a_value_that_a_rule_cannot_judge_is_an_error_of_that_rule(sample, monkeypatch) -> None:
    """The other rules, and the other files, are judged all the same; the file is not ok."""

    def fails(_case: Case):
        raise TypeError("unhashable")

    def rules(name: str, ours: bool):
        return [replace(rule, check=fails) if rule.code == "E603" else rule for rule in file_rules(name, ours)]

    run = sample("complete-TST")
    usual = {file.checkpoint.path: {f.code for f in file.findings} for file in scan([run]).files}
    monkeypatch.setattr("ckpt_doctor.audit.judging.file_rules", rules)
    for file in scan([run]).files:
        mine = [f for f in file.findings if f.code == "E603"]
        assert ["error"] == [f.severity for f in mine]
        assert "TypeError: unhashable" in mine[0].message
        assert {f.code for f in file.findings} >= usual[file.checkpoint.path]
        assert (file.verdict, file.resume) == ("broken", "impossible")


def test_what_is_ignored_or_silenced_does_not_count() -> None:
    path = Path("checkpoint")
    assert [True, False] == [counting(["E601"], [])(finding, path) for finding in (WARNED, CURABLE)]
    silenced = counting([], [], lambda finding, where: finding is WARNED and where == path)
    assert [False, True] == [silenced(WARNED, where) for where in (path, Path("other"))]


def test_codes_are_named_by_themselves_their_beginning_or_their_name() -> None:
    assert {"E601"} == codes(["E601"]) == codes(["missing-best-score"])
    assert {"E601", "E602"} < codes(["E6"])
    assert set() == codes(["X901"])  # settings name the rules for scripts beside those for checkpoints
    for word in ("E699", "", "no-such-rule"):
        with pytest.raises(UsageError, match="no rule has the code or name"):
            codes([word])


def test_only_a_package_that_has_no_list_of_its_own_is_trusted() -> None:
    assert ("transformers", "my_project.models") == packages(["transformers", "my_project.models"])
    for word in ("torch", "numpy", "builtins", "os"):
        with pytest.raises(UsageError, match="judged by name"):
            packages([word])
    for word in ("", "my-project", "models."):
        with pytest.raises(UsageError, match="not the name of a package"):
            packages([word])
