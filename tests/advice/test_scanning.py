"""Every surface begins with what to do, in few lines, and all of them agree."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from ckpt_doctor import scan
from tests.advice.drive import Call, advice, is_answer, runs
from tests.sampled import sampled

SCREEN = 24


@pytest.mark.parametrize("options", sampled([[], ["-q"], ["-v"]], []), ids=" ".join)
@pytest.mark.parametrize("command", [["scan"], ["migrate", "--all", "--dry-run"]], ids=" ".join)
def test_the_first_lines_are_the_answers(drive: Path, call: Call, command: list[str], options: list[str]) -> None:
    printed = call(*command, *options).stdout.splitlines()
    assert is_answer(printed[0])
    assert len(runs()) == sum(map(is_answer, dict.fromkeys(printed))), "one for each run"


def test_check_and_latest_begin_with_it_for_each_run(drive: Path, call: Call) -> None:
    for run in runs().values():
        assert is_answer(call("latest", run.run.path).stderr.splitlines()[0]), run.run.path
        for file in run.files:
            checked = call("check", file.checkpoint.path)
            assert is_answer(checked.stdout.splitlines()[0]), checked.output


def test_print_of_a_report_begins_with_it_and_is_short(drive: Path) -> None:
    printed = str(scan())
    assert is_answer(printed.splitlines()[0])
    assert len(printed) < 20_000


@pytest.mark.long
def test_all_of_them_agree(drive: Path, call: Call) -> None:
    told = {run["path"]: run["advice"] for run in json.loads(call("scan", "--format", "json").stdout)["runs"]}
    migrated = json.loads(call("migrate", "--all", "--dry-run", "--format", "json").stdout)["runs"]
    assert told == {run["path"]: run["advice"] for run in migrated}
    for path, answer in told.items():
        latest = json.loads(call("latest", path, "--format", "json").stdout)
        assert {**answer, "command": ...} == {**latest["advice"], "command": ...}
        if answer["kind"] in ("resume", "repair"):
            assert answer["path"] == call("latest", path, "--repairable").stdout.strip()
            checked = json.loads(call("check", answer["path"], "--format", "json").stdout)["runs"][0]["advice"]
            assert [answer[name] for name in ("path", "position", "flags")] == [
                checked[name] for name in ("path", "position", "flags")
            ]


def test_latest_takes_the_default_folder_and_lists_a_command_for_each_of_several_runs(drive: Path, call: Call) -> None:
    found = call("latest")
    assert (2, "") == (found.exit_code, found.stdout)
    listed = [shlex.split(line)[1:] for line in found.stderr.splitlines() if "ckpt-doctor latest" in line]
    assert {str(run.run.path) for run in runs().values()} == {words[1] for words in listed}
    assert all(call(*words).exit_code in (0, 1) for words in listed)


def blocks(printed: str) -> list[list[str]]:
    return [block.splitlines() for block in re.split(r"\n\n(?=checkpoints/|\d+ checkpoints?:)", printed)]


def test_a_run_with_findings_takes_a_screen_at_most(drive: Path, call: Call) -> None:
    told = blocks(call("scan").stdout)
    assert len(told) == len(runs()) + 1, "the answers, the runs but for somebody's, the summary"
    assert max(map(len, told[1:])) <= SCREEN


def test_a_healthy_run_takes_three_lines(drive: Path, call: Call) -> None:
    [run] = (drive / "checkpoints").glob("*COS")
    shutil.rmtree(run / "checkpoint_step_90")
    assert 0 == call("migrate", "--all", run).exit_code
    printed = call("scan", run).stdout
    assert 3 == len(printed.splitlines()), printed
    assert "2 checkpoints" in printed.splitlines()[1]
    assert "  checkpoint_step_75  " in call("scan", "-v", run).stdout


def test_quiet_is_the_answer_what_is_wrong_and_what_was_not_read(drive: Path, call: Call) -> None:
    printed = call("scan", "-q").stdout
    best = advice("COS").path or ""
    for told in (printed, call("check", "-q", best).stdout):
        assert "Not checked: stored checksums and NaN (--deep)." == told.splitlines()[-1]
    assert "Not checked" not in call("check", "-q", "--deep", best).stdout
    assert "F101 truncated-archive" in printed
    assert not re.search(r"worth knowing|not checked|verdict|checkpoints?: ", printed)
    assert len(printed) < len(call("scan").stdout) < len(call("scan", "-v").stdout)
    assert 2 == call("scan", "-q", "-v").exit_code


def test_no_line_but_of_what_one_copies_is_wider_than_the_terminal(drive: Path, call: Call) -> None:
    shown = [call("scan"), call("scan", "-v"), call("check", advice("COS").path or "")]
    lines = [line for result in shown for line in result.stdout.splitlines() if "ckpt-doctor " not in line]
    assert max(map(len, lines)) <= 100


def test_an_empty_folder_fails_a_check_and_not_a_scan(tmp_path: Path, call: Call) -> None:
    scanned, checked = call("scan", tmp_path), call("check", tmp_path)
    assert (0, 1) == (scanned.exit_code, checked.exit_code)
    assert "No checkpoints in" in " ".join(scanned.stdout.split())
    assert "No checkpoints in" in checked.stderr
