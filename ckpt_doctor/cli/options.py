"""Options that several commands share, each turned into what the package's functions take."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from ckpt_doctor.cli.output import FAIL_ON
from ckpt_doctor.errors import UsageError
from ckpt_doctor.reports import clean
from ckpt_doctor.trainers import KNOWN
from ckpt_doctor.trainers.given import CHECKS, LRADJ, facts
from ckpt_doctor.types import Facts, selects

F = TypeVar("F", bound=Callable[..., Any])

POSITIVE = click.IntRange(min=1)


class Named(click.Path):
    """A path that was really given: an unset variable in a script must not come to mean the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; a usage error for an empty one."""
        if value == "":
            self.fail("an empty path; is a variable of the script not set?", param, ctx)
        return super().convert(value, param, ctx)


class Log(Named):
    """A log: a plain file, since a pipe or a device need never end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; a usage error where no file is there."""
        path = super().convert(value, param, ctx)
        if not Path(path).is_file():
            self.fail(f"{clean(path)} {'is not a plain file' if Path(path).exists() else 'does not exist'}", param, ctx)
        return path


class AnyCase(click.Choice):  # type: ignore[type-arg]  # generic from click 8.2 on
    """A choice that takes `tst` for `TST`; click's own way with case shows and completes all in small letters."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The choice as it is spelled."""
        spelled = {choice.lower(): choice for choice in self.choices}
        chosen: str = super().convert(spelled.get(str(value).lower(), value), param, ctx)
        return chosen


class Real(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """A finite number within bounds."""

    name = "float"

    def __init__(self, fits: Callable[[float], bool] = math.isfinite, what: str = "a finite number") -> None:
        self.fits, self.what = fits, what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a usage error that says what it must be."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number) or not self.fits(number):
            self.fail(f"must be {self.what}, not {clean(value)}", param, ctx)
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


NAMED = Named(path_type=Path)
trainer = click.option(
    "--trainer",
    type=click.Choice([known.name for known in KNOWN]),
    callback=lambda _ctx, _parameter, name: name or "",
    help="The trainer that wrote the files, where they do not show it themselves.",
)
paths = click.argument("paths", nargs=-1, metavar="[PATH]...", type=NAMED, callback=_or_default)
fail_on = click.option(
    "--fail-on",
    type=click.Choice(list(FAIL_ON)),
    default="warning",
    show_default=True,
    help="Exit with 1 for findings of this severity or worse. A warning is anything that makes the resumed run differ.",
)
deep = click.option(
    "--deep", is_flag=True, help="Read every byte: compare stored checksums, look for NaN and infinity in tensors."
)
output_file = click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=lambda _ctx, _parameter, path: None if path == Path("-") else path,
    help="Write to this file instead of stdout (-).",
)


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


def training_facts(command: F) -> F:
    """Add the options that tell of the training command; the command receives `facts: Facts` and `logs`."""

    @functools.wraps(command)
    def with_facts(*args: Any, log: tuple[Path, ...], **options: Any) -> Any:
        given = {name: options.pop(name) for name in list(options) if name in CHECKS}
        return command(*args, facts=facts_of(given), logs=log, **options)

    for option in reversed(FACT_OPTIONS):
        with_facts = option(with_facts)
    return with_facts  # type: ignore[return-value]


def facts_of(values: dict[str, Any]) -> Facts:
    """The facts that a person gave, each with the option (or the settings file) as its source."""
    known = {name: facts(source=_source(name), **{name: value}) for name, value in values.items()}
    return Facts(**{name: getattr(one, name) for name, one in known.items()})


def _source(name: str) -> str:
    ctx = click.get_current_context(silent=True)
    if ctx is not None and ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP:
        return "pyproject.toml"
    return f"--{name.replace('_', '-')}"


FACT_OPTIONS = (
    click.option("--steps-per-epoch", type=POSITIVE, help="Batches per epoch: len(train_loader)."),
    click.option("--train-epochs", type=POSITIVE, help="Epochs of the whole run (the trainer's --train_epochs)."),
    click.option(
        "--lradj",
        type=AnyCase(LRADJ),
        help="The trainer's --lradj: who moves the learning rate, and when.",
    ),
    click.option(
        "--learning-rate",
        type=Real(lambda x: x > 0, "a number above 0"),
        help="The --learning_rate of the resume command.",
    ),
    click.option(
        "--pct-start",
        type=Real(lambda x: 0 <= x <= 1, "a number from 0 to 1"),
        help="Share of OneCycleLR's steps in which the rate rises.",
    ),
    click.option("--patience", type=POSITIVE, help="EarlyStopping's patience."),
    click.option("--shuffle/--no-shuffle", default=None, help="Whether the train loader shuffles."),
    click.option("--world-size", type=POSITIVE, help="Processes that train together under Accelerate."),
    click.option(
        "--log",
        type=Log(path_type=Path),
        multiple=True,
        help="The run's log; may be given more than once. Logs nearby are found without it.",
    ),
)


def selection(command: F) -> F:
    """Add `--select` and `--ignore`; the command receives full rule codes."""
    select = click.option(
        "--select",
        multiple=True,
        metavar="CODES",
        callback=_codes,
        help="Only these rules: E601, a family (E), a name.",
    )
    ignore = click.option(
        "--ignore",
        multiple=True,
        metavar="CODES",
        callback=_codes,
        help="Leave these rules out; what they find is accepted.",
    )
    return select(ignore(command))


def ignored(command: F) -> F:
    """Add `--ignore`; the command receives full rule codes."""
    return click.option(
        "--ignore", multiple=True, metavar="CODES", callback=_codes, help="Accept what these rules find: E601, E."
    )(command)


trust = click.option(
    "--trust",
    multiple=True,
    metavar="PACKAGE",
    help="Accept that loading calls into this package or below it (S204); may be given repeatedly.",
)


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
    chosen_here = parameter.name == "select" and ctx.get_parameter_source("select") is not ParameterSource.DEFAULT_MAP
    if chosen_here and not any(code.startswith("X") == judges_scripts for code in codes):
        other = "scan and check judge checkpoints" if judges_scripts else "lint judges scripts"
        raise click.BadParameter(f"none of these is a rule of this command; {other}")
    return tuple(dict.fromkeys(codes))
