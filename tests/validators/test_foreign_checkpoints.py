"""Sound checkpoints of other projects: nothing is said of them that is not true, and nothing of our trainer's rules."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ckpt_doctor.audit import scan
from ckpt_doctor.cli.main import app
from ckpt_doctor.validators import FILE_RULES
from tests.validators.foreign_files import FILES

PASSED_OVER = {"stable-baselines"}
"""A zip file that holds checkpoints among other files is none itself."""
OF_ANY_FILE = {rule.code for rule in FILE_RULES if rule.for_others()}


@pytest.mark.parametrize("name", FILES)
def test_nothing_untrue_is_said(tmp_path, name):
    """Notes at most; no trainer is recognised, so its rules do not apply; no verdict but ok."""
    FILES[name](tmp_path)
    report = scan([tmp_path])
    assert [] == [(f.code, f.message) for f in report.findings if f.severity != "info"]
    assert {f.code for f in report.findings} <= OF_ANY_FILE
    assert bool(report.files) == (name not in PASSED_OVER)
    assert {("", "ok")} >= {(run.run.trainer, file.verdict) for run in report.runs for file in run.files}


@pytest.mark.parametrize("name", FILES)
def test_every_report_can_be_printed(tmp_path, name):
    """Table, JSON and page of a tree, inspection and gate of each file: nothing is wrong, and no resume is judged."""
    FILES[name](tmp_path)
    runner = CliRunner()
    for form in ("table", "json", "html"):
        assert 0 == runner.invoke(app, ["scan", str(tmp_path), "--format", form], catch_exceptions=False).exit_code
    for file in scan([tmp_path]).files:
        path = str(file.checkpoint.path)
        assert 0 == runner.invoke(app, ["inspect", path], catch_exceptions=False).exit_code
        gate = runner.invoke(app, ["check", path], catch_exceptions=False)
        assert 0 == gate.exit_code, gate.output
        assert "not judged" in gate.output


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_migrated(tmp_path, name):
    """`migrate --all` finds nothing to repair in files that no trainer of ours wrote, beyond tags and numpy numbers."""
    FILES[name](tmp_path)
    result = CliRunner().invoke(app, ["migrate", "--all", "--dry-run", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code in (0, 1)
    for key in ("scheduler", "epoch", "best_score", "global_step"):
        assert f"\n    {key}" not in result.output
