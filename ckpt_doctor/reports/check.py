"""What `check` prints: what the trainer will do with this file, beside what the uninterrupted run would have done."""

from __future__ import annotations

from collections.abc import Iterable

from ckpt_doctor.reports import text
from ckpt_doctor.reports.answer import answer_lines, answers_of
from ckpt_doctor.reports.columns import about
from ckpt_doctor.reports.resuming import clauses
from ckpt_doctor.reports.table import SCREEN, fact_lines, facts_in_short, finding_lines, wrong_lines
from ckpt_doctor.reports.tally import deep_only, omitted
from ckpt_doctor.reports.view import nothing_found, view
from ckpt_doctor.types import FileReport, Report


def check(report: Report, *, width: int = 80, color: bool = False, detail: text.Detail = "normal") -> str:
    """The text of a check: report with one file."""
    if not report.files:
        return "\n".join(text.wrap(nothing_found(report.paths), width)) + "\n"
    run, file, columns = report.runs[0], report.files[0], min(width, text.MAX_TEXT)
    shown, folded = view(run, report.paths), run.advice is not None and detail != "all"
    lines = [*answer_lines(answers_of(report), width, color)]
    left = omitted(deep_only([file]))
    unread = text.wrap(left, columns) if left else []
    if detail == "quiet":
        return "\n".join([*lines, *wrong_lines(shown, "", width, color), *unread]) + "\n"
    lines += [""] if lines else []
    lines += [text.styled(text.shorten(text.clean(file.checkpoint.path), width), "bold", color)]
    lines += [f"  {about(file, run)}", *text.wrap(f"resume: {resume_words(file)}", columns, "  ", "    ")]
    if folded:
        lines += [line for told in facts_in_short(shown) for line in text.wrap(told, columns, "  ", "    ")]
    else:
        lines += fact_lines(shown, columns)
    does = clauses(file, run)
    lines += ["", "  The trainer"] if does else []
    for clause in does:
        lines += text.wrap(clause, columns, "  - ", "    ")
    lines += finding_lines(shown, columns, color, SCREEN if folded else None)
    if not folded and (words := flags(file)):
        lines += ["", *text.wrap(f"resume with: {words}", columns, "  ", "    ")]
    verdict = text.wrap(f"verdict: {file.outlook}: {verdict_words(file)}.", columns)
    verdict[0] = verdict[0].replace(file.outlook, text.styled(file.outlook, file.outlook, color), 1)
    lines += ["", *verdict]
    if not folded and (file.verdict == "broken" or file.plan is None) and file.member.role is not None:
        lines.append(f"Another checkpoint of the run: ckpt-doctor latest {text.quoted(run.run.path)}")
    return "\n".join([*lines, *unread]) + "\n"


def flags(file: FileReport) -> str:
    """What the resume command must carry, in one line; empty where nothing."""
    return " ".join(map(text.clean, file.plan.flags)) if file.plan is not None else ""


def resume_words(file: FileReport) -> str:
    """What the resumed run will be beside the uninterrupted one, in a word, and for which findings."""
    codes = ", ".join(dict.fromkeys(finding.code for finding in file.serious))
    why = f" ({codes})" if codes else ""
    words = {
        "identical": "identical to the uninterrupted run",
        "differs": f"differs from the uninterrupted run{why}",
        "open": f"open{why}: whether it is identical to the uninterrupted run depends on what is not settled",
        "not judged": f"not judged: {next((p.why for p in file.not_checked if p.what == 'the resume'), 'not read')}",
        "impossible": f"impossible{why}",
    }
    if file.resume == "differs" and file.keeps_its_path:
        return f"identical to the uninterrupted run with {flags(file)}; without it, differs"
    return words[file.resume]


def verdict_words(file: FileReport) -> str:
    """What a verdict means for the resume."""
    if file.asks:
        return f"give {', '.join(file.asks)}, migrate, then resume"
    if file.verdict == "broken" or (file.resume == "impossible" and file.verdict == "ok"):
        return "do not resume from it"
    if file.resume == "not judged":
        codes = ", ".join(dict.fromkeys(finding.code for finding in file.serious if finding.migration is None))
        if file.verdict == "repairable":
            words = f"migrate it ({codes} will stay)" if codes else "migrate it"
        else:
            words = "whole and safe to load as far as was checked" + (f", but for {codes}" if codes else "")
        return f"{words}; whether a resume continues the run is not judged"
    uncured = [finding for finding in file.serious if finding.migration is None]
    left = dict.fromkeys(finding.code for finding in uncured if not finding.fix)
    if file.outlook == "differs":
        return _differing(dict.fromkeys(finding.code for finding in uncured), bool(left))
    how = " with the flags above" if flags(file) else " as told above" if any(f.fix for f in uncured) else ""
    words = f"migrate, then resume{how}" if file.verdict == "repairable" else f"resume from it{how}"
    if file.resume == "open":
        words += ", once what is open above is settled"
    if not left:
        return words
    return f"{words}; the run still differs: no edit of the file cures {', '.join(left)}"


def _differing(codes: Iterable[str], is_lost: bool) -> str:
    """What a resume means that leaves the run's path whatever is done to the file."""
    told, accepted = ", ".join(codes), ",".join(codes)
    if not is_lost:
        return f"resume from it as told above, or the run differs ({told})"
    way_out = f"resume from another checkpoint, or accept it: --ignore {accepted}"
    return f"a resume leaves the uninterrupted run's path, and no edit of the file cures that ({told}); {way_out}"
