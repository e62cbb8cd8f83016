"""One self-contained HTML page: no script, no network, readable in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ckpt_doctor.reports import text
from ckpt_doctor.reports.charts import Curve, loss_chart, marks, rate_chart
from ckpt_doctor.reports.groups import Group, concerned, grouped, label, unchecked
from ckpt_doctor.reports.located import Located
from ckpt_doctor.reports.scripts import Linted
from ckpt_doctor.reports.table import (
    command,
    contents,
    instance,
    known_facts,
    nothing_found,
    schedule,
    shown_score,
    summary,
)
from ckpt_doctor.types import NotChecked, Report, RunReport

STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --dim: #59636e; --back: #fff; --panel: #f6f8fa; --edge: #d1d9e0;
  --ok: #1a7f37; --repairable: #9a6700; --broken: #cf222e; --info: #0969da; --line: #0969da; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --dim: #9198a1; --back: #0d1117; --panel: #151b23;
  --edge: #3d444d; --ok: #3fb950; --repairable: #d29922; --broken: #f85149; --info: #4493f8; --line: #4493f8; } }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; overflow-wrap: anywhere; margin-bottom: .25rem; }
section { margin: 2rem 0; } p, li { overflow-wrap: anywhere; } .dim { color: var(--dim); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--edge); text-align: left; white-space: nowrap; }
th { color: var(--dim); font-weight: 500; } .n { text-align: right; }
code, pre { font: 13px/1.45 ui-monospace, monospace; background: var(--panel); border-radius: 4px;
  padding: .1rem .3rem; }
pre { padding: .6rem; overflow-x: auto; }
.finding { border-left: 3px solid var(--info); padding: .1rem .9rem; margin: .9rem 0; }
.finding p { margin: .3rem 0; } .error { border-color: var(--broken); } .warning { border-color: var(--repairable); }
td.ok { color: var(--ok); } td.repairable { color: var(--repairable); } td.broken { color: var(--broken); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .5rem 0; }
dt { font-variant-numeric: tabular-nums; } dd { margin: 0; color: var(--dim); overflow-wrap: anywhere; }
figure { margin: 1rem 0; } figcaption { color: var(--dim); font-size: .9em; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--text); }
svg .tick { fill: var(--dim); font-size: 11px; } svg .grid { stroke: var(--edge); stroke-width: 1; }
svg .line { fill: none; stroke: var(--line); stroke-width: 2; }
svg .other { fill: none; stroke: var(--broken); stroke-width: 1.5; stroke-dasharray: 5 4; }
svg .drop { stroke: var(--dim); stroke-width: 1; stroke-dasharray: 2 3; }
svg .repaired { fill: var(--ok); } svg .now { fill: none; stroke: var(--ok); stroke-width: 2; }
svg .repairable .now { stroke: var(--repairable); } svg .broken .now { stroke: var(--broken); }
svg .dot { fill: var(--line); } svg .best { fill: var(--ok); stroke: var(--text); stroke-width: 2; }
"""


def html(report: Report, curves: Sequence[Curve] = ()) -> str:
    """A scan's report as a page; a run with a curve gets its charts."""
    if not report.files and not report.findings:
        return page([f"<p>{_text(nothing_found(report))}</p>"])
    by_run = {curve.run: curve for curve in curves}
    sections = [run_section(run, report, by_run.get(run.run.path)) for run in report.runs]
    return page([*sections, f'<p class="dim">{_text(summary(report))}</p>'])


def page(parts: Sequence[str], title: str = "Checkpoint report") -> str:
    """The frame around the parts. The policy lets a browser load nothing at all, whatever a name has slipped in."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def run_section(run: RunReport, report: Report, curve: Curve | None = None) -> str:
    """One run: facts, files, charts, findings, open points."""
    parts = [f"<h2>{_text(run.run.path)}</h2>", f'<p class="dim">{contents(run)}</p>', facts_list(run)]
    if run.files:
        parts.append(file_table(run))
    if curve is not None:
        parts += charts(run, curve)
    parts += [finding(group, run, report) for group in grouped(run)]
    open_points = [point for point, _ in unchecked(run.files) if point.settle != "--deep"]
    if open_points:
        parts.append(f"<ul>{''.join(map(open_point, open_points))}</ul>")
    return f"<section>\n{chr(10).join(parts)}\n</section>"


def facts_list(run: RunReport) -> str:
    """What is known of the training command, with sources."""
    entries = [f"<dt>{_text(name)}</dt><dd>{_text(source)}</dd>" for name, source in known_facts(run.run.facts)]
    return f"<dl>{''.join(entries)}</dl>" if entries else ""


def file_table(run: RunReport) -> str:
    """The files of a run, numbered as in the chart."""
    heads = ("", "file", "role", "size", "epoch", "step", "schedule", "best score", "verdict")
    rows = []
    for i, file in enumerate(run.files, 1):
        state = file.member.state
        numbers = (text.size(file.checkpoint.size), text.integer(state.epoch), text.integer(state.global_step))
        cells = [
            f'<td class="n dim">{i}</td><td>{_text(label(file, run.run.path))}</td><td>{file.member.role or "-"}</td>'
        ]
        cells += [f'<td class="n">{cell}</td>' for cell in (*numbers, schedule(file), shown_score(file))]
        rows.append(f'<tr>{"".join(cells)}<td class="{file.verdict}">{file.verdict}</td></tr>')
    head = "".join(f'<th class="n">{h}</th>' if 3 <= i <= 7 else f"<th>{h}</th>" for i, h in enumerate(heads))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def charts(run: RunReport, curve: Curve) -> list[str]:
    """The learning rate with the checkpoints on it, and the validation loss."""
    steps = run.run.facts.steps_per_epoch
    places = marks(run, [label(file, run.run.path) for file in run.files])
    drawn = rate_chart(curve, places, steps.value if steps is not None else None)
    losses = loss_chart(curve)
    explained = (
        "Learning rate of the uninterrupted run. At each checkpoint (numbers as in the table): filled, where a resume "
        "continues once the file is repaired; ring, where it continues from the file as it is."
    )
    if curve.resumed:
        explained += f" Dashed: {'; '.join(name for name, _ in curve.resumed)}."
    parts = [f"<figure>{drawn}<figcaption>{_text(explained)}</figcaption></figure>"] if drawn else []
    if losses:
        parts.append(f"<figure>{losses}<figcaption>Validation loss per epoch, from the log.</figcaption></figure>")
    return parts


def finding(group: Group, run: RunReport, report: Report) -> str:
    """A group of findings with its cure."""
    first = group.first
    files = concerned(group, run)
    title = f"{first.code} {first.name}" + (f" ({files})" if files else "")
    parts = [f"<p><strong>{_text(title)}</strong>: {_text(first.message)}</p>"]
    if group.differs:
        rows = []
        for file, other in group.findings:
            where = label(file, run.run.path) if file is not None else "run"
            rows.append(f"<li>{_text(where)}: {_text(instance(other))}</li>")
        parts.append(f"<ul>{''.join(rows)}</ul>")
    if first.fix:
        parts.append(f"<p>cure: <code>{_text(command(group, report.paths))}</code></p>")
    return f'<div class="finding {first.severity}">{"".join(parts)}</div>'


def open_point(point: NotChecked) -> str:
    """What was not checked, and how to settle it."""
    settle = f" To settle it: <code>{_text(point.settle)}</code>" if point.settle else ""
    return f"<li>not checked: {_text(point.what)}: {_text(point.why)}.{settle}</li>"


def scripts_page(linted: Linted) -> str:
    """What linting found, as a page."""
    parts = [script_finding(item) for item in linted.items] or ["<p>No findings.</p>"]
    if linted.not_checked:
        parts.append(f"<ul>{''.join(map(open_point, linted.not_checked))}</ul>")
    return page([*parts, f'<p class="dim">{text.plural(len(linted.scripts), "script")} read.</p>'], "Script report")


def script_finding(item: Located) -> str:
    """One finding in a script, with the code that may replace it."""
    found = item.finding
    place = (
        f"{text.clean(item.path)}" + (f", cell {item.cell}" if item.cell is not None else "") + f", line {item.line}"
    )
    parts = [f"<p><strong>{_text(f'{found.code} {found.name}')}</strong> in {_text(place)}: {_text(found.message)}</p>"]
    if item.suggestion:
        code = "\n".join(_text(line) for line in item.suggestion.split("\n"))
        parts.append(f"<p>instead:</p><pre>{code}</pre>")
    return f'<div class="finding {found.severity}">{"".join(parts)}</div>'


def _text(value: object) -> str:
    return escape(text.clean(value))
