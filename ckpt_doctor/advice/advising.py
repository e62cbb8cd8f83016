"""A judged run -> the same run with its advice: what to resume from, after which command, and what was passed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ckpt_doctor import audit
from ckpt_doctor.advice.invocation import Invocation
from ckpt_doctor.advice.missing import LOG, OPEN, blank, codes_of, missing, near_logs, words_of
from ckpt_doctor.advice.prospects import Prospect, borne_out, copies_of, prospects
from ckpt_doctor.reports import columns, cures
from ckpt_doctor.types import (
    Advice,
    FileReport,
    Finding,
    PassedOver,
    RunReport,
    WayOut,
    Words,
    without_flagged,
)

MOST_WRITTEN = 8
"""Files that one command may repair where only one of them is needed."""
_COMPLETE = "P404"
"""The code of a file from which nothing is left to train."""


def advised(run: RunReport, asked: Invocation) -> RunReport:
    """A run with its advice, and with verdicts that a dry run bears out."""
    asked = asked.without(run.run.facts.disproved)
    copies = copies_of(run)
    all_ = prospects(run, asked)
    ranked = sorted(
        (one for one in all_ if one.file.checkpoint.path not in copies),
        key=lambda one: audit.progress((one.file, run.run)),
        reverse=True,
    )
    together = _all_repairs(run, all_, asked)
    advice = _advice(run, ranked, together, asked)
    files = tuple(borne_out(one, run, asked) for one in all_)
    return replace(run, files=files, advice=advice, copies=copies, all_repairs=together)


def _all_repairs(run: RunReport, all_: Sequence[Prospect], asked: Invocation) -> Words:
    """The command that repairs every file of a report on this run, if its dry run would carry out all of it."""
    if not all(one.complete for one in all_) or not any(one.is_repaired for one in all_):
        return ()
    judged = {one.file.checkpoint.path for one in all_}
    if len(judged) > 1 and not judged.issuperset([*run.run.unjudged, *(m.checkpoint.path for m in run.run.members)]):
        return ()  # nobody knows what else lies there
    scope: tuple[Path, ...] = (run.files[0].checkpoint.path if len(run.files) == 1 else run.run.path,)
    if asked.alone and len(asked.paths) == 1 and asked.paths[0] in run.run.path.parents:
        scope = () if asked.paths[0] == Path(audit.DEFAULT_PATH) else asked.paths
    return asked.command("migrate --all", run.run.facts, paths=scope)


def _advice(run: RunReport, ranked: Sequence[Prospect], together: Words, asked: Invocation) -> Advice:
    chosen = _chosen(ranked)
    if chosen is None:
        return _nothing(run, ranked)
    file = chosen.file
    passed = tuple(_passed_over(one, run) for one in ranked[: ranked.index(chosen)])
    here = Advice(
        "resume",
        run.run.path,
        file.checkpoint.path,
        columns.label(file, run.run.path),
        _position(file),
        flags=file.plan.flags if file.plan else (),
        passed_over=passed,
        stays=_stays(file.serious, file),
    )
    if not file.trainer:
        here = replace(here, kind="not judged", reason=_why_not_judged(file))
    elif _is_done(file):
        return replace(here, kind="complete", flags=(), stays=())
    if chosen.complete:
        return _after_repair(here, chosen, run, together, asked) if chosen.is_repaired else _as_it_is(here, file)
    return _incomplete(here, chosen, run, asked)


def _chosen(ranked: Sequence[Prospect]) -> Prospect | None:
    """The newest that keeps its path and asks for nothing; else the newest that is of any use."""
    sound = (one for one in ranked if one.is_usable and not one.departs)
    return next(sound, None) or next((one for one in ranked if one.may_be_usable), None)


def _why_not_judged(file: FileReport) -> str:
    return next((point.why for point in file.not_checked if point.what == "the resume"), "no trainer resumes from it")


def _position(file: FileReport) -> str:
    """`step 135 of 225`: how far training had come."""
    state, plan, step = file.member.state, file.plan, audit.steps_done(file)
    if step is None:
        return f"epoch {state.epoch}" if state.epoch is not None else ""
    left = plan.steps_left if plan is not None else None
    total = step + left if left is not None else state.total_steps
    return f"step {step:,}" + (f" of {total:,}" if total and total >= step else "")


def _is_done(file: FileReport) -> bool:
    return any(finding.code == _COMPLETE for finding in file.findings)


def _stays(findings: Sequence[Finding], file: FileReport) -> tuple[str, ...]:
    """What no command cures: codes with names; what the flags cure is left out."""
    flagged = file.plan is not None and file.plan.flags
    left = without_flagged(findings) if flagged else findings
    return tuple(dict.fromkeys(f"{found.code} {found.name}" for found in left if not found.migration))


def _passed_over(one: Prospect, run: RunReport) -> PassedOver:
    file = one.file
    departing = audit.departs(file)
    against = [f for f in file.serious if f.severity == "error" or f.code in departing] or file.serious
    first = against[0] if against else None
    reason = first.name.replace("-", " ") if first else unfit(file)
    if first is not None and first.code == OPEN:
        reason += f", give {first.where}"
    return PassedOver(file.checkpoint.path, columns.label(file, run.run.path), first.code if first else "", reason)


def unfit(file: FileReport) -> str:
    """Why nothing resumes from a file about which there is no finding."""
    vanished = file.checkpoint.is_damaged("vanished-file")
    return "vanished meanwhile" if vanished else "not a checkpoint that a trainer resumes from"


def _as_it_is(advice: Advice, file: FileReport) -> Advice:
    why = file.plan.why_not_exact if file.plan is not None else ()
    if file.resume == "differs" and why and not file.serious:  # no finding tells it
        return replace(advice, caveats=(f"not bit for bit: {'; '.join(why)}",))
    if file.resume != "open" or file.plan is None:
        return advice
    asked = [(point.what, point.settle) for point in file.plan.open if point.settle]
    if file.plan.begins is None:
        told = [(f"where the script starts ({f.code})", f.fix) for f in file.findings if f.fix]
        asked += [(what, fix.removeprefix("give ")) for what, fix in told if fix.startswith("give --")]
    open_points, options = (dict.fromkeys(said) for said in zip(*asked, strict=True)) if asked else ((), ())
    return replace(advice, reason=f"{', '.join(open_points)}; give {'; '.join(options)}" if asked else "")


def _after_repair(advice: Advice, chosen: Prospect, run: RunReport, together: Words, asked: Invocation) -> Advice:
    """With the command that repairs the checkpoint, and what is to be said of the repaired one."""
    from ckpt_doctor import repair

    assert chosen.plan is not None, "something is repaired"
    few = sum(bool(one.serious) for one in run.files) <= MOST_WRITTEN
    alone = asked.command("migrate --all", run.run.facts, paths=(chosen.file.checkpoint.path,))
    advice = replace(
        advice,
        kind="repair" if advice.kind == "resume" else advice.kind,
        command=together if together and few else alone,
        caveats=tuple(chosen.plan.notes),
    )
    return _with_result(advice, repair.repaired(run, chosen.plan, asked.every_repair()), chosen)


def _with_result(advice: Advice, after: FileReport | None, chosen: Prospect) -> Advice:
    """Flags and position of the repaired file, and which findings are left."""
    if after is None or after.plan is None:
        return advice
    applied = chosen.plan.applied if chosen.plan else ()
    known = {finding.code for finding in chosen.file.findings} | {code for fix in applied for code in fix.reveals}
    known -= {code for fix in applied for code in fix.cures}  # that they are gone is verified when it is written
    if _is_done(after):
        return replace(advice, kind="complete", position=_position(after), command=(), caveats=(), stays=())
    left = [finding for finding in after.serious if finding.code in known]
    return replace(
        advice,
        flags=after.plan.flags,
        position=advice.position or _position(after),
        stays=_stays([replace(finding, migration=None) for finding in left], after),
    )


def _incomplete(advice: Advice, chosen: Prospect, run: RunReport, asked: Invocation) -> Advice:
    """Where a dry run would refuse something: the facts to give, all at once; and what is left if nobody knows them."""
    plan = chosen.plan
    assert plan is not None, "something was refused"
    request = asked.every_repair()
    found = chosen.missing or missing(run, plan, request)
    logs = near_logs(run, plan, request)
    lost = codes_of(plan.before.serious, {refusal.migration for refusal in plan.refusals})
    way_out = _way_out(run, chosen, lost, asked) if lost else None
    open_ = next((finding.message for finding in plan.before.serious if finding.code == OPEN), "")
    reason = next((refusal.reason for refusal in plan.refusals), open_)
    if not found.options and logs.fitting is None:  # nobody can give what is lost
        if way_out is None:
            return replace(advice, kind="none", path=None, reason=reason, stays=())
        advice = replace(advice, command=way_out.command, way_out=replace(way_out, command=()))
        return replace(advice, kind="repair") if advice.command else advice
    blanks = tuple(blank(option, run) for option in found.options)
    name = "migrate --all" if found.edits or plan.edits or plan.refusals else "check"
    path = (chosen.file.checkpoint.path,)
    filled_in = asked.command(name, run.run.facts, *words_of(blanks), paths=path, ignore=found.accepted)
    with_log = asked.command(name, run.run.facts, LOG, str(logs.fitting), paths=path)
    return replace(
        advice,
        kind="facts",
        command=filled_in if logs.fitting is None else with_log,
        otherwise=filled_in if logs.fitting is not None and blanks else (),
        missing=blanks,
        log=logs.fitting,
        left_logs=logs.left,
        reason="" if logs.fitting is not None or logs.left else reason,
        way_out=way_out,
        caveats=found.notes if logs.fitting is None else logs.notes,
        stays=tuple(one for one in advice.stays if not one.startswith((OPEN, *lost))),
    )


def _way_out(run: RunReport, chosen: Prospect, codes: tuple[str, ...], asked: Invocation) -> WayOut | None:
    """What is left to do if the evidence is lost: all other repairs, where a dry run would carry them out."""
    from ckpt_doctor import repair

    path = chosen.file.checkpoint.path
    plan = repair.foresee_one(run, path, asked.every_repair(codes))
    if not plan.result.complete or not audit.is_resumable(chosen.file):
        return None
    command = asked.command("migrate --all", run.run.facts, paths=(path,), ignore=codes) if plan.edits else ()
    remembers = any(code[0] == "E" for code in codes)
    best = tuple(m.checkpoint.path for m in run.run.members if m.role == "best") if remembers else ()
    return WayOut(codes, best, command)


def _nothing(run: RunReport, ranked: Sequence[Prospect]) -> Advice:
    """No checkpoint is of any use: why the newest is not, and the command that may save one."""
    if not any(one.file.serious for one in ranked):
        if any(one.file.trainer for one in ranked):
            return Advice("none", run.run.path, reason="no file here holds all that its trainer resumes from")
        return Advice("not judged", run.run.path, reason=_why_not_judged(ranked[0].file) if ranked else "")
    passed = tuple(_passed_over(one, run) for one in ranked)
    told = [(one.file, finding) for one in ranked for finding in one.file.serious]
    errors = (finding for _, finding in told if finding.severity == "error")
    worst = next(errors, None) or next((finding for _, finding in told), None)
    saved = next(((file, f) for file, f in told if f.code[0] == "F" and (f.fix or "").startswith(cures.PROGRAM)), None)
    command: Words = ()
    if saved is not None:
        file, finding = saved
        names = cures.names_for(file.checkpoint.path, cures.output_name(file, run.run.path))
        command = tuple(names.get(word, word) for word in (finding.fix or "").split(" "))
    reason = f"{worst.code} {worst.name}" if worst else "no file here is a checkpoint that a trainer resumes from"
    if len(ranked) == 1:
        return Advice("none", run.run.path, label=passed[0].label, command=command, reason=reason)
    if worst is not None and passed[0].code == worst.code:
        reason = f"{passed[0].label}: {reason}"
    return Advice("none", run.run.path, command=command, passed_over=passed, reason=reason)
