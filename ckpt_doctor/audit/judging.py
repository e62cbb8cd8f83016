"""A checkpoint in its run -> findings, verdict, and what happens on a resume."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ckpt_doctor.errors import UsageError
from ckpt_doctor.reports import quoted
from ckpt_doctor.reports.cures import FACTLESS
from ckpt_doctor.trainers import ByHand, all_rules, file_rules, known, not_judged, run_rules, trainer_named
from ckpt_doctor.types import (
    Case,
    Checkpoint,
    FileReport,
    Finding,
    Global,
    Member,
    NotChecked,
    Resume,
    ResumePoint,
    Run,
    RunReport,
    TrainingState,
    Verdict,
    selects,
    trusts,
)
from ckpt_doctor.validators import OF_THE_WHOLE
from ckpt_doctor.validators.files import UNREADABLE, all_damage, unless_blocked
from ckpt_doctor.validators.rule import Rule

NOTHING = ByHand()
Counts = Callable[[Finding, Path], bool]
"""Whether a finding about a file or a run folder counts; one that does not, a person has accepted."""


def is_ours(member: Member, run: Run) -> bool:
    """Whether the trainer's rules may speak about the file: recognised, and read to the end."""
    return run.owns(member.checkpoint.path)


def case_of(member: Member, run: Run, *, gate: bool = False, by_hand: ByHand = NOTHING) -> Case:
    """All that rules and fixes may look at: the trainer's view of a file that it owns."""
    trainer = trainer_named(run.trainer)
    if not is_ours(member, run):
        expected = trainer.judging().expects(member, run)
        return Case(
            member.checkpoint, member, run, ResumePoint(), schedule=expected.schedule, reads=expected.reads, gate=gate
        )
    case = trainer.judging().case(member, run, by_hand)
    return replace(case, gate=True, further=tuple(replace(one, gate=True) for one in case.further)) if gate else case


def run_findings(run: Run) -> tuple[Finding, ...]:
    """What is wrong with a run as a whole."""
    if not run.trainer:
        return ()
    return tuple(
        found for rule in run_rules(run.trainer) for found in _applied(rule, run) if isinstance(found, Finding)
    )


def judge(case: Case, counts: Counts = lambda _finding, _path: True) -> FileReport:
    """Apply every rule that may speak about this checkpoint."""
    return judged([case], counts)[0]


def judged(cases: Sequence[Case], counts: Counts) -> list[FileReport]:
    """Apply every rule that may speak about each of these checkpoints of one run."""
    return [_report(case, said, counts) for case, said in zip(cases, _said(cases), strict=True)]


def _report(case: Case, said: Iterable[Finding | NotChecked], counts: Counts) -> FileReport:
    """What is known of a checkpoint once the rules have spoken."""
    member, run, path = case.member, case.run, case.checkpoint.path
    ours = is_ours(member, run)
    parts = tuple(_judged_part(part, case, counts) for part in member.checkpoint.parts)
    findings: list[Finding] = [found for part in parts for found in _of_part(part, case)]
    not_checked: list[NotChecked] = [*member.checkpoint.not_checked, *run.not_checked]
    for result in said:
        if isinstance(result, Finding):
            findings.append(result)
        else:
            not_checked.append(result)
    findings = [_as_needed(finding, run) for finding in unless_blocked(findings, member.checkpoint)]
    if not ours and member.role is None:  # a trainer's own that is damaged has worse troubles
        not_checked.extend(not_judged(member.checkpoint, run, known()))
    not_checked.extend(case.plan.open if case.plan is not None else ())
    deep = member.checkpoint.deep
    if deep is not None:
        not_checked.extend(deep.not_checked)
    elif any(file.tensors for file in (member.checkpoint, *member.checkpoint.parts)):
        not_checked.append(NotChecked("stored checksums and NaN", "every byte would have to be read", "--deep"))
    unsure = tuple(dict.fromkeys(not_checked))
    findings = _without_refused_fixes(findings, case, counts)
    plan, counted = case.plan, [finding for finding in findings if counts(finding, path)]
    if plan is not None and (errors := dict.fromkeys(f.code for f in counted if f.severity == "error")):
        plan = replace(plan, why_not_exact=(f"{', '.join(errors)} must be cured first", *plan.why_not_exact))
    resume = resume_of(counted, _but_for_findings(case))
    trainer = run.trainer if ours else ""
    return FileReport(member, case.resume, plan, tuple(findings), unsure, verdict_of(counted), resume, trainer, parts)


def _without_refused_fixes(findings: list[Finding], case: Case, counts: Counts) -> list[Finding]:
    """The findings, without the fixes that `migrate` would refuse for this file."""
    checkpoint, run = case.checkpoint, case.run
    if is_ours(case.member, run) and run.facts.disproved:  # P408 says what to do
        findings = [f if not f.migration or f"--{f.migration}" in FACTLESS else replace(f, fix="") for f in findings]
    blocking = [f for f in findings if f.severity == "error" and f.code[0] in "FS" and not f.migration]
    if any(f.code != "S204" or counts(f, checkpoint.path) for f in blocking):  # whatever is ignored
        return [replace(f, fix=None, migration=None) if f.migration else f for f in findings]
    if checkpoint.program is None and not checkpoint.parts:
        anew = "save the file anew with torch.load and torch.save, then migrate it"
        return [replace(f, fix=anew, migration=None) if f.migration else f for f in findings]
    return findings


def _judged_part(part: Checkpoint, case: Case, counts: Counts) -> FileReport:
    """A file of a unit by itself: by the rules that hold for every file."""
    member, run = Member(part, TrainingState(), None), Run(case.run.path, "", ())
    return judge(Case(part, member, run, ResumePoint(), judged=OF_THE_WHOLE), counts)


def _of_part(part: FileReport, case: Case) -> Iterator[Finding]:
    """What is wrong with a file of a unit, said of the unit: a note where no resume reads that file.

    No migration of a single file is offered: a unit is written as a whole. A fix may write a damaged part anew. What
    loading a file needs (S202, S203) is only said where the trainer needs it."""
    name, trainer = case.checkpoint.name_of(part.checkpoint), trainer_named(case.run.trainer)
    read = trainer.reads_part(name)
    loads = bool(trainer.name) and (not read or trainer.loads_part(name))
    for found in part.findings:
        if loads and found.code in ("S202", "S203"):
            continue
        where = f"{name}: {found.where}" if found.where else name
        severity = found.severity if read else "info"
        anew = case.written_anew.get(name) if found.code[0] == "F" else None
        fix = None if found.migration else found.fix
        if fix:  # which is of this file alone
            fix = quoted(part.checkpoint.path).join(re.split(r"\bFILE\b", fix))
        fix = f"ckpt-doctor migrate --{anew}" if anew else fix
        message = f"{name}: {found.message}"
        yield replace(found, message=message, where=where, severity=severity, fix=fix, migration=anew)


def _said(cases: Sequence[Case]) -> list[Collection[Finding | NotChecked]]:
    """What the rules say of each checkpoint; what its optimizers share, of which each of them says it, once.

    Rule by rule: file by file the processor would have forgotten a rule's code before the next file needs it.
    """
    said: list[dict[object, Finding | NotChecked]] = [{} for _ in cases]
    seen = [{damage.kind for damage in all_damage(case.checkpoint)} for case in cases]
    for ours in (True, False):
        asked = [
            (case.optimizers, kinds, results)
            for case, kinds, results in zip(cases, seen, said, strict=True)
            if is_ours(case.member, case.run) is ours
        ]
        trainer = cases[0].run.trainer if asked else ""
        own = trainer_named(trainer).judging().rules
        for rule in file_rules(trainer, ours) if asked else ():
            for each, kinds, results in asked:
                if rule.damage and kinds.isdisjoint(rule.damage):
                    continue
                for case in each if rule.each else each[:1]:
                    if rule.code in case.judged and rule not in own:
                        continue
                    for r in _applied(rule, case):
                        results[(r.code, r.where, r.message) if isinstance(r, Finding) else r] = r
    return [results.values() for results in said]


def _as_needed(finding: Finding, run: Run) -> Finding:
    """A note of a part that is no file, where the resume does not open it, or goes on without it."""
    trainer = trainer_named(run.trainer)
    unopened = trainer.name and (not trainer.reads_part(finding.where) or trainer.does_without(finding.where))
    if finding.code != "F114" or finding.severity != "error" or not finding.where or not unopened:
        return finding
    return replace(finding, severity="info", message=f"{finding.message}; no resume needs it")


def _applied(rule: Rule, subject: Case | Run) -> list[Finding | NotChecked]:
    """What a rule says; a value that it was not written for keeps no other rule, and no other file, from judgement.

    The file is not ok then: an error of that rule, for nothing is known of what it looks for.
    """
    try:
        found = list(rule.check(subject))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        why = (
            f"the file has a value that this rule cannot judge ({type(error).__name__}: {str(error)[:80]}); "
            "please report the file to ckpt-doctor's authors"
        )
        return [Finding(rule.code, rule.name, "error", why)]
    return rule.told(found) if found else []


def unsure_of_the_model(file: FileReport) -> FileReport:
    """A file of a run whose files have different models: it continues identically only with the model that it is of."""
    if file.resume != "identical":
        return file
    why = "the files of this run have different models (O703), and a script builds one of them"
    unsure = NotChecked("whether the script builds this file's model", why, "the files of the other run in a folder")
    return replace(file, resume="open", not_checked=(*file.not_checked, unsure))


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """`broken`: the trainer cannot resume and nothing here cures it; `repairable`: a migration cures something."""
    serious = [finding for finding in findings if finding.severity != "info"]
    unreadable = any(finding.code == UNREADABLE for finding in serious)
    if unreadable or any(finding.severity == "error" and finding.migration is None for finding in serious):
        return "broken"
    return "repairable" if any(finding.migration for finding in serious) else "ok"


def resume_of(findings: Iterable[Finding], otherwise: Resume) -> Resume:
    """What happens on a resume, by the findings and by what holds `otherwise`.

    Off its path stays a run that has left it (P411), repeats data (P410) or lost its moments (O702, O705), whatever
    else is open.
    """
    serious = {finding.code: finding.severity for finding in findings if finding.severity != "info"}
    if "error" in serious.values() or UNREADABLE in serious:
        return "impossible"
    if serious.keys() & {"P410", "P411", "O702", "O705"} and otherwise not in ("impossible", "not judged"):
        return "differs"
    if "P413" in serious and otherwise in ("differs", "identical"):
        return "open"
    return "differs" if serious and otherwise == "identical" else otherwise


def _but_for_findings(case: Case) -> Resume:
    """`identical` only where place and rate are known."""
    plan, resume, facts = case.plan, case.resume, case.run.facts
    if not is_ours(case.member, case.run):
        return "not judged"
    if plan is None:
        return "impossible"
    if facts.contradictions or resume.begins is None or resume.unsettled.keys() & {"lr", "data"}:
        return "open"
    if plan.why_not_exact:
        return "differs"
    return "open" if resume.lr is None or plan.begins is None or plan.open else "identical"


def counting(ignore: Sequence[str], trust: Sequence[str], silenced: Counts | None = None) -> Counts:
    """What counts: findings that are not ignored, not silenced for their path, and no calls into a trusted package."""
    ignored, trusted = codes(ignore), packages(trust)

    def counts(finding: Finding, path: Path) -> bool:
        accepted = finding.code in ignored or trusts(trusted, finding)
        return not accepted and not (silenced and silenced(finding, path))

    return counts


def with_findings(file: FileReport, found: Iterable[Finding], ignore: Sequence[str] = ()) -> FileReport:
    """A file with findings beside its own, unless they are ignored: verdict and resume by all of them."""
    ignored = codes(ignore)
    findings = (*file.findings, *(finding for finding in found if finding.code not in ignored))
    resume = resume_of(findings, file.resume)
    return replace(file, findings=findings, verdict=verdict_of(findings), resume=resume)


def selected(run: RunReport, select: Sequence[str]) -> RunReport:
    """The report with the selected codes only; verdicts and advice stay those of all that was found."""
    wanted = codes(select)
    return chosen(run, lambda finding, _path: not select or finding.code in wanted)


def chosen(run: RunReport, counts: Counts) -> RunReport:
    """The report with what counts only."""

    def kept(findings: Sequence[Finding], path: Path) -> tuple[Finding, ...]:
        return tuple(finding for finding in findings if counts(finding, path))

    files = [
        file if len(counted) == len(file.findings) else replace(file, findings=counted)
        for file in run.files
        for counted in [kept(file.findings, file.checkpoint.path)]
    ]
    return replace(run, findings=kept(run.findings, run.run.path), files=tuple(files))


def is_damaged(file: FileReport) -> bool:
    """Whether the file itself is damaged or dangerous; what loading needs (S202, S203) is no damage."""
    return any(finding.severity == "error" and finding.code[0] in "FS" for finding in file.findings)


def in_short(given: Iterable[str]) -> tuple[str, ...]:
    """Codes as words of `--ignore`: a family by its letter where it is whole."""
    wanted = dict.fromkeys(given)
    families = {code[0]: {rule.code for rule in all_rules() if rule.code[0] == code[0]} for code in wanted}
    whole = {letter for letter, its in families.items() if len(its) > 1 and its <= wanted.keys()}
    return tuple(dict.fromkeys(code[0] if code[0] in whole else code for code in wanted))


def packages(words: Sequence[str]) -> tuple[str, ...]:
    """The packages of `--trust`. Raises UsageError for what is no package's name, and for those that have a list."""
    for word in words:
        if not all(part.isidentifier() for part in word.split(".")):
            raise UsageError(f"--trust {word!r} is not the name of a package, like transformers or my_project.models")
        if Global(word, "").is_standard:
            raise UsageError(
                f"--trust {word}: what torch, numpy and Python's own modules may call is judged by name; it is for "
                "other packages"
            )
    return tuple(words)


def codes(words: Sequence[str]) -> set[str]:
    """The codes that codes, their beginnings and names stand for. Raises UsageError for a word that stands for none."""
    found: set[str] = set()
    for word in words:
        named = {rule.code for rule in all_rules() if selects(word, rule.code, rule.name)}
        # Settings may name the rules for scripts (X901), which are none of ours, beside those for checkpoints.
        if not word or not (named or re.fullmatch(r"X\d{0,3}", word.upper())):
            raise UsageError(f"no rule has the code or name {word!r}; `ckpt-doctor rule` lists them")
        found |= named
    return found
