"""Every rule names its fault, alone and rightly; and it is silent on what only looks like one."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from ckpt_doctor.audit import scan
from ckpt_doctor.repair import migrate
from ckpt_doctor.trainers import all_rules
from ckpt_doctor.trainers.time_llm import TIME_LLM
from ckpt_doctor.types import Evidence, Finding, Given, Report
from ckpt_doctor.validators import RULES as SHARED
from tests.validators.everyones_cases import CASES as EVERYONES
from tests.validators.healthy_runs import healthy, place, write
from tests.validators.rule_cases import CASES, Fault, Pair, Sound
from tests.validators.spoiling import PACKAGES

RULES = {rule.code: rule for rule in all_rules()}
MIGRATE = "ckpt-doctor migrate --"
REVEALED = {"L301": {"O702", "E601", "L306"}, "P402": {"P405", "P406"}, "R510": {"L306"}}
"""What can be said once a fault is cured: nothing brings moments back; an epoch that is not repeated is not validated.
"""
MODES = ("TST", "COS", "type1", "PEMS", "constant")
INFO_OF_HEALTHY = {"L306"}
"""Notes that the healthy runs deserve: the first patch saves no random state."""


def audited(case: Sound, root: Path) -> tuple[Path, Report]:
    """The run folder of a case, written, and what is said of it."""
    run = healthy(**case.run)
    if case.spoil:
        case.spoil(run)
    with mock.patch.dict(sys.modules, PACKAGES):
        folder = write(run, root)
    if case.damage:
        case.damage(place(folder, case.file))
    return folder, scan([root / "checkpoints"], facts=given(case), deep=case.deep)


def given(case: Sound) -> Given:
    """The facts that a person gives."""
    return {name: Evidence(value, f"--{name}", given=True) for name, value in case.facts.items()}


def named(report: Report, folder: Path) -> dict[str, list[Finding]]:
    """Findings by the name of the file in the run; those about the run under the empty name."""
    found = {"": [f for run in report.runs for f in run.findings]}
    for file in report.files:
        path = file.checkpoint.path
        name = path.parent.name if path.parent != folder else path.name
        found.setdefault(name, []).extend(file.findings)
    return found


MOST = {"breaks": 3, "spares": 1}
"""Cases of a rule that are no long ones."""


def cases(kind: str) -> list:
    """All cases of one side of the table as parameters with readable ids."""
    return [
        pytest.param(code, case, id=f"{code}-{case.name}", marks=[] if at < MOST[kind] else [pytest.mark.long])
        for code, pair in CASES.items()
        for at, case in enumerate(getattr(pair, kind))
    ]


@pytest.mark.parametrize(("code", "fault"), cases("breaks"))
def test_a_fault_is_named_and_nothing_else(tmp_path, code, fault: Fault):
    """The rule finds it in that file, with its severity, place, values and cure; no other rule warns.

    An error without a migration breaks the file, as does what must be packed first; a migration repairs it; notes and
    what nothing cures leave it ok.
    """
    folder, report = audited(fault, tmp_path)
    run_level = RULES[code].scope == "run"
    names = [""] if run_level else [fault.file, *fault.also]
    findings = named(report, folder)
    others = [
        (name, f.code, f.message)
        for name, found in findings.items()
        for f in found
        if f.severity != "info" and f.code not in fault.implies and not (f.code == code and name in names)
    ]
    assert [] == others
    for name in names:
        told = [f for f in findings[name] if f.code == code]
        assert [code] == [f.code for f in told]
        (f,) = told
        assert (fault.severity, fault.where, fault.fix) == (f.severity, f.where.partition(", byte")[0], f.fix)
        assert fault.expected == f.expected
        assert (fault.found(place(folder, name)) if callable(fault.found) else fault.found) == f.found
        assert f.message
    if not fault.implies:
        curable = (fault.fix or "").startswith(MIGRATE) and fault.severity != "info"
        verdict = "repairable" if curable else "broken" if fault.severity == "error" or code == "F116" else "ok"
        judged = {file.verdict for file in report.files if any(f.code == code for f in file.findings)}
        assert (set() if run_level else {verdict}) == judged


def cured() -> list:
    """The faults that a migration takes away; by default the first of each rule and each migration."""
    curable = [c for c in cases("breaks") if (c.values[1].fix or "").startswith(MIGRATE)]
    first = {(code, fault.fix): name for code, fault, name in reversed([(*c.values, c.id) for c in curable])}
    long = pytest.mark.long
    return [c if c.id in first.values() else pytest.param(*c.values, id=c.id, marks=long) for c in curable]


@pytest.mark.parametrize(("code", "fault"), cured())
def test_the_cure_cures(tmp_path, code, fault: Fault):
    """The command that a finding names takes it away, and leaves nothing else behind that was not there."""
    folder, before = audited(fault, tmp_path)
    finished = 2 if code == "L301" else None  # what no file of the run knows is given by hand
    results = migrate([folder], fixes=[fault.fix.removeprefix(MIGRATE)], facts=given(fault), epoch=finished)
    assert "migrated" in {result.status for result in results}, [result.message for result in results]
    after = scan([tmp_path / "checkpoints"], facts=given(fault), deep=fault.deep)
    assert code not in {f.code for f in after.findings}
    assert {f.code for f in after.findings} <= {f.code for f in before.findings} | REVEALED.get(code, set())


@pytest.mark.parametrize(("code", "sound"), cases("spares"))
def test_what_is_sound_is_left_alone(tmp_path, code, sound: Sound):
    """The rule says nothing of it in any file of the run; an error's or a warning's rule at most makes a note."""
    _, report = audited(sound, tmp_path)
    rule = RULES[code]
    told = [f for f in report.findings if f.code == code and (f.severity != "info" or rule.severity == "info")]
    assert [] == [f.message for f in told]
    assert report.files


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("generation", ["complete", "first-patch"])
def test_healthy_runs_are_ok(tmp_path, mode, generation):
    """Nothing is said of any file of a run that goes on as if it had never been interrupted.

    The first patch cannot save its EarlyStopping, so of its files only those from before the first validation qualify.
    """
    saved_at = (5, 15, 25) if generation == "complete" else (3, 5)
    facts = {"lradj": mode, "steps_per_epoch": 10, "world_size": 1} | (
        {} if mode in ("TST", "COS") else {"learning_rate": 0.0004}
    )
    case = Sound("", run={"mode": mode, "generation": generation, "saved_at": saved_at}, facts=facts)
    _, report = audited(case, tmp_path)
    assert [] == [(f.code, f.message) for f in report.findings if f.code not in INFO_OF_HEALTHY]
    assert {"ok"} == {file.verdict for file in report.files}
    unshuffled = scan([tmp_path / "checkpoints"], facts=given(replace(case, facts=facts | {"shuffle": False})))
    assert {"identical"} == {file.resume for file in unshuffled.files}


def test_every_rule_has_both_sides():
    """No rule without a fault that breaks it and a sound file that it spares (live rules have their own tests)."""
    own = TIME_LLM.judging()  # other trainers' own are tested with them
    rules = (*SHARED, *own.rules, *own.run_rules)
    assert {rule.code for rule in rules} == set(CASES) | set(EVERYONES)
    assert [] == [code for code, pair in CASES.items() if not (pair.breaks and pair.spares)]
    assert all(isinstance(pair, Pair) for pair in CASES.values())
