"""What linting found, and the rules as JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ckpt_doctor.reports import json_v1
from ckpt_doctor.reports.linting import linted, script_table
from ckpt_doctor.types import Linted, Located
from tests.reports.report_samples import DEEP, HOSTILE, NO_BEST_SCORE, RULES

ITEM = Located(NO_BEST_SCORE, Path("run.py"), 12, 5, 13, suggestion="if keep:\n    save()", excerpt="save()")
LINTED = Linted((Path("run.py"), Path("b.py")), (ITEM, Located(NO_BEST_SCORE, Path("b.ipynb"), 2, cell=3)), (DEEP,))


def test_a_finding_names_its_line_and_its_replacement_as_code() -> None:
    printed = script_table(LINTED)
    assert "line 12: E601 missing-best-score:" in printed
    assert "       now:     save()\n       instead:\n           if keep:\n               save()\n" in printed
    assert "cell 3, line 2: E601" in printed


def test_the_end_counts_scripts_and_findings_and_says_what_was_not_read() -> None:
    printed = " ".join(script_table(LINTED).split())
    assert "not checked: stored checksums and NaN" in printed
    assert printed.endswith("2 scripts: 0 errors, 2 warnings.")


def test_json_gives_lines_and_suggestions() -> None:
    document = json.loads(linted(LINTED, "json"))
    assert document["findings"][0]["line"] == 12
    assert document["findings"][0]["code_line"] == "save()"
    assert document["findings"][0]["suggestion"] == "if keep:\n    save()"
    assert document["summary"] == {"scripts": 2, "errors": 0, "warnings": 2}


def test_nothing_from_a_script_acts_on_the_terminal() -> None:
    printed = script_table(Linted((), (Located(NO_BEST_SCORE, Path(HOSTILE), 1, suggestion=HOSTILE),)))
    assert not re.search(r"[^\n -\x7e]", printed)


def test_the_rules_as_json_bring_their_manuals() -> None:
    assert json.loads(json_v1.rules(RULES))[0]["manual"] == "Is missing.\n\nWhy: it is."
    assert ["One.", "Two.", "Three."] == [own["manual"] for own in json.loads(json_v1.rules(RULES))[0]["by_trainers"]]
