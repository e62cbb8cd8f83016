"""What severities add up to, what is left of them when rules are chosen, and that nothing is passed over in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.advice import scan as scan_with_advice
from ckpt_doctor.audit import check, scan, verdict_of
from ckpt_doctor.cli.main import app
from ckpt_doctor.errors import UsageError
from ckpt_doctor.types import Finding, Report
from tests.validators.healthy_runs import healthy, place, write
from tests.validators.rule_cases import Fault
from tests.validators.spoiling import BEST, STEP, at_position, both, bytes_of, drop, put
from tests.validators.test_rules import given as facts_of

FINDINGS = [
    Finding("X1", "x", severity, "x", migration=name)
    for severity in ("error", "warning", "info")
    for name in (None, "to-cpu")
]


def of_file(report: Report, folder: Path, name: str = STEP):
    """The report of one checkpoint of a run."""
    (found,) = [file for file in report.files if file.checkpoint.path == place(folder, name)]
    return found


@given(st.lists(st.sampled_from(FINDINGS)))
def test_verdict(findings):
    """`broken`: an error that no migration cures. `repairable`: something above info that one does. Else `ok`."""
    serious = {(f.severity, f.migration is not None) for f in findings if f.severity != "info"}
    expected = "broken" if ("error", False) in serious else "repairable" if any(c for _, c in serious) else "ok"
    assert expected == verdict_of(findings)


def test_only_what_a_flag_cures_leaves_a_file_ok(tmp_path):
    """R506 is a warning, so it fails a scan; the file itself is as it should be."""
    folder = write(healthy("type1"), tmp_path)
    file = of_file(scan([folder]), folder)
    assert ["R506"] == [f.code for f in file.findings if f.severity != "info"]
    assert "ok" == file.verdict
    assert 1 == CliRunner().invoke(app, ["scan", str(folder)]).exit_code


# --- choosing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def spoiled(tmp_path) -> Path:
    """A run with an error (no optimizer), a curable warning (the schedule lags) and notes (no random state)."""
    run = healthy()
    both(drop("optimizer"), put("rng_state", None), put("counter", 2, file=BEST))(run)
    return write(run, tmp_path)


@pytest.mark.parametrize(
    ("select", "ignore", "codes", "verdicts"),
    [
        ((), (), {"L302", "L306", "E606"}, ("broken", "repairable")),
        (("E",), (), {"E606"}, ("broken", "repairable")),
        (("e606",), (), {"E606"}, ("broken", "repairable")),
        (("stale-counter",), (), {"E606"}, ("broken", "repairable")),
        ((), ("L302",), {"L306", "E606"}, ("ok", "repairable")),
        ((), ("L", "E"), set(), ("ok", "ok")),
        (("L",), ("L306",), {"L302"}, ("broken", "repairable")),
        ((), ("X902", "E606"), {"L302", "L306"}, ("broken", "ok")),
    ],
)
def test_chosen_rules(spoiled, select, ignore, codes, verdicts):
    """Selecting hides findings and hides no verdict; what is ignored is accepted, and no longer counts."""
    report = scan_with_advice([spoiled], select=select, ignore=ignore)
    assert codes == {f.code for f in report.findings}
    assert verdicts == (of_file(report, spoiled).verdict, of_file(report, spoiled, BEST).verdict)


@pytest.mark.parametrize("word", ["E699", "", "missing-score", "Z", "E60 1"])
def test_a_rule_that_does_not_exist_is_refused(spoiled, word):
    """A misspelled rule would otherwise select nothing, and everything would look fine."""
    with pytest.raises(UsageError):
        scan_with_advice([spoiled], select=[word])
    with pytest.raises(UsageError):
        check(place(spoiled, STEP), ignore=[word])


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (put("rng_state", None), {"error": 0, "warning": 0, "never": 0}),
        (at_position("TST", 24), {"error": 0, "warning": 1, "never": 0}),
        (drop("optimizer"), {"error": 1, "warning": 1, "never": 0}),
    ],
)
def test_exit_codes(tmp_path, fault, codes):
    """`--fail-on` decides from which severity on a finding fails the command; a note never does."""
    run = healthy()
    fault(run)
    folder = write(run, tmp_path)
    for command in ("scan", "check"):
        for fail_on, expected in codes.items():
            result = CliRunner().invoke(app, [command, str(place(folder, STEP)), "--fail-on", fail_on])
            assert (fail_on, expected) == (fail_on, result.exit_code)


# --- never in silence ------------------------------------------------------------------------------------------------


def unchecked(file) -> dict[str, str]:
    """What was not checked, and what would settle it."""
    return {entry.what: entry.settle for entry in file.not_checked}


def test_bytes_that_were_not_read_are_named(tmp_path):
    """Without `--deep` no tensor is called sound; with it the line is gone."""
    folder = write(healthy(), tmp_path)
    assert {"--deep"} == set(unchecked(of_file(scan([folder]), folder)).values())
    assert {} == unchecked(of_file(scan([folder], deep=True), folder))


@pytest.mark.parametrize("mode", ["COS", "TST", "type1"])
def test_what_a_lone_file_leaves_open_is_named(tmp_path, mode):
    """Whatever the gate cannot judge without siblings and log stands in its answer, with the option that settles it;
    given these, nothing is left but the bytes."""
    folder = write({STEP: healthy(mode)[STEP]}, tmp_path)
    path = place(folder, STEP)
    (file,) = check(path).files
    settle = set(unchecked(file).values())
    assert {"--deep", "--log"} <= settle
    if mode == "COS":
        assert {"--steps-per-epoch", "--train-epochs"} <= settle
    fault = Fault("", facts={"steps_per_epoch": 10, "train_epochs": 5, "lradj": mode, "world_size": 1, "patience": 3})
    (file,) = check(path, facts=facts_of(fault)).files
    assert {"--deep", "--log"} == set(unchecked(file).values())


def test_an_unknown_mode_is_named(tmp_path):
    """With one step done no mode can be told from another: the schedule is not judged, and that is said."""
    run = {"checkpoint_step_1": healthy(saved_at=(1,))["checkpoint_step_1"]}
    at_position("TST", 0, "checkpoint_step_1")(run)
    folder = write(run, tmp_path)
    known = facts_of(Fault("", facts={"steps_per_epoch": 10}))
    file = of_file(scan([folder], facts=known), folder, "checkpoint_step_1")
    assert "--lradj" in unchecked(file).values()
    assert [] == [f.code for f in file.findings if f.code.startswith("R")]


def test_every_report_shows_what_was_not_checked(tmp_path):
    """In the table and in JSON, not only in the value."""
    folder = write(healthy(), tmp_path)
    for form in ("table", "json", "markdown", "html"):
        output = CliRunner().invoke(app, ["scan", str(folder), "--format", form]).output
        assert "--deep" in output


def test_damaged_files_are_findings(tmp_path):
    """Whatever a file is cut to, it is judged broken, and the rest of the run as before."""
    whole = write(healthy(), tmp_path / "whole")
    expected = {name: of_file(scan([whole]), whole, name).verdict for name in (BEST, "checkpoint_step_5")}
    folder = write(healthy(), tmp_path / "cut")
    size = place(folder, STEP).stat().st_size
    for left in range(0, size, size // 12):
        bytes_of(lambda data, left=left: data[:left])(place(folder, STEP))
        report = scan([folder])
        assert "broken" == of_file(report, folder).verdict
        assert expected == {name: of_file(report, folder, name).verdict for name in expected}
        write(healthy(), tmp_path / "cut")


@pytest.mark.parametrize("damage", [None, bytes_of(lambda data: data[:-200]), bytes_of(lambda _: b"text")])
@pytest.mark.parametrize("name", [STEP, BEST])
def test_scan_check_and_inspect_give_one_verdict(spoiled, name, damage):
    """Of a spoiled file, of a cut one, of one that is no checkpoint; also of a file that no trainer here wrote."""
    file = place(spoiled, name)
    foreign = spoiled.parent.parent / "other.pt"
    torch.save({"model": {"w": torch.ones(2)}, "optimizer": {}, "step": 3}, foreign)
    if damage:
        damage(file)
    told = {path: scan([path]).files[0].outlook for path in (file, foreign)}
    assert told[file] == check(file).files[0].outlook
    for path in (file, foreign):
        shown = CliRunner().invoke(app, ["inspect", str(path)]).stdout
        assert f"verdict: {told[path]}" in shown
        document = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--format", "json"]).stdout)
        assert scan([path]).files[0].verdict == document["file"]["verdict"]


def test_no_cure_by_migration_is_printed_for_a_file_that_is_cut(spoiled):
    """`migrate` refuses a damaged file, so no finding about it offers one."""
    file = place(spoiled, "checkpoint_step_25")
    file.write_bytes(file.read_bytes()[:-2000])
    (judged,) = scan([file]).files
    assert "broken" == judged.verdict
    assert [] == [finding.code for finding in judged.findings if finding.migration]


def test_a_compressed_archive_is_not_called_repairable(spoiled):
    """Its pickle cannot be replaced: what is wrong is said, with the way that is left."""
    import zipfile

    file = place(spoiled, "checkpoint_step_25")
    with zipfile.ZipFile(file) as archive:
        records = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    (judged,) = scan([file]).files
    assert "F117" in {finding.code for finding in judged.findings}
    assert "repairable" != judged.verdict
    assert [] == [finding.code for finding in judged.findings if finding.migration]
