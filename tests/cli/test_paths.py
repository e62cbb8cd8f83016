"""Paths of commands: URLs where a file is read, files of this machine where one must be."""

from __future__ import annotations

import shlex

import pytest

from ckpt_doctor.cli.main import main

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("s3://bucket/my run/a.pt", "aws s3 cp 's3://bucket/my run/a.pt' ."),
        ("s3://bucket/run", "aws s3 cp --recursive s3://bucket/run run"),
        ("gs://bucket/a.pt", "gcloud storage cp gs://bucket/a.pt ."),
        ("hf://org/model/sub/a.pt", "hf download org/model sub/a.pt"),
        ("hf://datasets/org/data/a.pt", "fetch a copy first"),
        ("https://host/a.pt", "curl -fLO https://host/a.pt"),
        (f"https://host/a.pt?sig={SECRET}", "fetch it with curl -fLO and the whole URL"),
        ("memory://bucket/a.pt", "fetch a copy first"),
    ],
)
@pytest.mark.parametrize("name", ["lint", "trace", "undo"])
def test_what_works_on_files_of_this_machine_says_how_to_fetch_one(
    capsys: pytest.CaptureFixture[str], name: str, url: str, command: str
) -> None:
    assert 2 == main([name, url])
    [told] = capsys.readouterr().err.splitlines()
    shown = url.partition("?")[0]
    assert f"Error: {shown} is a URL, and `{name}` works on files of this machine: {command}" == told
    assert SECRET not in told
    assert not command.startswith("aws") or shown in shlex.split(command)


def test_a_rehearsal_keeps_its_traces_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == main(["rehearse", "--resume", "x", "-o", "s3://bucket/traces", "--", "true"])
    assert "s3://bucket/traces is a URL, where nothing is ever written" in capsys.readouterr().err
