"""The commands as a user meets them: what they print, where, and with which exit code."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import socket
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy
import pytest
import safetensors.numpy

from ckpt_doctor.cli.main import COMMANDS, app
from ckpt_doctor.cli.migrate import FIXES

EVERY = sorted(COMMANDS)


def command_of(name: str) -> click.Command:
    found = app.get_command(click.Context(app), name)
    assert found is not None
    return found


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name}


OF_TRAININGS = ("record", "trace", "rehearse")
"""Commands whose examples run a training: `tests/rehearsal` runs some."""

# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_every_help_has_an_example_that_calls_the_command(run, name: str) -> None:
    shown = run(name, "--help")
    assert shown.exit_code == 0
    _, example, lines = shown.output.partition("Example")
    assert example
    assert f"ckpt-doctor {name}" in lines


def examples(name: str) -> list[list[str]]:
    """The calls in a command's help, without the shell around them."""
    text = app.help if name == "" else command_of(name).help
    lines = [line.strip() for line in (text or "").partition("Example")[2].splitlines()[1:] if line.strip()]
    calls = [re.sub(r"^\w+=\$\((.*)\)$", r"\1", line.removesuffix(" || exit 1")) for line in lines]
    return [shlex.split(call.replace("$RESUME_FROM", "my_run").replace("$LRADJ", "type1")) for call in calls]


@pytest.mark.long
@pytest.mark.parametrize("name", ["", *(name for name in EVERY if name not in OF_TRAININGS)])
def test_every_example_of_the_help_works(sample, run, name: str) -> None:
    """In a folder that has the files of which the examples speak."""
    folder = sample("first-patch-type1")
    for epoch in (17, 18):
        shutil.copy(folder / "checkpoint", folder / f"epoch_{epoch}.pt")
    for name_of_run in ("my_run", "checkpoints/my_run"):
        shutil.copytree(folder, name_of_run)
    shutil.copytree("checkpoints", "old_checkpoints")
    for file in ("before.pt", "after.pt"):
        shutil.copy(folder / "checkpoint", file)
    safetensors.numpy.save_file({"a": numpy.zeros(3)}, "model.safetensors")
    for script in ("run_main.py", "run_pretrain.py"):
        Path(script).write_text("import shutil\nshutil.rmtree('./checkpoints')\n")
    calls = examples(name)
    assert calls
    for call in calls:
        assert call[0] == "ckpt-doctor"
        result = run(*call[1:])
        assert result.exit_code in (0, 1), (call, result.output)
        assert "Error" not in result.stderr, (call, result.stderr)
        assert result.exception is None or isinstance(result.exception, SystemExit), call


@pytest.mark.parametrize("name", EVERY)
def test_every_option_of_every_command_says_what_it_does(name: str) -> None:
    assert [p.name for p in command_of(name).params if isinstance(p, click.Option) and not p.help] == []


@pytest.mark.parametrize("name", [name for name in EVERY if name != "record"])  # prints what its command prints
def test_every_command_prints_json_too(name: str) -> None:
    choices = next(p.type for p in command_of(name).params if p.name == "form")
    assert "json" in choices.choices  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", EVERY)
def test_every_help_fits_80_columns(run, name: str) -> None:
    assert max(map(len, run(name, "--help").output.splitlines())) <= 80


def test_the_main_help_lists_every_command_with_what_it_is_for(run) -> None:
    shown = run("--help").output
    for name, summary in COMMANDS.items():
        assert f"  {name} " in shown
        assert summary in shown


def test_the_version_is_the_packages(run) -> None:
    from ckpt_doctor import __version__

    assert run("--version").output == f"ckpt-doctor {__version__}\n"


# --- scan ------------------------------------------------------------------------------------------------------------


def test_scan_without_a_path_audits_checkpoints_here(sample, run) -> None:
    sample("first-patch-type1")
    result = run("scan")
    assert result.exit_code == 1
    assert "E601 missing-best-score (3 files)" in " ".join(result.stdout.split())
    assert result.stderr == ""


def test_scan_prints_json_with_every_file(sample, run) -> None:
    folder = sample("first-patch-type1")
    document = json.loads(run("scan", "--format", "json").stdout)
    assert {Path(file["path"]) for file in document["files"]} == {p for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("form", ["table", "json", "sarif", "github", "markdown", "html"])
def test_scan_writes_every_format_to_a_file_and_then_prints_nothing(sample, run, form: str) -> None:
    sample("complete-TST")
    printed = run("scan", "--format", form, "--ignore", "R,E,S,L")
    written = run("scan", "--format", form, "--ignore", "R,E,S,L", "-o", "report")
    assert (printed.exit_code, written.exit_code) == (0, 0)
    assert written.stdout == ""
    assert bool(Path("report").read_text(encoding="utf-8")) == bool(printed.stdout)


def format_of(text: str) -> str:
    """Which format a report is in, by its look."""
    looks = {"html": "<!doctype html>", "sarif": '{"$schema"', "json": '{"version": 1'}
    found = next((form for form, begins in looks.items() if text.lstrip().startswith(begins)), "table")
    return "markdown" if "|---|" in text.replace(" ", "") else found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-o", "out.html"], "html"),
        (["-o", "out.HTM"], "html"),
        (["-o", "out.json"], "json"),
        (["-o", "out.sarif"], "sarif"),
        (["-o", "out.md"], "markdown"),
        (["-o", "out.txt"], "table"),
        (["-o", "out.html", "--format", "table"], "table"),
        (["--format", "json", "-o", "out.html"], "json"),
    ],
)
def test_the_suffix_of_the_output_file_is_its_format_where_none_is_given(sample, run, options, expected) -> None:
    """An option wins, wherever it stands; a setting does not."""
    sample("complete-TST")
    Path("pyproject.toml").write_text('[tool.ckpt-doctor]\nformat = "github"\n' if "out.txt" not in options else "")
    run("scan", *options)
    [name] = [option for option in options if option.startswith("out.")]
    assert expected == format_of(Path(name).read_text())


def test_a_suffix_that_a_command_has_no_format_for_changes_nothing(sample, run) -> None:
    folder = sample("complete-TST")
    assert run("inspect", folder / "checkpoint", "-o", "out.html").exit_code == 0
    assert "model" in Path("out.html").read_text()
    assert "html" not in Path("out.html").read_text()
    assert json.loads(run("inspect", folder / "checkpoint", "-o", "-", "--format", "json").stdout)


def test_a_dash_as_output_file_is_stdout(sample, run) -> None:
    sample("complete-TST")
    printed, dashed = (run("scan", "--format", "markdown", *more).stdout for more in ([], ["-o", "-"]))
    assert printed.splitlines()[:-1] == dashed.splitlines()[:-1]  # the last line tells the time
    assert not Path("-").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], 1),
        (["--fail-on", "warning"], 1),
        (["--fail-on", "error"], 0),
        (["--fail-on", "never"], 0),
        (["--ignore", "E601,R"], 0),
        (["--select", "F"], 0),
        (["--select", "missing-best-score"], 1),
        (["--select", "E", "--ignore", "E601"], 0),
    ],
)
def test_the_exit_code_of_scan_follows_the_findings_that_count(sample, run, options: list[str], expected: int) -> None:
    sample("first-patch-type1")
    assert run("scan", *options).exit_code == expected


def test_no_migration_is_offered_for_files_that_none_can_touch(sample, run) -> None:
    sample("damaged")
    assert "migrate" not in run("scan").stdout


def test_damage_that_is_ignored_makes_no_migration_possible(sample, run) -> None:
    step = sample("complete-TST") / "checkpoint_step_140" / "checkpoint.pt"
    assert "migrate" in run("scan", step, "--ignore", "F").stdout
    with zipfile.ZipFile(step) as archive:
        records = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/data/0")}
    with zipfile.ZipFile(step, "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    assert "F103" in run("migrate", step, "--all").stdout
    offered = [line for line in run("scan", step, "--ignore", "F").stdout.splitlines() if "migrate" in line]
    assert offered, "of one that lies beside it"
    assert not any(str(step) in line for line in offered)


def test_errors_fail_even_where_warnings_may_not(sample, run) -> None:
    sample("damaged")
    assert run("scan", "--fail-on", "error").exit_code == 1
    assert run("scan", "--fail-on", "never").exit_code == 0


def test_a_fact_given_as_an_option_wins_and_is_named_as_the_source(sample, run) -> None:
    sample("first-patch-type1")
    [described] = json.loads(run("scan", "--patience", "7", "--format", "json").stdout)["runs"]
    assert described["evidence"]["patience"] == "--patience"


def test_a_shuffling_loader_is_said_once_and_taken_along(sample, run) -> None:
    """Time-LLM's does. The scan's cure carries the fact where it is given, and the repair that it names cures."""
    sample("complete-COS")
    told = run("scan", "--shuffle")
    assert (1, True) == (told.exit_code, "shuffled" in told.stdout)
    cure = next(line for line in told.stdout.splitlines() if "migrate" in line).partition("ckpt-doctor ")[2]
    assert "--shuffle" in cure.split()
    assert "R510" in run("scan").stdout
    assert "R510" not in run("scan", "--no-shuffle").stdout
    at = str(next(Path("checkpoints").glob("*/checkpoint_step_75")))
    assert "R510" in run("check", at).stdout
    assert "R510" not in run("check", at, "--no-shuffle").stdout
    repaired = run(*shlex.split(cure))
    assert "of disk needed" in repaired.stderr
    assert "R510" not in run("check", at, "--shuffle").stdout
    [described] = json.loads(run("scan", "--shuffle", "--format", "json").stdout)["runs"]
    assert described["evidence"]["shuffle"] == "--shuffle"


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["scan", "nope"], 2, "nope does not exist"),
        (["scan"], 2, "there is no folder checkpoints/"),
        (["migrate", "--all"], 2, "as in `ckpt-doctor migrate path/to/checkpoints`"),
        (["check", "nope"], 2, "nope does not exist"),
        (["check", "empty"], 1, "No checkpoints in empty"),
        (["inspect", "nope"], 2, "nope does not exist"),
        (["undo", "nope"], 2, "nope does not exist"),
        (["latest", "nope"], 2, "nope does not exist"),
        (["latest", "empty"], 1, "no checkpoint in empty is safe to resume from: none lies there"),
        (["prune", "nope", "--keep", "1"], 2, "nope does not exist"),
        (["prune", "empty", "--keep", "0"], 2, "--keep"),
        (["salvage", "nope", "-o", "out"], 2, "nope"),
        (["export", "nope", "-o", "out.safetensors"], 2, "nope does not exist"),
        (["export", "empty", "-o", "out.pt"], 2, "give the file the suffix .safetensors"),
        (["inspect"], 2, "Missing argument 'FILE'"),
        (["inspect", "--stats"], 2, "Missing argument 'FILE'"),
        (["inspect", "--stats", "nope"], 2, "nope does not exist"),
        (["diff", "nope", "nope"], 2, "nope does not exist"),
        (["lint", "nope"], 2, "nope"),
        (["rule", "Z999"], 2, "there is no rule 'Z999'"),
        (["scan", "empty", "--select", "Z999"], 2, "'Z999'"),
        (["scan", "empty", "--select", "X901"], 2, "lint judges scripts"),
        (["lint", "empty", "--select", "E601,R"], 2, "scan and check judge checkpoints"),
        (["lint", ""], 2, "is a variable of the script not set?"),
        (["scan", "empty", "--log", "nope.log"], 2, "nope.log"),
        (["scan", "empty", "-o", "nope/report"], 2, "cannot write nope/report"),
        (["migrate", "empty", "--all", "--in-place", "--output", "x"], 2, "exclude each other"),
        (["migrate", "empty", "--all", "--best-score", "-1", "--val-loss", "1"], 2, "exclude each other"),
        (["migrate", "empty", "--all", "--best-score", "1"], 2, "--val-loss 1"),
        (["migrate", "empty", "--all", "--best-score", "nan"], 2, "must be a finite number, not nan"),
        (["migrate", "empty", "--all", "--val-loss", "inf"], 2, "must be a number from 0 on, not inf"),
        (["migrate", "empty", "--all", "--val-loss", "-1"], 2, "must be a number from 0 on, not -1"),
        (["scan", "empty", "--learning-rate", "nan"], 2, "must be a number above 0, not nan"),
        (["scan", "empty", "--learning-rate", "0"], 2, "must be a number above 0, not 0"),
        (["scan", "empty", "--pct-start", "1.5"], 2, "must be a number from 0 to 1, not 1.5"),
        (["scan", "empty", "--steps-per-epoch", "0"], 2, "0 is not in the range x>=1"),
        (["scan", "empty", "--world-size", "-2"], 2, "-2 is not in the range x>=1"),
        (["scan", "empty", "--lradj", "type9"], 2, "'type9' is not one of 'TST', 'COS', 'type1'"),
        (["scan", "empty", "--log", "empty"], 2, "empty is not a plain file"),
        (["scan", "empty", "--log", "/dev/zero"], 2, "/dev/zero is not a plain file"),
        (["scan", ""], 2, "an empty path; is a variable of the script not set?"),
        (["migrate", "", "--all"], 2, "an empty path"),
        (["latest", ""], 2, "an empty path"),
        (["prune", "", "--keep", "1"], 2, "an empty path"),
        (["undo", ""], 2, "an empty path"),
        (["diff", "/dev/null", "/dev/null"], 2, "/dev/null cannot be compared"),
        (["undo", "/dev/null"], 1, ""),
        (["frob"], 2, "there is no command 'frob'; the commands are scan, inspect"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(run, arguments: list[str], code: int, sentence: str) -> None:
    Path("empty").mkdir()
    result = run(*arguments)
    assert result.exit_code == code
    assert sentence in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert [path.name for path in Path().iterdir()] == ["empty"]
    assert list(Path("empty").iterdir()) == []


def test_a_folder_that_looks_like_a_url_is_a_folder(sample, run) -> None:
    folder = sample("complete-TST")
    shutil.copytree(folder, "s3:/run")
    assert "3 checkpoints" in run("scan", "./s3:/run").stdout


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_folder_without_checkpoints_is_no_failure_and_is_said(run, form: str) -> None:
    Path("papers").mkdir()
    Path("papers/notes.md").write_text("text")
    result = run("scan", "papers", "--format", form)
    assert result.exit_code == 0
    assert "No checkpoints in papers" in (result.stdout if form == "table" else result.stderr)
    assert form == "table" or json.loads(result.stdout)["files"] == []


@pytest.fixture
def oddities() -> list[Path]:
    """What a path can lead to that is no plain file: none may be waited for, none be written to."""
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("nowhere")
    Path("tree/run").mkdir(parents=True)
    os.mkfifo("tree/run/checkpoint")
    Path("tree/run/up").symlink_to("..")
    return [Path(name) for name in ("pipe", "socket", "loop", "dangling", "/dev/zero", "tree", "tree/run/checkpoint")]


@pytest.mark.parametrize(
    "command",
    [
        "scan",
        "inspect",
        "check",
        "migrate --all",
        "undo",
        "salvage -o out",
        "export -o out.safetensors",
        "latest",
        "prune --keep 1",
        "diff",
    ],
)
def test_pipes_sockets_devices_and_loops_are_said_and_never_waited_for(run, oddities: list[Path], command: str) -> None:
    name, *options = command.split()
    for path in oddities:
        result = run(name, path, *([path] if name == "diff" else []), *options)
        assert result.exit_code in ((0, 1) if path == Path("tree") and name in ("undo", "prune") else (1, 2)), path
        assert result.output
        assert isinstance(result.exception, SystemExit | None), (path, result.exception)
    assert not Path("out").exists()


def test_a_file_that_may_not_be_read_is_a_finding(sample, run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sample("complete-TST")
    opened = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if os.fspath(path).endswith("checkpoint_step_120/checkpoint.pt"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "access", lambda path, *_: "checkpoint_step_120" not in str(path))
    by_itself = next(Path(folder).rglob("checkpoint_step_120/checkpoint.pt"))
    for each in (run("check", by_itself), run("scan", by_itself)):
        assert "F106 unreadable-file: the system refuses" in each.stdout
    result = run("scan", folder)
    assert result.exit_code == 1
    assert "F106 unreadable-file (checkpoint_step_120): the system refuses to read the file: Permission denied" in (
        " ".join(result.stdout.split())
    )
    assert "3 checkpoints: 2 repairable, 1 broken." in result.stdout


def test_a_folder_called_checkpoint_pt_is_searched_like_any_other(sample, run) -> None:
    folder = sample("complete-TST")
    Path("odd").mkdir()
    shutil.copytree(folder, "odd/checkpoint.pt")
    assert "3 checkpoints" in run("scan", "odd").stdout
    assert run("check", "odd").exit_code == 2


def test_a_text_file_where_a_checkpoint_belongs_is_a_finding(run) -> None:
    Path("checkpoint").write_text("Google Drive - Quota exceeded")
    result = run("check", "checkpoint")
    assert result.exit_code == 1
    assert "F105 not-a-checkpoint" in result.stdout


# --- check -----------------------------------------------------------------------------------------------------------


def test_an_empty_path_is_a_first_start(run) -> None:
    result = run("check", "")
    assert (result.exit_code, result.stdout) == (0, "")
    assert len(result.stderr.splitlines()) == 1


def test_check_prints_what_the_trainer_will_do(sample, run) -> None:
    folder = sample("complete-COS")
    result = run("check", folder / "checkpoint_step_75", "--no-shuffle")
    assert result.exit_code == 0
    assert "resume: identical" in result.stdout
    assert "starts at epoch 1" in result.stdout
    assert "skips 30 of 45 batches" in result.stdout
    assert "verdict: ok" in result.stdout


def test_check_gives_a_script_the_flags_and_nothing_else_on_stdout(sample, run) -> None:
    """After the migration the rate's base is all that is left, and the flags are its cure."""
    step = sample("first-patch-type1") / "checkpoint_step_120"
    assert 1 == run("check", step, "--flags").exit_code  # best_score is missing
    assert 0 == run("migrate", step, "--all").exit_code
    checked = run("check", step, "--flags")
    assert 0 == checked.exit_code
    option, rate = checked.stdout.split()
    assert "--learning_rate" == option
    assert 0.01 / 25 == pytest.approx(float(rate))
    assert "R506" in checked.stderr
    assert 0 == run("check", step, "--learning-rate", rate).exit_code


def test_check_adds_the_plan_to_the_json(sample, run) -> None:
    folder = sample("complete-COS")
    document = json.loads(run("check", folder / "checkpoint_step_75", "--format", "json").stdout)
    assert (document["plan"]["start_epoch"], document["plan"]["skip_batches"]) == (1, 30)
    assert len(document["files"]) == 1


# --- migrate and undo ------------------------------------------------------------------------------------------------


def test_migrate_without_a_fix_names_those_that_are_called_for(sample, run) -> None:
    folder = sample("first-patch-type1")
    before = contents(folder)
    result = run("migrate")
    assert result.exit_code == 2
    assert "--add-best-score" in result.stderr
    assert "--all" in result.stderr
    assert contents(folder) == before


def test_a_dry_run_prints_the_plan_and_writes_nothing(sample, run) -> None:
    folder = sample("first-patch-type1")
    before = contents(folder)
    result = run("migrate", folder / "checkpoint", "--add-best-score", "--val-loss", "0.25", "--dry-run")
    assert result.exit_code == 0
    assert "absent -> -0.25" in result.stdout
    assert "given by hand" in result.stdout
    assert contents(folder) == before


@pytest.mark.parametrize("mode", [[], ["--in-place"]])
def test_a_migration_is_told_costed_and_taken_back_byte_for_byte(sample, run, mode: list[str]) -> None:
    folder = sample("first-patch-type1")
    before = contents(folder)
    done = run("migrate", "--add-best-score", "--val-loss", "0.25", *mode)
    assert done.exit_code == 0
    assert "3 files to write" in done.stderr
    assert "3 migrated" in done.stdout
    assert contents(folder) != before
    assert run("scan", "--select", "E601").exit_code == 0
    assert "to take this back: ckpt-doctor undo checkpoints" in done.stdout
    assert run("undo", "checkpoints").exit_code == 0
    assert contents(folder) == before


def test_a_second_migration_changes_nothing(sample, run) -> None:
    folder = sample("first-patch-type1")
    run("migrate", folder / "checkpoint", "--add-best-score", "--val-loss", "0.25")
    before = contents(folder)
    again = run("migrate", folder / "checkpoint", "--add-best-score", "--val-loss", "0.25")
    assert "1 unchanged" in again.stdout
    assert contents(folder) == before


def test_results_can_go_elsewhere_and_leave_the_originals(sample, run) -> None:
    folder = sample("first-patch-type1")
    before = contents(folder)
    result = run("migrate", "--add-best-score", "--val-loss", "0.25", "--output", "migrated")
    assert result.exit_code == 0
    assert contents(folder) == before
    assert len(list(Path("migrated").rglob("checkpoint*"))) >= 3
    assert "take this back" not in result.stdout


def test_a_repair_without_evidence_is_refused_and_says_what_to_give(sample, run) -> None:
    folder = sample("first-patch-type1")
    for log in Path("logs").iterdir():
        log.unlink()
    before = contents(folder)
    result = run("migrate", "--add-best-score")
    assert result.exit_code == 1
    assert "--val-loss" in result.stdout
    assert contents(folder) == before


def test_migrations_as_json_have_status_edits_and_evidence(sample, run) -> None:
    folder = sample("first-patch-type1")
    result = run("migrate", folder / "checkpoint", "--add-best-score", "--val-loss", "0.25", "--format", "json")
    [entry] = json.loads(result.stdout)["results"]
    assert entry["status"] == "migrated"
    assert {edit["key"]: edit["after"] for edit in entry["edits"]}["best_score"] == -0.25


def test_the_fixes_are_those_that_the_package_has() -> None:
    from ckpt_doctor.repair import NAMES

    assert sorted(NAMES) == sorted(FIXES)


def test_undo_of_a_file_that_was_never_migrated_is_refused(sample, run) -> None:
    folder = sample("first-patch-type1")
    assert run("undo", folder / "checkpoint").exit_code == 1


# --- the others ------------------------------------------------------------------------------------------------------


def test_latest_prints_a_path_and_nothing_else_to_stdout(sample, run) -> None:
    folder = sample("complete-COS")
    result = run("latest", folder, "--no-shuffle")
    assert result.exit_code == 0
    assert result.stdout == f"{folder}/checkpoint_step_75/checkpoint.pt\n"
    assert "checkpoint_step_90" in result.stderr


def test_latest_accepts_a_repairable_one_when_asked(sample, run) -> None:
    folder = sample("first-patch-type1")
    assert run("latest", folder).exit_code == 1
    assert run("latest", folder, "--repairable").stdout == f"{folder}/checkpoint_step_140/checkpoint.pt\n"


def test_prune_removes_the_older_step_folders_only(sample, run) -> None:
    folder = sample("first-patch-type1")
    dry = run("prune", folder, "--keep", "1", "--dry-run")
    assert "would be removed" in dry.stdout
    assert (folder / "checkpoint_step_120").exists()
    assert run("prune", folder, "--keep", "1").exit_code == 0
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
        "checkpoint",
        "checkpoint_step_140",
    ]


def test_prune_goes_by_progress_not_by_the_number_in_a_name(sample, run) -> None:
    folder = sample("first-patch-type1")
    (folder / "checkpoint_step_140").rename(folder / "checkpoint_step_7")
    run("prune", folder, "--keep", "1")
    assert (folder / "checkpoint_step_7").exists()
    assert not (folder / "checkpoint_step_120").exists()


def test_inspect_shows_keys_state_and_tensors(sample, run) -> None:
    folder = sample("complete-TST")
    shown = run("inspect", folder / "checkpoint").stdout
    assert "global_step" in shown
    assert "cuda:0" in shown
    assert "├── " in run("inspect", folder / "checkpoint", "--format", "tree").stdout
    assert json.loads(run("inspect", folder / "checkpoint", "--format", "json").stdout)["tensors"]


def test_salvage_rebuilds_what_a_cut_archive_still_has(sample, run) -> None:
    folder = sample("damaged")
    cut = folder / "checkpoint_step_120" / "checkpoint.pt"
    result = run("salvage", cut, "-o", "rescued.pt")
    assert result.exit_code == 0
    assert "recovered" in result.stdout
    assert run("scan", "rescued.pt", "--select", "F").exit_code == 0
    assert run("salvage", cut, "-o", "rescued.pt").exit_code == 1


def test_diff_tells_two_steps_apart_and_a_file_from_itself_not(sample, run) -> None:
    folder = sample("complete-TST")
    first, second = folder / "checkpoint_step_120", folder / "checkpoint_step_140"
    differing = run("diff", first, second)
    assert differing.exit_code == 1
    assert "120 -> 140" in differing.stdout
    assert run("diff", first, first, "--deep").exit_code == 0
    values = json.loads(run("diff", first, second, "--format", "json").stdout)["values"]
    assert {"key": "global_step", "kind": "changed", "left": 120, "right": 140} in values


@pytest.mark.parametrize("form", ["table", "json", "sarif", "github", "markdown", "html"])
def test_lint_prints_every_format_and_fails_on_findings(run, form: str) -> None:
    Path("train.py").write_text("import shutil\nshutil.rmtree('./checkpoints')\n")
    result = run("lint", "train.py", "--format", form)
    assert result.exit_code == 1
    assert "X901" in result.stdout


def test_lint_obeys_select_ignore_and_per_path_ignores(run) -> None:
    Path("train.py").write_text("import shutil\nshutil.rmtree('./checkpoints')\n")
    assert run("lint", "train.py", "--ignore", "X901").exit_code == 0
    assert run("lint", "train.py", "--select", "X902").exit_code == 0
    Path("pyproject.toml").write_text('[tool.ckpt-doctor.per-path-ignores]\n"train.py" = ["X901"]\n')
    assert run("lint", "train.py").exit_code == 0


def test_rule_lists_all_and_explains_one_by_code_or_name(run) -> None:
    listed = run("rule").stdout
    assert "E601  missing-best-score" in listed
    assert "X901" in listed
    assert run("rule", "e601").stdout == run("rule", "missing-best-score").stdout
    assert run("rule", "E601").stdout.startswith("E601 missing-best-score (warning)\n\n")


# --- settings --------------------------------------------------------------------------------------------------------


def test_settings_are_defaults_that_options_overrule(sample, run) -> None:
    sample("first-patch-type1")
    Path("pyproject.toml").write_text('[tool.ckpt-doctor]\nfail-on = "error"\npatience = 7\n')
    assert run("scan").exit_code == 0
    assert run("scan", "--fail-on", "warning").exit_code == 1
    [described] = json.loads(run("scan", "--format", "json").stdout)["runs"]
    assert described["evidence"]["patience"] == "pyproject.toml"


def test_the_format_of_the_settings_holds_for_what_judges_and_not_for_what_scripts_read(sample, run) -> None:
    folder = sample("complete-COS")
    Path("pyproject.toml").write_text('[tool.ckpt-doctor]\nformat = "json"\n')
    assert json.loads(run("scan").stdout)["files"]
    assert json.loads(run("check", folder).stdout)["plan"]
    assert run("scan", "--format", "markdown").stdout.startswith("### ")
    assert run("latest", folder, "--no-shuffle").stdout == f"{folder}/checkpoint_step_75/checkpoint.pt\n"


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("failon = 1", "failon"),
        ('patience = "many"', "pyproject.toml: patience must be a whole number above 0, not 'many'"),
    ],
)
def test_a_setting_that_cannot_be_stops_every_command_that_works_and_is_named(sample, run, setting, named) -> None:
    sample("first-patch-type1")
    Path("pyproject.toml").write_text(f"[tool.ckpt-doctor]\n{setting}\n")
    result = run("scan")
    assert result.exit_code == 2
    assert named in result.stderr


def test_rules_can_be_ignored_below_a_path_and_the_judgement_follows(sample, run) -> None:
    """As where the same rules are ignored everywhere."""
    sample("first-patch-type1")
    everywhere = json.loads(run("scan", "--format", "json", "--ignore", "E,R,O,P").stdout)["files"]
    Path("pyproject.toml").write_text('[tool.ckpt-doctor.per-path-ignores]\n"checkpoints/*" = ["E", "R", "O", "P"]\n')
    result = run("scan", "--format", "json")
    assert result.exit_code == 0
    files = json.loads(result.stdout)["files"]
    assert {file["verdict"] for file in files} == {"ok"}
    assert [file["resume"] for file in files] == [file["resume"] for file in everywhere]


# --- demo ------------------------------------------------------------------------------------------------------------


def test_demo_makes_a_run_and_its_next_command_finds_what_is_wrong(run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run("demo")
    assert made.exit_code == 0
    next_one = made.stdout.splitlines()[-1].removeprefix("next: cd ")
    folder, command = next_one.split(" && ckpt-doctor ")
    monkeypatch.chdir(folder)
    assert "E601" in run(*command.split()).stdout


@pytest.mark.parametrize("there", ["a file", "a folder", "a link"])
def test_demo_writes_nothing_over(run, there: str) -> None:
    if there == "a file":
        Path("mine").write_text("text")
    elif there == "a folder":
        Path("mine/checkpoints").mkdir(parents=True)
    else:
        Path("mine").symlink_to("nowhere")
    before = contents(Path())
    refused = run("demo", "mine")
    assert (1, before) == (refused.exit_code, contents(Path()))
    assert "mine exists already" in refused.stderr


def test_demo_fills_an_empty_folder_and_says_what_it_made_in_json(run) -> None:
    Path("with space").mkdir()
    made = json.loads(run("demo", "with space", "--format", "json").stdout)
    assert {Path(name) for name in made["files"]} == set(contents(Path("with space")))
    assert ["cd", "with space", "&&", "ckpt-doctor", "scan"] == shlex.split(made["next"])
