"""What to do with a run, for the top of its page."""

from __future__ import annotations

from ckpt_doctor.reports.columns import label, step
from ckpt_doctor.reports.cures import repair
from ckpt_doctor.types import FileReport, Report, RunReport
from ckpt_doctor.types.record import record


@record(frozen=True)
class Answer:
    """What to resume from, after which command, with which flags; or why from nothing."""

    kind: str
    """`ok`, `repairable` or `broken`: the colour."""
    head: str
    name: str = ""
    place: str = ""
    command: str = ""
    flags: str = ""
    passed: tuple[str, ...] = ()


def answer(run: RunReport, report: Report) -> Answer:
    """The answer for a run of a report."""
    files = sorted(run.files, key=_progress, reverse=True)
    able = [file for file in files if file.verdict != "broken" and file.plan is not None]
    if not able:
        if not run.run.trainer:
            return Answer("open", "not judged: no known trainer wrote this")
        return Answer("broken", "nothing here is safe to resume from")
    chosen = next((file for file in able if file.verdict == "ok"), able[0])
    later = files[: files.index(chosen)]
    passed = tuple(f"{label(file, run.run.path)} ({', '.join(f.code for f in file.serious)})" for file in later)
    command = repair("ckpt-doctor migrate --all", run, report.paths) if chosen.verdict == "repairable" else ""
    at = step(chosen)
    return Answer(
        chosen.verdict,
        "resume from",
        label(chosen, run.run.path),
        f"step {at}" if at != "-" else "",
        command,
        " ".join(chosen.plan.flags) if chosen.plan else "",
        passed,
    )


def _progress(file: FileReport) -> tuple[int, int]:
    state = file.member.state
    return file.member.named_step or state.optimizer_step or 0, state.epoch or 0
