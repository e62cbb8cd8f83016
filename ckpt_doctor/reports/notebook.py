"""HTML for `_repr_html_`: what a notebook shows of a report or a check. Inherits the notebook's fonts and colours."""

from __future__ import annotations

from html import escape

from ckpt_doctor.reports import text
from ckpt_doctor.reports.html import facts_list, file_table, findings
from ckpt_doctor.reports.plan import outlook, sentences, verdict_words
from ckpt_doctor.reports.table import contents, nothing_found, summary
from ckpt_doctor.types import Report

# Text has the notebook's own colour, for no other is legible on light and on dark themes, whose choice CSS can't always
# see; colour is in marks beside it. The class is doubled where Jupyter's own rules for td, dt and code would win.
STYLE = """
.ckpt-doctor.ckpt-doctor td, .ckpt-doctor.ckpt-doctor th { padding: .2em .6em; text-align: left; white-space: nowrap; }
.ckpt-doctor.ckpt-doctor .n { text-align: right; } .ckpt-doctor .dim { opacity: .7; }
.ckpt-doctor .scroll { overflow-x: auto; } .ckpt-doctor.ckpt-doctor table { margin: .4em 0; }
.ckpt-doctor h4 { font-size: 1em; font-weight: 600; line-height: 1.35; overflow-wrap: anywhere; margin: 1em 0 .2em; }
.ckpt-doctor dl { display: grid; grid-template-columns: fit-content(45%) 1fr; gap: 0 1em; margin: .3em 0; }
.ckpt-doctor.ckpt-doctor dt, .ckpt-doctor.ckpt-doctor dd { float: none; width: auto; margin: 0; font-weight: normal; }
.ckpt-doctor dd { opacity: .7; overflow-wrap: anywhere; }
.ckpt-doctor .finding { border-left: 3px solid #4493f8; padding-left: .8em; margin: .6em 0; }
.ckpt-doctor .finding p { margin: .2em 0; }
.ckpt-doctor.ckpt-doctor code { background: rgba(128, 128, 128, .18); white-space: normal; overflow-wrap: anywhere; }
.ckpt-doctor .error { border-color: #e5534b; } .ckpt-doctor .warning { border-color: #c69026; }
.ckpt-doctor .ok::before { color: #2da44e; } .ckpt-doctor .repairable::before { color: #c69026; }
.ckpt-doctor .broken::before { color: #e5534b; }
.ckpt-doctor .ok::before, .ckpt-doctor .repairable::before, .ckpt-doctor .broken::before { content: "\\25cf\\a0"; }
"""


def report_fragment(report: Report) -> str:
    """A scan's report."""
    if not report.files and not report.findings:
        return frame([f"<p>{_text(nothing_found(report))}</p>"])
    parts = []
    for run in report.runs:
        parts += [f"<h4>{_text(run.run.path)}</h4>", f'<p class="dim">{contents(run)}</p>', facts_list(run)]
        parts += [file_table(run)] if run.files else []
        parts += findings(run, report)
    return frame([*parts, f'<p class="dim">{_text(summary(report))}</p>'])


def plan_fragment(report: Report) -> str:
    """The report of a check: what the trainer will do, the findings, the verdict."""
    if not report.files:
        return report_fragment(report)
    run, file = report.runs[0], report.files[0]
    parts = [f"<h4>{_text(file.checkpoint.path)}</h4>", f"<p>resume: {_text(outlook(file))}</p>"]
    if file.plan is not None and file.member.state.epoch is not None:
        clauses = "".join(f"<li>{_text(s)}</li>" for s in sentences(file, file.plan, run.run.facts))
        parts.append(f"<p>The trainer</p><ul>{clauses}</ul>")
    parts += findings(run, report)
    if file.plan is not None and file.plan.flags:
        parts.append(f"<p>resume with: <code>{_text(' '.join(file.plan.flags))}</code></p>")
    parts.append(
        f'<p>verdict: <strong class="{file.verdict}">{file.outlook}</strong>: {_text(verdict_words(file))}.</p>'
    )
    return frame(parts)


def frame(parts: list[str]) -> str:
    """A fragment with its own style, which touches nothing else on the page."""
    return f'<div class="ckpt-doctor"><style>{STYLE}</style>{"".join(parts)}</div>'


def _text(value: object) -> str:
    return escape(text.clean(value))
