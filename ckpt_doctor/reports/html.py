"""One self-contained HTML page: no script, no network, readable in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ckpt_doctor.reports import text
from ckpt_doctor.reports.charts import loss_chart, marks, rate_chart
from ckpt_doctor.reports.cures import all_repairs, cures, is_command
from ckpt_doctor.reports.groups import Group, concerned, grouped, label, likewise, unchecked
from ckpt_doctor.reports.table import contents, known_facts, nothing_found, schedule, shown_score, summary
from ckpt_doctor.types import Curve, Linted, Located, NotChecked, Report, RunReport, Verdict

VERDICTS: tuple[Verdict, ...] = ("ok", "repairable", "broken")
STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --dim: #59636e; --back: #fff; --panel: #f6f8fa; --edge: #d1d9e0;
  --ok: #1a7f37; --repairable: #9a6700; --broken: #cf222e; --info: #0969da; --line: #0969da; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --dim: #9198a1; --back: #0d1117; --panel: #151b23;
  --edge: #3d444d; --ok: #3fb950; --repairable: #d29922; --broken: #f85149; --info: #4493f8; --line: #4493f8; } }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; } h2 { font-size: 1.05rem; overflow-wrap: anywhere; margin: 0 0 .25rem; }
h2 span { display: block; font-size: .85rem; font-weight: 400; } h3 { font-size: .95rem; margin: 1.4rem 0 .3rem; }
section { margin: 2.5rem 0; padding-top: 1.2rem; border-top: 1px solid var(--edge); }
p, li { overflow-wrap: anywhere; } .dim { color: var(--dim); } a { color: var(--info); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--edge); text-align: left; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; }
th { color: var(--dim); font-weight: 500; } .n { text-align: right; }
.runs td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 14rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; background: var(--panel); border-radius: 4px;
  padding: .1rem .3rem; }
pre { padding: .6rem; overflow-x: auto; }
.finding { border-left: 3px solid var(--info); padding: .1rem .9rem; margin: .9rem 0; }
.finding p { margin: .3rem 0; } .error { border-color: var(--broken); } .warning { border-color: var(--repairable); }
.ok { color: var(--ok); } .repairable { color: var(--repairable); } .broken { color: var(--broken); }
.verdict { font-weight: 500; } del { color: var(--dim); }
dl { display: grid; grid-template-columns: fit-content(45%) 1fr; gap: .1rem 1rem; margin: .5rem 0; }
dt { font-variant-numeric: tabular-nums; } dd { margin: 0; color: var(--dim); overflow-wrap: anywhere; }
@media (max-width: 36rem) { body { padding: 1rem; } dl { display: block; } dd { margin: 0 0 .4rem; }
  th, td { padding: .3rem .45rem; } .runs td:first-child { min-width: 10rem; font-size: .85rem; } }
figure { margin: 1rem 0; } figcaption { color: var(--dim); font-size: .9em; }
svg { width: 100%; min-width: 36rem; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--text); }
svg .tick { fill: var(--dim); font-size: 11px; } svg .grid { stroke: var(--edge); stroke-width: 1; }
svg .line { fill: none; stroke: var(--line); stroke-width: 2; }
svg .other { fill: none; stroke: var(--broken); stroke-width: 1.5; stroke-dasharray: 5 4; }
svg .drop { stroke: var(--dim); stroke-width: 1; stroke-dasharray: 2 3; }
svg .between { stroke: var(--text); stroke-width: 1.5; }
svg .repaired { fill: var(--ok); } svg .now { fill: none; stroke: var(--ok); stroke-width: 2; }
svg .repairable .now { stroke: var(--repairable); } svg .broken .now { stroke: var(--broken); }
svg .dot { fill: var(--line); } svg .best { fill: var(--ok); stroke: var(--text); stroke-width: 2; }
"""


def html(report: Report, curves: Sequence[Curve] = ()) -> str:
    """A scan's report as a page; a run with a curve gets its charts."""
    if not report.files and not report.findings:
        return page([f"<p>{_text(nothing_found(report))}</p>"])
    by_run = {curve.run: curve for curve in curves}
    sections = [run_section(run, n, report, by_run.get(run.run.path)) for n, run in enumerate(report.runs, 1)]
    overview = [f"<p>{_text(summary(report))}</p>"]
    if len(report.runs) > 1:
        overview.append(run_table(report))
    return page([*overview, *sections])


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


def run_table(report: Report) -> str:
    """All runs of the report with their verdicts, each a link to its section."""
    rows = []
    for n, run in enumerate(report.runs, 1):
        verdicts = [file.verdict for file in run.files]
        counts = [f'<td class="n {v if v in verdicts else "dim"}">{verdicts.count(v)}</td>' for v in VERDICTS]
        codes = dict.fromkeys(group.first.code for group in grouped(run) if group.first.severity != "info")
        rows.append(
            f'<tr><td><a href="#run-{n}">{_text(run.run.path)}</a></td>{"".join(counts)}'
            f"<td>{_text(', '.join(codes))}</td></tr>"
        )
    heads = "".join(f'<th class="n">{verdict}</th>' for verdict in VERDICTS)
    head = f"<tr><th>run</th>{heads}<th>findings</th></tr>"
    return f'<div class="scroll"><table class="runs"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def run_section(run: RunReport, number: int, report: Report, curve: Curve | None = None) -> str:
    """One run: facts, files, charts, findings, open points."""
    folder, name = (_text(part) for part in (run.run.path.parent, run.run.path.name or run.run.path))
    parts = [f'<h2><span class="dim">{folder}/</span>{name}</h2>', f'<p class="dim">{contents(run)}</p>']
    parts.append(facts_list(run))
    if run.files:
        parts.append(file_table(run))
    parts += findings(run, report)
    if curve is not None:
        parts += charts(run, curve)
    return f'<section id="run-{number}">\n{chr(10).join(parts)}\n</section>'


def findings(run: RunReport, report: Report) -> list[str]:
    """What is wrong, the one command for all of it, what changes nothing, what was not looked at."""
    groups = grouped(run)
    serious = [group for group in groups if group.first.severity != "info"]
    parts = [finding(group, run, report) for group in serious]
    if command := all_repairs(run, groups, report.paths):
        parts.append(f"<p>all repairs at once: <code>{_text(command)}</code></p>")
    if rest := groups[len(serious) :]:
        parts.append('<p class="dim">Worth knowing, with no effect on the trainer\'s resume:</p>')
        parts += [finding(group, run, report) for group in rest]
    open_points = [point for point, _ in unchecked(run.files) if point.settle != "--deep"]
    return [*parts, f"<ul>{''.join(map(open_point, open_points))}</ul>"] if open_points else parts


def facts_list(run: RunReport) -> str:
    """What is known of the training command, with sources."""
    entries = [f"<dt>{_text(name)}</dt><dd>{_text(source)}</dd>" for name, source in known_facts(run.run.facts)]
    return f"<dl>{''.join(entries)}</dl>" if entries else ""


def file_table(run: RunReport) -> str:
    """The files of a run, numbered as in the chart."""
    heads = ("", "file", "verdict", "role", "size", "epoch", "step", "schedule", "best score")
    rows = []
    for i, file in enumerate(run.files, 1):
        state = file.member.state
        numbers = (text.size(file.checkpoint.size), text.integer(state.epoch), text.integer(state.global_step))
        cells = [
            f'<td class="n dim">{i}</td><td>{_text(label(file, run.run.path))}</td>'
            f'<td class="verdict {file.verdict}">{file.verdict}</td><td>{file.member.role or "-"}</td>'
        ]
        cells += [f'<td class="n">{cell}</td>' for cell in (*numbers, schedule(file), shown_score(file))]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return _table([f'<th class="n">{h}</th>' if i > 3 else f"<th>{h}</th>" for i, h in enumerate(heads)], rows)


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    head = f"<thead><tr>{''.join(heads)}</tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'


def charts(run: RunReport, curve: Curve) -> list[str]:
    """The learning rate with the checkpoints on it, where each resume lands, and the validation loss."""
    places = marks(run, [label(file, run.run.path) for file in run.files], curve.steps_per_epoch)
    drawn = rate_chart(curve, places)
    losses = loss_chart(curve)
    explained = "Line: learning rate of the uninterrupted run."
    if places:
        explained += (
            " Checkpoints, numbered as in the table: the ring is where a resume from the file as it is begins, "
            "the dot where one from the repaired file does."
        )
    explained += "".join(f" Dashed: {name}." for name, _ in curve.resumed)
    parts = [_figure(drawn, explained)] if drawn else []
    parts += [landings(run)]
    if losses:
        parts.append(_figure(losses, "Validation loss per epoch, from the log."))
    return parts


def _figure(drawn: str, caption: str) -> str:
    return f'<figure><div class="scroll">{drawn}</div><figcaption>{_text(caption)}</figcaption></figure>'


def landings(run: RunReport) -> str:
    """What the trainer does with each file as it is and, where that differs, once it is repaired."""
    rows = []
    for i, file in enumerate(run.files, 1):
        plan, resume = file.plan, file.resume
        if plan is None:
            continue
        stopping = resume.early_stopping.value if resume.early_stopping else None
        best = None if stopping is None or stopping.best_score is None else -stopping.best_score
        now = None if plan.best_score is None else -plan.best_score
        pairs = (
            (text.integer(plan.start_epoch), text.integer(resume.start_epoch)),
            (text.integer(plan.skip_batches), text.integer(resume.skip_batches)),
            (text.rate(plan.next_lr), text.rate(resume.lr[0] if resume.lr else None)),
            (text.real(now, "none"), text.real(best, "none" if stopping else "-")),
        )
        cells = "".join(f'<td class="n">{_change(*pair)}</td>' for pair in pairs)
        rows.append(f'<tr><td class="n dim">{i}</td><td>{_text(label(file, run.run.path))}</td>{cells}</tr>')
    if not rows:
        return ""
    numbers = ("starts in epoch", "skips batches", "first learning rate", "best validation loss")
    heads = ["<th></th>", "<th>a resume from</th>", *(f'<th class="n">{h}</th>' for h in numbers)]
    explained = "Crossed out: from the file as it is; after it: from the repaired file."
    return f'{_table(heads, rows)}<p class="dim">{explained}</p>'


def _change(now: str, repaired: str) -> str:
    """Both values where they differ; where the repaired one is open, only the first."""
    if now == repaired or repaired == "-":
        return _text(now)
    return f"<del>{_text(now)}</del> {_text(repaired)}"


def finding(group: Group, run: RunReport, report: Report) -> str:
    """A group of findings with its cure."""
    first = group.first
    files = concerned(group, run)
    title = f"{first.code} {first.name}" + (f" ({files})" if files else "")
    parts = [f"<p><strong>{_text(title)}</strong>: {_text(first.message)}</p>"]
    if others := likewise(group, run):
        parts.append(f"<p>also {_text(others)}</p>")
    for cure in cures(group, run, report.paths):
        parts.append(f"<p>cure: <code>{_text(cure)}</code></p>" if is_command(cure) else f"<p>cure: {_text(cure)}</p>")
    return f'<div class="finding {first.severity}">{"".join(parts)}</div>'


def open_point(point: NotChecked) -> str:
    """What was not checked, and how to settle it."""
    settle = f" To settle it: <code>{_text(point.settle)}</code>" if point.settle else ""
    return f"<li>not checked: {_text(point.what)}: {_text(point.why)}.{settle}</li>"


def scripts_page(linted: Linted) -> str:
    """What linting found, as a page."""
    parts = [script_finding(item) for item in linted.findings] or ["<p>No findings.</p>"]
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
