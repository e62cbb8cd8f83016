"""Sound checkpoints of other projects: nothing is said of them that is not true, and nothing of our trainer's rules."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ckpt_doctor.audit import scan
from ckpt_doctor.cli.main import app
from ckpt_doctor.validators import FILE_RULES
from tests.validators.foreign_files import FILES

PASSED_OVER = {"stable-baselines"}
"""A zip file that holds checkpoints among other files is none itself."""
OF_ANY_FILE = {rule.code for rule in FILE_RULES if rule.for_others}


@pytest.fixture(scope="module", params=FILES)
def project(request, tmp_path_factory) -> tuple[str, Path]:
    """The name of a project, and a folder of its files; nothing here writes there."""
    folder = tmp_path_factory.mktemp("project")
    FILES[request.param](folder)
    return request.param, folder


def test_nothing_untrue_is_said(project):
    """Notes at most; none but a loop by hand is recognised, and judged as far as it can be; no verdict but ok."""
    name, folder = project
    report = scan([folder])
    assert [] == [(f.code, f.message) for f in report.findings if f.severity != "info"]
    assert {f.code for f in report.findings} <= OF_ANY_FILE | {"P412"}
    assert bool(report.files) == (name not in PASSED_OVER)
    assert {("", "ok"), ("plain", "ok")} >= {(r.run.trainer, file.verdict) for r in report.runs for file in r.files}
    assert "identical" not in {file.resume for file in report.files}


def test_every_report_can_be_printed(project):
    """Table, JSON and page of a tree, inspection and gate of each file: nothing is wrong, and no resume is judged."""
    _, folder = project
    runner = CliRunner()
    for form in ("table", "json", "html"):
        assert 0 == runner.invoke(app, ["scan", str(folder), "--format", form], catch_exceptions=False).exit_code
    for file in scan([folder]).files:
        path = str(file.checkpoint.path)
        assert 0 == runner.invoke(app, ["inspect", path], catch_exceptions=False).exit_code
        gate = runner.invoke(app, ["check", path], catch_exceptions=False)
        assert 0 == gate.exit_code, gate.output
        assert "resume: not judged" in gate.output or "resume: open" in gate.output


def test_nothing_is_migrated(project):
    """`migrate --all` finds nothing to repair in files that no trainer of ours wrote, beyond tags and numpy numbers."""
    _, folder = project
    result = CliRunner().invoke(app, ["migrate", "--all", "--dry-run", str(folder)], catch_exceptions=False)
    assert result.exit_code in (0, 1)
    for key in ("scheduler", "epoch", "best_score", "global_step"):
        assert f"\n    {key}" not in result.output
