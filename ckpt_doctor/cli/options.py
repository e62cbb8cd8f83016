"""Options that several commands share, each turned into what the package's functions take."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from ckpt_doctor import trainers
from ckpt_doctor.cli.output import FAIL_ON, note
from ckpt_doctor.cli.paths import NAMED, Log
from ckpt_doctor.errors import UsageError
from ckpt_doctor.reports import FORMATS, clean, shorten
from ckpt_doctor.trainers.facts import every_fact, facts, knowing
from ckpt_doctor.types import Choice, Count, Evidence, Fact, Flag, Given, Number, ScriptFacts, option_of, selects

F = TypeVar("F", bound=Callable[..., Any])


class AnyCase(click.Choice):  # type: ignore[type-arg]  # generic from click 8.2 on
    """A choice that takes `fp16` for `FP16`; click's own way with case shows and completes all in small letters."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The choice as it is spelled."""
        spelled = {choice.lower(): choice for choice in self.choices}
        chosen: str = super().convert(spelled.get(str(value).lower(), value), param, ctx)
        return chosen


class Real(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """A finite number within bounds."""

    name = "float"

    def __init__(self, bounds: Number | None = None) -> None:
        self.bounds = bounds or Number()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a usage error that says what it must be."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not self.bounds.fits(number):
            self.fail(f"must be {self.bounds.what}, not {clean(value)}", param, ctx)
        return number


def _or_default(ctx: click.Context, _parameter: click.Parameter, given: tuple[Path, ...]) -> tuple[Path, ...]:
    """The paths to work on: those given, else the folder where most trainers save."""
    from ckpt_doctor.audit import DEFAULT_PATH  # when a command is called that has read it already

    default = Path(DEFAULT_PATH)
    if given or ctx.resilient_parsing:
        return given
    if not default.exists():
        raise UsageError(
            f"there is no folder {default}/ in {Path.cwd()}; name the checkpoints to work on, "
            f"as in `ckpt-doctor {ctx.info_name} path/to/checkpoints`"
        )
    return (default,)


def _path_or_default(ctx: click.Context, parameter: click.Parameter, given: Path | None) -> Path | None:
    """The one path to work on, by the same rule."""
    return next(iter(_or_default(ctx, parameter, () if given is None else (given,))), None)


VARIABLES = "CKPT_DOCTOR_"
"""How the environment variables begin that give options."""


def variable(option: str) -> str:
    """The environment variable of an option: `CKPT_DOCTOR_FAIL_ON` of `--fail-on`."""
    return VARIABLES + option.removeprefix("--").upper().replace("-", "_")


class Setting(click.Option):
    """An option that may also stand in pyproject.toml (see `settings.keys`) and in the environment."""

    def __init__(self, names: Sequence[str], *args: Any, **attributes: Any) -> None:
        option = next(name for name in names if name.startswith("--"))
        super().__init__(names, *args, envvar=variable(option.split("/")[0]), **attributes)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """What a message calls it: the variable where that gave the value."""
        by_variable = ctx is not None and ctx.get_parameter_source(self.name or "") is ParameterSource.ENVIRONMENT
        return str(self.envvar) if by_variable else super().get_error_hint(ctx)


trainer = click.option(
    "--trainer",
    cls=Setting,
    type=click.Choice([one.name for one in trainers.known()]),
    callback=lambda _ctx, _parameter, name: name or "",
    help="The trainer that wrote the files, where they do not show it themselves.",
)
one_path = click.argument(
    "path",
    required=False,
    type=NAMED,
    callback=_path_or_default,
)
paths = click.argument("paths", nargs=-1, metavar="[PATH]...", type=NAMED, callback=_or_default)
fail_on = click.option(
    "--fail-on",
    cls=Setting,
    type=click.Choice(list(FAIL_ON)),
    default="warning",
    show_default=True,
    help="Exit with 1 for findings of this severity or worse. A warning is anything that makes the resumed run differ.",
)
deep = click.option(
    "--deep",
    cls=Setting,
    is_flag=True,
    help="Read every byte: compare stored checksums, look for NaN and infinity in tensors.",
)
output_file = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,  # before --format, which its suffix may decide
    callback=lambda _ctx, _parameter, path: None if path == Path("-") else path,
    help="Write to this file instead of stdout (-).",
)
_BY_SUFFIX = {".json": "json", ".sarif": "sarif", ".md": "markdown", ".html": "html", ".htm": "html"}


def formats(*names: str) -> Callable[[F], F]:
    """`--format` with these choices, the first by default."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(names),
        default=names[0],
        show_default=True,
        help="How to print the result.",
    )


def verbosity(command: F) -> F:
    """Add `-q` and `-v`; the command receives how much to tell as `detail`."""

    @functools.wraps(command)
    def with_detail(*args: Any, quiet: bool, verbose: bool, **rest: Any) -> Any:
        if quiet and verbose:
            raise click.UsageError("-q and -v exclude each other")
        return command(*args, detail="quiet" if quiet else "all" if verbose else "normal", **rest)

    less = click.option("-q", "--quiet", is_flag=True, help="Print the answer, what is wrong, and what was not read.")
    more = click.option("-v", "--verbose", is_flag=True, help="Also print healthy files, notes and all evidence.")
    return less(more(with_detail))  # type: ignore[return-value]


def report_formats(*names: str) -> Callable[[F], F]:
    """`--format` and `-o`, whose suffix decides the format where none is given on the command line."""

    def chosen(ctx: click.Context, _parameter: click.Parameter, form: str) -> str:
        output = ctx.params.get("output")
        meant = _BY_SUFFIX.get(output.suffix.lower()) if output is not None else None
        given = ctx.get_parameter_source("form") is ParameterSource.COMMANDLINE
        return meant if meant in names and not given else form

    form = click.option(
        "--format",
        "form",
        cls=Setting if names == FORMATS else click.Option,
        type=click.Choice(names),
        default=names[0],
        show_default=True,
        callback=chosen,
        help="How to print the result; the suffix of -o says it too: .html, .json, .md, .sarif.",
    )
    return lambda command: form(output_file(command))


class FactOption(Setting):
    """An option that gives a fact of the training command."""

    def __init__(self, *args: Any, fact: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.fact = fact


class Command(click.Command):
    """A command whose help lists the facts of the training command apart, by the trainers that have them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options in sections."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if row is not None:
                sections.setdefault(_section(parameter), []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)
        known = [key for parameter in self.get_params(ctx) if (key := _key(parameter))]
        if known:
            with formatter.section("Settings"):
                text = (
                    f"{', '.join(known)}: each can be set in [tool.ckpt-doctor] of the nearest pyproject.toml, and in "
                    f"the environment: {variable('--fail-on')}=error. The command line wins, then the environment."
                )
                from textwrap import wrap  # for a help only

                for line in wrap(text, formatter.width - 2, break_on_hyphens=False):
                    formatter.write(f"  {line}\n")


def _key(parameter: click.Parameter) -> str:
    """As what an option may stand in pyproject.toml; empty where it may not."""
    return parameter.opts[-1].removeprefix("--") if isinstance(parameter, Setting) else ""


def _section(parameter: click.Parameter) -> str:
    if not isinstance(parameter, FactOption):
        return "Options"
    return f"Facts of the training command ({', '.join(knowing(parameter.fact))})"


_log = click.option(
    "--log",
    cls=Setting,
    type=Log(path_type=Path),
    multiple=True,
    help="The run's log; may be given more than once. Logs nearby are found without it.",
)


_script = click.option(
    "--script",
    cls=Setting,
    type=Log(path_type=Path),
    help="The training script: read, never run, for where its resume starts and what it saves as `epoch`.",
)


def training_facts(command: F) -> F:
    """Add the options that tell of the training command; the command receives `facts: Given`, `logs` and `trainer`."""
    known = every_fact()

    @functools.wraps(command)
    def with_facts(*args: Any, log: tuple[Path, ...], script: Path | None, **options: Any) -> Any:
        given = {name: options.pop(name) for name in known}
        told = _of_script(script) if script is not None else {}
        return command(*args, facts={**told, **given_facts(given)}, logs=log, **options)

    with_facts = _script(_log(trainer(with_facts)))
    for fact in reversed(known.values()):
        with_facts = _option(fact)(with_facts)
    return with_facts  # type: ignore[return-value]


def _of_script(path: Path) -> Given:
    """What the code of a training script tells of its resume, each with its line."""
    from ckpt_doctor.lint import starts  # only where a script is given

    found = starts(path)
    given: dict[str, Evidence[Any]] = {}
    for name, evidence in _of_code(found) if found is not None else ():
        if evidence is not None:
            given.update(facts(source=shorten(evidence.source, _LONGEST_LINE), **{name: evidence.value}))
    if left := [words for name, words in _ASKED.items() if name not in given]:
        note(f"{clean(path)} does not show {' or '.join(left)}")
    return given


def _of_code(found: ScriptFacts) -> Iterator[tuple[str, Evidence[Any] | None]]:
    if found.key in (None, "epoch"):
        yield "resume_epoch", found.resume
        yield "epoch_label", found.label
        yield "saved_after_step", found.saved_after_step
    yield "rates_by_hand", found.rates_by_hand


_LONGEST_LINE = 90
"""Of a script's line that is shown as evidence."""
_ASKED = {"resume_epoch": "at which epoch a resume starts", "epoch_label": "what it saves as `epoch`"}


def _option(fact: Fact) -> Callable[[F], F]:
    """The option that gives a fact."""
    if isinstance(fact.kind, Flag):
        return click.option(
            f"--{fact.key}/--no-{fact.key}", cls=FactOption, fact=fact.name, default=None, help=fact.help
        )
    return click.option(f"--{fact.key}", cls=FactOption, fact=fact.name, type=_type(fact.kind), help=fact.help)


def _type(kind: Count | Number | Choice) -> click.ParamType:  # type: ignore[type-arg]  # generic since click 8.3
    if isinstance(kind, Choice):
        return AnyCase(kind.words)
    return Real(kind) if isinstance(kind, Number) else click.IntRange(min=1)


def given_facts(values: dict[str, Any]) -> Given:
    """The facts that a person gave, each with the option (or the settings file) as its source."""
    given: dict[str, Evidence[Any]] = {}
    for name, value in values.items():
        given.update(facts(source=_source(name), **{name: value}))
    return given


def _source(name: str) -> str:
    ctx = click.get_current_context(silent=True)
    source = ctx.get_parameter_source(name) if ctx is not None else None
    if source is ParameterSource.DEFAULT_MAP:
        return "pyproject.toml"
    return variable(option_of(name)) if source is ParameterSource.ENVIRONMENT else option_of(name)


def _codes(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    wanted = [part.strip() for value in values for part in value.split(",") if part.strip()]
    if not wanted:
        return ()
    from ckpt_doctor.cli.rules import all_rules

    codes: list[str] = []
    for part in wanted:
        matching = [rule.code for rule in all_rules() if selects(part, rule.code, rule.name)]
        if not matching:
            raise click.BadParameter(f"no rule has the code or name {part!r}; `ckpt-doctor rule` lists them")
        codes += matching
    judges_scripts = ctx.command.name == "lint"
    chosen_here = ctx.get_parameter_source("select") is ParameterSource.COMMANDLINE
    if parameter.name == "select" and chosen_here and not any(code.startswith("X") == judges_scripts for code in codes):
        other = "scan and check judge checkpoints" if judges_scripts else "lint judges scripts"
        raise click.BadParameter(f"none of these is a rule of this command; {other}")
    return tuple(dict.fromkeys(codes))


def _complete_codes(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """The codes and names that go on as the last of a list does."""
    from ckpt_doctor.cli.rules import all_rules

    before, comma, last = begun.rpartition(",")
    words = [word for rule in all_rules() for word in (rule.code, rule.name)]
    return [f"{before}{comma}{word}" for word in words if word.lower().startswith(last.lower())]


def _codes_option(name: str, help_text: str) -> Callable[[F], F]:
    return click.option(
        name,
        cls=Setting,
        multiple=True,
        metavar="CODES",
        callback=_codes,
        shell_complete=_complete_codes,
        help=help_text,
    )


def selection(command: F) -> F:
    """Add `--select` and `--ignore`; the command receives full rule codes."""
    select = _codes_option("--select", "Only these rules: E601, a family (E), a name.")
    ignore = _codes_option("--ignore", "Leave these rules out; what they find is accepted.")
    return select(ignore(command))


ignored = _codes_option("--ignore", "Accept what these rules find: E601, E.")
trust = click.option(
    "--trust",
    cls=Setting,
    multiple=True,
    metavar="PACKAGE",
    help="Accept that loading calls into this package or below it (S204); may be given repeatedly.",
)
