"""The program as a process: how it starts, how it ends, what it does to pipes and terminals."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from ckpt_doctor.cli import main as program
from ckpt_doctor.lint import SCRIPT_RULES
from ckpt_doctor.trainers import all_rules

REPO = Path(__file__).parents[2]
SAMPLE = REPO / "fixtures" / "sample-runs" / "complete-TST"


def start(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(REPO), **options.pop("env", {})}  # type: ignore[dict-item]
    command = [sys.executable, "-m", "ckpt_doctor", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("form", "loaded"),
    [
        ("table", ["wcwidth"]),
        ("json", []),
        ("html", ["jinja2"]),
        *(pytest.param(form, [], marks=pytest.mark.long) for form in ("sarif", "github", "markdown")),
    ],
)
def test_a_scan_of_an_archive_imports_what_its_format_needs_and_no_torch(form: str, loaded: list[str]) -> None:
    code = (
        "import sys; from ckpt_doctor.cli.main import main; "
        f"main(['scan', '--fail-on', 'never', '--format', '{form}']); "
        "print([m for m in ('torch', 'numpy', 'safetensors', 'wcwidth', 'jinja2') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", code], cwd=SAMPLE, env=environment, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1].decode() == str(loaded)


def test_the_help_imports_no_command() -> None:
    code = (
        "import sys; from ckpt_doctor.cli.main import main; main(['--help']); "
        "print([m for m in sys.modules if m.startswith(('ckpt_doctor.audit', 'ckpt_doctor.readers'))])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == b"[]"


@pytest.mark.parametrize("arguments", [["scan"], ["--help"], ["rule"]])
def test_a_closed_pipe_ends_the_program_without_a_word(arguments: list[str]) -> None:
    process = start(*arguments, cwd=SAMPLE)
    process.stdout.close()  # type: ignore[union-attr]
    assert process.wait(60) == program.BROKEN_PIPE
    assert process.stderr.read() == b""  # type: ignore[union-attr]


@pytest.mark.parametrize(("arguments", "expected"), [(["scan"], 1), (["scan", "nope"], 2), (["check", ""], 0)])
def test_the_process_ends_with_the_promised_code(arguments: list[str], expected: int) -> None:
    process = start(*arguments, cwd=SAMPLE)
    process.communicate(timeout=60)
    assert process.returncode == expected


def test_ctrl_c_ends_with_130_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ckpt_doctor.advice.report", interrupt)
    monkeypatch.chdir(SAMPLE)
    assert program.main(["scan"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_while_the_program_is_loaded_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    process = start(env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPO}"})
    assert (b"", b"interrupted\n") == process.communicate(timeout=60)
    assert process.returncode == program.INTERRUPTED


def through_a_terminal(code: str, *, streams: tuple[str, ...], **environment: str) -> tuple[bytes, bytes]:
    """What a program writes to a terminal of 80 columns (those streams), and to a pipe (the other ones)."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", f"from ckpt_doctor.cli import main, output; {code}"],
        env={**known, "PYTHONPATH": str(REPO), "TERM": "xterm", **environment},
        cwd=SAMPLE,
        **{name: theirs if name in streams else subprocess.PIPE for name in ("stdout", "stderr")},  # type: ignore[arg-type]
    )
    os.close(theirs)
    shown = bytearray()
    with contextlib.suppress(OSError):  # Linux says EIO when the other side is closed
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    piped, errors = process.communicate(timeout=60)
    return bytes(shown), (piped or b"") + (errors or b"")


def test_a_terminal_gets_colour_in_its_width() -> None:
    shown, _ = through_a_terminal("main.main(['scan'])", streams=("stdout", "stderr"))
    assert b"\x1b[33mrepairable\x1b[0m" in shown
    plain = re.sub(rb"\x1b\[\d*m", b"", shown).decode()
    assert max(len(line) for line in plain.splitlines() if "ckpt-doctor migrate" not in line) <= 80


def test_no_color_and_a_terminal_of_no_size_are_respected() -> None:
    shown, _ = through_a_terminal("main.main(['scan'])", streams=("stdout", "stderr"), NO_COLOR="1")
    assert re.search(rb"\x1b\[[\d;]*m", shown) is None


def test_force_color_colours_a_pipe() -> None:
    out, _ = start("scan", cwd=SAMPLE, env={"FORCE_COLOR": "1", "NO_COLOR": ""}).communicate(timeout=60)
    assert b"\x1b[33mrepairable" in out


@pytest.mark.parametrize("terminal", [("stderr",), ("stdout",)])
def test_progress_is_drawn_on_a_terminal_of_stderr_only(terminal: tuple[str, ...]) -> None:
    shown, piped = through_a_terminal("output.EVERY = 0; main.main(['scan', '--deep'])", streams=terminal)
    assert (b"checkpoint.pt  [#" in shown) is (terminal == ("stderr",))
    assert b"[#" not in piped
    assert b"\r\x1b[K" not in piped


def test_nothing_is_coloured_in_a_pipe() -> None:
    out, _ = start("scan", cwd=SAMPLE).communicate(timeout=60)
    assert b"\x1b" not in out


def test_a_name_that_the_terminal_cannot_show_is_escaped(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE, tmp_path / "长期")
    process = start("scan", "长期", cwd=tmp_path, env={"PYTHONIOENCODING": "latin-1"})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, b"")
    assert b"\\u957f\\u671f" in out


def test_a_path_for_a_script_is_printed_byte_for_byte(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run \xff"))
    sample = next((REPO / "fixtures" / "sample-runs" / "complete-COS" / "checkpoints").iterdir())
    shutil.copytree(sample, folder)
    out, _ = start("latest", os.fspath(folder), "--repairable", "--steps-per-epoch", "45").communicate(timeout=60)
    assert os.path.exists(out.rstrip(b"\n"))


def test_the_shell_can_ask_for_completions() -> None:
    words = {"_CKPT_DOCTOR_COMPLETE": "bash_complete", "COMP_WORDS": "ckpt-doctor mig", "COMP_CWORD": "1"}
    out, _ = start(env=words).communicate(timeout=60)
    assert out == b"plain,migrate\n"
    script, _ = start(env={"_CKPT_DOCTOR_COMPLETE": "zsh_source"}).communicate(timeout=60)
    assert b"compdef" in script


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("ckpt-doctor mi", "migrate", marks=pytest.mark.long),
        pytest.param("ckpt-doctor scan --lradj t", "type1 type2 type3", marks=pytest.mark.long),
        pytest.param("ckpt-doctor scan --ignore missing-bes", "missing-best-score", marks=pytest.mark.long),
        (
            "ckpt-doctor prune --ignore E602,e60",
            " ".join(f"E602,{r.code}" for r in all_rules() if r.code.startswith("E60")),
        ),
        ("ckpt-doctor migrate --add", "--add-best-score --add-trainer-state"),
        ("ckpt-doctor rule x90", " ".join(rule.code for rule in SCRIPT_RULES if rule.code.startswith("X90"))),
    ],
)
def test_bash_completes_commands_values_and_codes(tmp_path: Path, words: str, expected: str) -> None:
    """The script that the program prints, in a real bash that asks a real program."""
    program_file = tmp_path / "ckpt-doctor"
    program_file.write_text(f'#!/bin/sh\nexec {sys.executable} -m ckpt_doctor "$@"\n')
    program_file.chmod(0o755)
    script = (
        'set -euo pipefail; eval "$(_CKPT_DOCTOR_COMPLETE=bash_source ckpt-doctor)"; '
        f"COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); COMPREPLY=(); "
        '_ckpt_doctor_completion ckpt-doctor; echo "${COMPREPLY[*]}"'
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{expected}\n"


def test_every_module_of_a_command_is_listed() -> None:
    helpers = {"__init__", "cluster", "main", "options", "output", "paths", "rules", "settings"}
    modules = {path.stem for path in Path(program.__file__).parent.glob("*.py")}
    assert modules - helpers == set(program.COMMANDS)


@pytest.mark.parametrize(("typed", "meant"), [(["scn"], "scan"), (["rule", "missing-best"], "missing-best-score")])
def test_a_typing_error_is_recognised(typed, meant):
    process = start(*typed)
    said, complaint = process.communicate()
    assert (2, b"") == (process.returncode, said)
    assert f"did you mean {meant}?" in complaint.decode()


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [(">&-", "--version", 0), (">&- 2>&-", "rule", 0), ("2>&-", "scan nowhere", 2)],
)
def test_closed_streams_change_no_exit_code(closed, arguments, code, tmp_path):
    """A cron line may close them; what is said goes nowhere."""
    command = f"{shlex.quote(sys.executable)} -m ckpt_doctor {arguments} {closed}"
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    result = subprocess.run(
        command, shell=True, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert code == result.returncode
    assert "Traceback" not in result.stderr


WITHOUT_POSIX = """
import os, signal, sys
for module, names in ((os, "pread preadv fchmod fchown statvfs O_NONBLOCK O_CLOEXEC O_DIRECTORY listxattr geteuid"),
                      (signal, "SIGURG SIGHUP pthread_sigmask")):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "termios", "resource", "pwd", "grp"):
    sys.modules[name] = None
from ckpt_doctor.cli.main import main
for line in sys.stdin:
    print(main(line.split()), file=sys.stderr)
"""
"""What Windows lacks, gone before the package is imported."""


def test_windows_gets_a_sentence_and_what_needs_no_checkpoint_works_there(tmp_path: Path) -> None:
    shutil.copytree(SAMPLE / "checkpoints", tmp_path / "checkpoints")
    run = next((tmp_path / "checkpoints").iterdir()).relative_to(tmp_path)
    (tmp_path / "train.py").write_text("pass\n")
    reading = [
        *("scan", f"check {run}", f"latest {run}", f"inspect {run}/checkpoint", "migrate --all", f"undo {run}"),
        *(f"prune {run} --keep 1", f"salvage {run}/checkpoint -o o.pt", f"export {run}/checkpoint -o o.safetensors"),
        f"diff {run}/checkpoint {run}/checkpoint",
    ]
    others = ["--help", "rule E601", "lint train.py", "demo"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        input="\n".join([*reading, *others]),
        capture_output=True,
        text=True,
    )
    sentence = "Error: checkpoints are read on Linux and macOS; on Windows, run ckpt-doctor in WSL"
    assert [sentence, "2"] * len(reading) + ["0"] * len(others) == done.stderr.splitlines()


def test_a_working_folder_that_was_deleted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert 2 == program.main(["scan", str(SAMPLE)])
    assert "Error: the working folder was deleted: go to another one\n" == capsys.readouterr().err
