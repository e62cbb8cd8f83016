"""Paths as they are given to commands: which may be URLs, and which must be of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ckpt_doctor.errors import UsageError
from ckpt_doctor.remote import as_path, fetching, is_url, told_apart
from ckpt_doctor.reports import clean


class Named(click.Path):
    """A path that was really given: an unset variable in a script must not come to mean the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; a usage error for an empty one."""
        if value == "":
            self.fail("an empty path; is a variable of the script not set?", param, ctx)
        if is_url(value):
            return told_apart(as_path(value), {} if ctx is None else ctx.meta.setdefault(__name__, {}))
        return super().convert(value, param, ctx)


class Log(Named):
    """A log: a plain file, since a pipe or a device need never end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; a usage error where no file is there."""
        path = super().convert(value, param, ctx)
        if not is_url(path) and not Path(path).is_file():
            self.fail(f"{clean(path)} {'is not a plain file' if Path(path).exists() else 'does not exist'}", param, ctx)
        return path


class Here(Named):
    """A file of this machine."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; a usage error for a URL, with the command that fetches what is there."""
        path = super().convert(value, param, ctx)
        if is_url(path):
            command = "this command" if ctx is None else f"`{ctx.info_name}`"
            raise UsageError(f"{path} is a URL, and {command} works on files of this machine: {fetching(path)}")
        return path


NAMED, HERE = Named(path_type=Path, readable=False), Here(path_type=Path, readable=False)
"""What may not be read is a finding, and no reason to leave out the others."""
