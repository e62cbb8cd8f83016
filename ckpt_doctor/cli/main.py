"""The program `ckpt-doctor`: which commands there are, and how it ends."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from ckpt_doctor import errors
from ckpt_doctor.reports import clean
from ckpt_doctor.version import __version__

COMMANDS = {
    "scan": "Audit files and run folders, read-only.",
    "inspect": "Show what one file holds.",
    "check": "Tell whether the trainer will resume from PATH, and how.",
    "migrate": "Repair checkpoints: one option per fix, or --all.",
    "undo": "Take the last migration of a file back, byte for byte.",
    "salvage": "Rebuild a readable checkpoint from a truncated archive.",
    "export": "Write the weights alone, as a safetensors file.",
    "latest": "Print the newest checkpoint that is safe to resume from.",
    "prune": "Remove old step checkpoints safely.",
    "diff": "Show what differs between two checkpoints.",
    "record": "Run a training command and record each of its steps.",
    "trace": "Show what a recorded training does, or where two part.",
    "rehearse": "Prove that a training command resumes: run, kill, resume, compare.",
    "lint": "Find code that endangers checkpoints in training scripts.",
    "rule": "Explain one rule, or list all.",
    "demo": "Make a sample run to try the tool on.",
}
"""In the order of a checkpoint's life; each is a module of this package, imported when it is called."""

PROGRAM = "ckpt-doctor"
COMPLETION = "_CKPT_DOCTOR_COMPLETE"
"""The variable by which a shell asks for completions (click's convention)."""
BROKEN_PIPE = 141
"""What a shell reports of a program that SIGPIPE ended (128 + 13)."""
INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended (128 + SIGINT)."""


class Commands(click.Group):
    """A group that imports a command when it is called, and says the package's errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, without importing any."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"ckpt_doctor.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments call; a usage error that lists all for one that there is not."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help text, from the names alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what the package raises on purpose becomes one line on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except errors.CkptDoctorError as error:
            raise (Refused if isinstance(error, errors.WriteRefused) else Wrong)(clean(error)) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            sentence = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            if isinstance(error, FileNotFoundError) and error.filename is None:  # `os.getcwd`
                sentence = "the working folder was deleted: go to another one"
            raise Wrong(clean(sentence)) from error


class Wrong(click.ClickException):
    """A call that asks for what cannot be, said in one line."""

    exit_code = 2


class Refused(click.ClickException):
    """A write that was not made, said in one line."""

    exit_code = 1


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Shell completion: _CKPT_DOCTOR_COMPLETE=bash_source ckpt-doctor prints it (zsh_source, fish_source too).",
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s", help="Print the version.")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Tell whether a training run will resume correctly from a checkpoint, and repair the file when it won't.

    PATH is a checkpoint file, a step folder, a run folder, any tree, or the URL of one (s3://, gs://, hf://,
    https://); scan and migrate take checkpoints/ where none is given. Reading never runs code from a file and loads no
    tensors. Exit codes: 0 nothing found at or above --fail-on, 1 findings or a refused repair, 2 wrong usage or a PATH
    that does not exist.

    \b
    Example:
      ckpt-doctor scan checkpoints/
      ckpt-doctor migrate --add-best-score
      ckpt-doctor check "$RESUME_FROM" || exit 1
    """
    from ckpt_doctor.cli.settings import use_settings

    use_settings(ctx)


@app.result_callback()
def end(code: int | None) -> None:
    """End with the exit code that a command returns, after a word on what could not be looked at."""
    stores = sys.modules.get("ckpt_doctor.remote.store")  # which few commands load
    if stores and (told := stores.left_out()):
        click.echo(clean(told), err=True)
    click.get_current_context().exit(code or 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code: 0, 1 or 2; 130 after Ctrl-C, 141 after a closed pipe."""
    atexit.register(gc.freeze)  # what a command has made goes without a search for cycles
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller (`>&-`); no file that we open may take its number
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a Chinese path on a terminal that has no Chinese
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at exit, which must not find the closed pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return code


def _run(arguments: Sequence[str] | None) -> int:
    if instruction := os.environ.get(COMPLETION):
        from click.shell_completion import shell_complete

        return shell_complete(app, {}, PROGRAM, COMPLETION, instruction)
    try:
        with app.make_context(PROGRAM, list(sys.argv[1:] if arguments is None else arguments)) as ctx:
            app.invoke(ctx)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    return 0
