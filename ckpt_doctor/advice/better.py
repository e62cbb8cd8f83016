"""A judged run -> its advice with a better checkpoint that lies beside those that were asked for."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor import audit
from ckpt_doctor.advice.advising import advised
from ckpt_doctor.advice.invocation import Invocation
from ckpt_doctor.types import Advice, RunReport


def with_better(judged: RunReport, run: RunReport, asked: Invocation) -> RunReport:
    """The run, whose advice names a better checkpoint that lies beside those that were asked for."""
    better = _better(run, judged.advice, asked)
    return judged if judged.advice is None else replace(judged, advice=replace(judged.advice, better=better))


def _better(run: RunReport, advice: Advice | None, asked: Invocation) -> Advice | None:
    """What the whole run's advice is, where that is another checkpoint than the one that is judged."""
    mine = {file.checkpoint.path for file in run.files}
    others = [member for member in run.run.members if member.checkpoint.path not in mine]
    if not others or advice is None:
        return None
    files = tuple(audit.judge(audit.case_of(member, run.run), asked.counts) for member in others)
    whole = advised(replace(run, findings=(), files=(*run.files, *files)), asked)
    best = whole.advice
    if best is None or best.path is None or best.path in mine or best.kind in ("none", "not judged"):
        return None
    if advice.path is not None and whole.copies.get(advice.path) == best.path:
        return None
    return best
