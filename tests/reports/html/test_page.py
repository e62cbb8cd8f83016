"""The HTML page and the notebook fragments: self-contained, well-formed, and no name gets out of its text."""

from __future__ import annotations

import base64
import hashlib
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports.html import MOST_ROWS, checkpoint_fragment, fragment, migrations_fragment, scripts_page
from ckpt_doctor.trainers import all_rules
from ckpt_doctor.types import Edit, Linted, Located, MigrationResult, NotChecked, Report, TrainerManual
from ckpt_doctor.types.record import record
from ckpt_doctor.version import __version__
from tests.reports.html.markup import page, tags
from tests.reports.report_samples import (
    CURVE,
    DEEP,
    HOSTILE,
    NO_BEST_SCORE,
    RUN,
    STEP,
    advised,
    example,
    file,
    hostile,
    hostile_curve,
    hostile_migration,
    report,
    resumable,
)


@record(frozen=True)
class HostileRule:
    code = "X0"
    name = HOSTILE
    severity = "error"
    manual = HOSTILE
    by_trainers = (TrainerManual(("x",), HOSTILE, "error", HOSTILE),)


PAGES = {
    "example": page(advised(), [CURVE], rules=all_rules),
    "check": page(report(file(STEP, NO_BEST_SCORE)), [CURVE], plan=True),
    "hostile": page(hostile(), [hostile_curve()], rules=lambda: [HostileRule()]),
    "empty": page(Report((), 0.1, (Path(HOSTILE),))),
    "scripts": scripts_page(
        Linted((Path("a.py"),), (Located(NO_BEST_SCORE, Path(HOSTILE), 3, suggestion=HOSTILE),), (DEEP,))
    ),
    "notebook report": fragment(example(), [CURVE]),
    "notebook plan": fragment(report(file(RUN / HOSTILE, NO_BEST_SCORE)), plan=True),
    "notebook hostile": fragment(hostile(), [hostile_curve()]),
    "notebook checkpoint": checkpoint_fragment(hostile().files[0].checkpoint),
    "notebook migrations": migrations_fragment([hostile_migration()]),
}


@pytest.mark.parametrize("name", PAGES)
def test_tags_nest(name: str) -> None:
    assert tags(PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_loaded_and_nothing_of_a_name_is_run(name: str) -> None:
    for tag, attributes in tags(PAGES[name]):
        assert tag not in ("link", "img", "iframe", "object", "base", "form")
        assert not [key for key in attributes if key.startswith("on") or key in ("src", "srcset")]
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in PAGES[name]
    assert "@import" not in PAGES[name]


@pytest.mark.parametrize("name", PAGES)
def test_the_one_script_of_a_page_is_the_one_that_its_policy_allows(name: str) -> None:
    scripts = re.findall("<script>(.*?)</script>", PAGES[name], re.S)
    if name.startswith("notebook"):
        assert not scripts
        return
    [script] = scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in PAGES[name].replace("&#39;", "'")


@pytest.mark.parametrize("name", PAGES)
def test_control_characters_of_names_are_shown_as_escapes(name: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", PAGES[name])


@given(st.text(min_size=1))
def test_any_name_stays_text(name: str) -> None:
    """However a file is called, the page has the tags that it has for a plain name."""
    plain, odd = (
        report(file(RUN / part, NO_BEST_SCORE, role=None)) for part in ("name", name.replace("/", "").strip(".") or "x")
    )
    assert [tag for tag, _ in tags(page(plain))] == [tag for tag, _ in tags(page(odd))]


def test_the_page_follows_the_readers_theme() -> None:
    assert "prefers-color-scheme: dark" in PAGES["example"]


def test_a_run_with_a_curve_gets_rates_losses_and_what_departs_twice() -> None:
    named = [attributes["aria-label"] for tag, attributes in tags(PAGES["example"]) if "aria-label" in attributes]
    assert len(named) == 4
    assert all(named)


def test_a_page_begins_with_what_to_do() -> None:
    words = re.sub("<[^>]*>", " ", PAGES["example"].partition("</h2>")[2])
    assert words.split()[:3] == ["resume", "from", "checkpoint_step_18000"]


def test_the_checkpoint_to_resume_from_stands_out_in_text_table_and_chart() -> None:
    assert PAGES["example"].count("<strong>checkpoint_step_18000</strong>") == 2
    assert '<code class="copy">ckpt-doctor migrate --all</code>' in PAGES["example"]
    assert [a["class"] for tag, a in tags(PAGES["example"]) if tag == "line"].count("advised") == 1


def test_of_many_files_those_that_call_for_nothing_are_folded() -> None:
    healthy = [file(RUN / f"checkpoint_{n}.pt", role=None) for n in range(MOST_ROWS)]
    shown = page(report(*healthy, file(RUN / "bad.pt", NO_BEST_SCORE, role=None)))
    table, folded = shown.split(f"{MOST_ROWS} more, which call for nothing")
    assert "<td>bad.pt</td>" in table
    assert "<td>checkpoint_0.pt</td>" not in table
    assert f'<td class="n dim">{MOST_ROWS}</td><td>checkpoint_{MOST_ROWS - 1}.pt</td>' in folded
    assert "more, which call for nothing" not in page(report(*healthy))


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        (("a/b/c", "a/b/d/e"), ["c", "d/e"]),
        (("/x/a", "b"), ["/x/a", "b"]),
        ((".", "a"), [".", "a"]),
        (("../x", "y"), ["../x", "y"]),
        ((), []),
    ],
)
def test_runs_are_named_from_the_folder_that_holds_them_all(paths: tuple[str, ...], shown: list[str]) -> None:
    runs = tuple(run for path in paths for run in report(file(RUN / "a", NO_BEST_SCORE), path=Path(path)).runs)
    drawn = page(Report((*runs, *runs), 0.1))
    assert re.findall(r'<a href="#run-\d+">(.*?)</a>', drawn) == shown * 2


def test_each_code_leads_to_its_manual_on_the_page() -> None:
    found = tags(PAGES["example"])
    wanted = {(a["href"] or "")[1:] for tag, a in found if tag == "a"}
    assert wanted == {"E601", "R506"}
    assert wanted <= {a.get("id") for _, a in found}
    assert "EarlyStopping restarts blind" in PAGES["example"]
    assert "<h3>In checkpoints of the Hugging Face Trainer (warning)</h3>" in PAGES["example"]


def test_a_page_tells_when_and_by_which_version_it_was_made() -> None:
    assert re.search(rf"ckpt-doctor {re.escape(__version__)}, \d\d \w+ 20\d\d, \d\d:\d\d", PAGES["example"])


@pytest.mark.parametrize("name", ["check", "notebook plan"])
def test_what_is_shown_of_a_check_has_the_plan_the_flags_and_the_verdict(name: str) -> None:
    shown = PAGES[name]
    assert "starts at epoch 1 of 10" in shown
    assert '<code class="copy">--learning_rate 4e-06</code>' in shown
    assert '<strong class="repairable">repairable</strong>' in shown


def test_the_page_has_what_a_resume_does_now_and_once_repaired() -> None:
    arrow = '0.0001 <span class="dim">→</span> <strong>4e-06</strong>'
    assert arrow in page(report(resumable(next_lr=1e-4)), [CURVE])
    assert "→" not in page(report(resumable(best_score=-0.4123456)), [CURVE])


def test_runs_are_listed_on_top_with_links_that_lead_to_them() -> None:
    one = example().runs[0]
    found = tags(page(replace(example(), runs=(one, one))))
    wanted = [a["href"] or "" for tag, a in found if tag == "a" and "#run" in (a["href"] or "")]
    assert wanted == [f"#{a['id']}" for tag, a in found if tag == "section"]


def test_an_open_question_is_on_the_page_with_what_settles_it() -> None:
    point = NotChecked("the schedule", "two modes fit", "--lradj")
    assert "To settle it: <code>--lradj</code>" in page(report(file(RUN / "checkpoint", not_checked=(point,))))


def test_a_report_shows_itself_in_a_notebook() -> None:
    """IPython calls `_repr_html_` of what a cell ends with."""
    assert "resume from" in (advised()._repr_html_() or "")
    assert Report((), 0.1)._repr_html_() is None


def test_a_notebook_shows_what_a_checkpoint_holds() -> None:
    shown = checkpoint_fragment(example().files[0].checkpoint)
    assert "<td>epoch</td><td>2</td>" in shown
    assert "torch-zip" in shown


def test_a_notebook_shows_each_edit_of_a_migration_with_its_evidence() -> None:
    edit = Edit(("scheduler", "last_epoch"), 119, 120, "the log")
    shown = migrations_fragment([MigrationResult(STEP, "planned", (edit,))])
    assert "<td>scheduler.last_epoch</td><td>119 -&gt; 120</td><td>the log</td>" in shown


def test_a_report_can_be_sent_to_another_process_and_still_shows_itself() -> None:
    """`check_resume` sends its answer to the other ranks by pickle."""
    sent = pickle.loads(pickle.dumps(example()))
    assert sent._repr_html_() == example()._repr_html_()
    assert sent == replace(sent, display=None)
