"""S204 at the gate: what a file calls stops it, unless a list or a person allows it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ckpt_doctor import check_resume, migrate, scan
from ckpt_doctor.advice import latest
from ckpt_doctor.audit import check
from ckpt_doctor.cli.main import app
from ckpt_doctor.errors import ResumeError, UsageError
from tests.validators.attacks import ALIASES, ATTACKS, CODE, call, name, text
from tests.validators.healthy_runs import healthy, write

STEP = "checkpoint_step_25/checkpoint.pt"
SAMPLE = Path(__file__).parents[2] / "fixtures" / "sample-runs" / "complete-TST"


def with_program(path: Path, program: bytes | None = None, before: bytes = b"") -> Path:
    """The archive with another `data.pkl`, or with opcodes before its own."""
    with zipfile.ZipFile(path) as archive:
        records = {record: archive.read(record) for record in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for record, data in records.items():
            own = program or b"\x80\x04" + before + b"0" + data[2:]
            archive.writestr(record, own if record.endswith("/data.pkl") else data)
    return path


def attacked(root: Path, attack: bytes) -> Path:
    """A healthy run, before each of whose programs the attack stands; its newest checkpoint."""
    folder = write(healthy("TST", saved_at=(25,)), root)
    for path in (folder / "checkpoint", *folder.glob("*/checkpoint.pt")):
        with_program(path, before=attack)
    return folder / STEP


@pytest.mark.parametrize(
    "attack", [pytest.param(a, marks=[] if n % 4 == 0 else [pytest.mark.long]) for n, a in enumerate(ATTACKS)]
)
def test_an_attack_before_a_healthy_program_stops_the_gate(tmp_path, attack):
    """`check`, `latest` and `check_resume` say no."""
    path = attacked(tmp_path, ATTACKS[attack])
    assert "error" in {f.severity for f in check(path).findings if f.code in ("S201", "S204")}
    assert latest(path.parents[1])[0] is None
    with pytest.raises(ResumeError):
        check_resume(path).raise_for_errors()


def test_the_same_run_without_an_attack_passes(tmp_path):
    """The stand-in for an attack changes nothing else."""
    path = attacked(tmp_path, b"N")
    assert ["S203"] == [finding.code for finding in check(path).findings]
    assert path == latest(path.parents[1])[0]


def test_the_commands_fail_on_a_foreign_call(tmp_path):
    """Exit code 1 before a trainer loads the file; `migrate` leaves it alone."""
    path = attacked(tmp_path, ALIASES["a process of psutil"])
    before = path.read_bytes()
    for arguments in (["check", path], ["latest", path.parents[1]], ["scan", path], ["inspect", path]):
        assert 1 == CliRunner().invoke(app, list(map(str, arguments))).exit_code, arguments
    (result,) = migrate(path, fixes=["plain-scalars"])
    assert "S204" in result.refusals[0].reason
    assert before == path.read_bytes()


def test_a_root_that_hides_what_it_is_stops_the_gate(tmp_path):
    """The attack makes the checkpoint itself: an object that no trainer recognises."""
    path = attacked(tmp_path, b"N")
    made = name("my_models", "State") + b")\x81(" + text("epoch") + b"K\x01u"
    with_program(path, b"\x80\x04" + made + call("psutil", "Popen", CODE) + b"0.")
    with pytest.raises(ResumeError):
        check_resume(path).raise_for_errors()
    assert path != latest(path.parents[1])[0]


# --- whom to trust ----------------------------------------------------------------------------------------------------

FOREIGN = b"\x80\x04" + call("my_models.data", "make", text("x")) + call("helpers", "make") + b"\x86."


@pytest.mark.parametrize(
    ("trusted", "left"),
    [
        ((), {"my_models.data", "helpers"}),
        (("my_models",), {"helpers"}),
        (("my_models.data",), {"helpers"}),
        (("my_models.dat",), {"my_models.data", "helpers"}),
        (("my_models.data.make",), {"my_models.data", "helpers"}),
        (("my_models", "helpers"), set()),
    ],
)
def test_a_package_may_be_trusted_with_all_below_it(tmp_path, trusted, left):
    """By its dotted name."""
    (tmp_path / "a.pkl").write_bytes(FOREIGN)
    report = scan(tmp_path, trust=trusted)
    assert left == {f.where for f in report.findings if f.code == "S204"}
    assert {"warning"} >= {f.severity for f in report.findings if f.code == "S204"}


def test_trust_ends_at_what_is_dangerous(tmp_path):
    """S201 stays, whoever is trusted; torch, numpy and Python's own modules cannot be."""
    (tmp_path / "a.pkl").write_bytes(FOREIGN[:-1] + call("my_models", "os.system", CODE) + b"0.")
    report = scan(tmp_path, trust=["my_models", "helpers"])
    assert {"S201"} == {f.code for f in report.findings if f.severity != "info"}
    for word in ("torch", "numpy.linalg", "os", "builtins", "", "*", "my models", "a..b"):
        with pytest.raises(UsageError):
            scan(tmp_path, trust=[word])


def test_every_repair_of_a_trusted_file_is_planned_and_made(tmp_path):
    """What loading calls into a trusted package keeps no finding from its cure."""
    shutil.copytree(SAMPLE, tmp_path / "copy")
    (step,) = (tmp_path / "copy").glob("checkpoints/*/checkpoint_step_140/checkpoint.pt")
    with_program(step, before=call("my_models", "make", CODE))
    (result,) = migrate(step)
    assert "S204" in result.refusals[0].reason
    (result,) = migrate(step, trust=["my_models"])
    assert ("migrated", True) == (result.status, "R501" in {finding.code for finding in result.before})
    assert "R501" not in {finding.code for finding in result.after}


def test_trust_by_option_and_by_setting(tmp_path, monkeypatch):
    """On every command that judges, given repeatedly; a list, or one name, in pyproject.toml."""
    path = attacked(tmp_path, call("my_models", "make") + b"0" + call("helpers", "make"))
    monkeypatch.chdir(tmp_path)
    run = str(path.parents[1])
    commands = [["latest", run], ["scan", "--fail-on", "error", run], ["check", "--fail-on", "error", str(path)]]
    for command in commands:
        assert 1 == CliRunner().invoke(app, [*command, "--trust", "helpers"]).exit_code
        assert 0 == CliRunner().invoke(app, [*command, "--trust", "helpers", "--trust", "my_models"]).exit_code
        assert 2 == CliRunner().invoke(app, [*command, "--trust", "torch"]).exit_code
    Path("pyproject.toml").write_text('[tool.ckpt-doctor]\ntrust = ["helpers", "my_models"]\n')
    for command in commands:
        assert 0 == CliRunner().invoke(app, command).exit_code
    (result,) = migrate(path, fixes=["plain-scalars"], trust=["helpers", "my_models"])
    assert () == result.refusals
    check_resume(path, trust=["helpers", "my_models"]).raise_for_errors()


@pytest.mark.parametrize(("file", "severity"), [("training_args.bin", "info"), ("model.bin", "warning")])
def test_a_part_that_no_resume_reads_is_a_note(tmp_path, file, severity):
    """As the trainers of transformers leave it beside a checkpoint."""
    torch.save({"w": torch.ones(1)}, tmp_path / file)
    with_program(tmp_path / file, before=call("my_models", "make"))
    assert [severity] == [f.severity for f in scan(tmp_path).findings if f.code == "S204"]
