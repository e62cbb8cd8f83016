"""Every command that is printed does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_doctor import facts, scan
from tests.advice.drive import FILLED_IN, Call, advice, commands, is_answer, runs
from tests.trainers.plain.plain_runs import run as plain_run


def printed_commands(call: Call) -> Iterator[list[str]]:
    """Of all surfaces, each once."""
    texts = [call("scan").stdout, call("scan", "-v").stdout]
    texts += [call("check", file.checkpoint.path).stdout for run in runs().values() for file in run.files]
    yield from commands("\n".join(texts))


@pytest.mark.long
def test_no_command_is_printed_that_its_dry_run_refuses(drive: Path, call: Call) -> None:
    migrations = [words for words in printed_commands(call) if words[0] == "migrate"]
    assert len(migrations) > 5
    for words in migrations:
        done = call(*words, "--dry-run")
        assert (0, False) == (done.exit_code, "refused" in done.stdout), (words, done.output)
        assert " planned" in done.stdout, words


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("COS", "old run (backup)")]


@pytest.mark.parametrize("name", ["TST", *LONG])
def test_the_command_makes_the_checkpoint_one_to_resume_from(drive: Path, call: Call, name: str) -> None:
    before = advice(name)
    done = call(*(FILLED_IN.get(word, word) for word in before.command[1:]))
    assert 0 == done.exit_code, done.output
    assert is_answer(done.stdout.splitlines()[0])
    after = advice(name)
    given = ("--log", str(before.log)) if before.log else ()
    assert before.path == after.path
    assert str(before.path) == call("latest", before.run, *given).stdout.strip()
    assert before.flags == after.flags
    assert not {finding.code for run in runs().values() for finding in run.findings if run.run.path == before.run}


def test_a_salvaged_file_is_where_the_command_put_it(drive: Path, call: Call) -> None:
    told = advice("broken download")
    assert ("none", None, "salvage") == (told.kind, told.path, told.command[1])
    assert 0 == call(*told.command[1:]).exit_code
    assert scan(told.command[-1]).files[0].checkpoint.layout == "training"


def test_the_way_out_repairs_all_but_what_is_lost(drive: Path, call: Call) -> None:
    for log in Path("logs").iterdir():
        log.unlink()
    told = advice("old run (backup)")
    assert ("facts", ["--val-loss"]) == (told.kind, [blank.option for blank in told.missing])
    assert told.way_out is not None
    assert ("E601",) == told.way_out.codes
    assert [path.name for path in told.way_out.keep] == ["checkpoint"]
    assert 0 == call("check", told.path, "--ignore", "E601", "--learning-rate", told.flags[1]).exit_code


def test_a_resume_that_differs_without_a_finding_is_told_why(tmp_path: Path) -> None:
    """The file is right, and its loop saves no random state."""
    shuffled = facts(resume_epoch="label+1", shuffle=True)
    [run] = scan([plain_run(tmp_path, "StepLR")], facts=shuffled).runs
    assert ("differs", []) == (run.files[-1].resume, [*run.files[-1].serious])
    assert run.advice is not None
    [note] = run.advice.caveats
    assert "no random state" in note
    [same] = scan([tmp_path], facts=facts(resume_epoch="label+1", shuffle=False)).runs
    assert same.advice is not None
    assert () == same.advice.caveats


def test_all_that_is_open_is_asked_for_at_once(tmp_path: Path) -> None:
    """A loop saves no random state, and whether it shuffles and where it starts is in its script only."""
    [run] = scan([plain_run(tmp_path, "StepLR")]).runs
    assert run.advice is not None
    assert {"--shuffle", "--no-shuffle", "--script", "--resume-epoch"} <= {*run.advice.reason.replace(";", "").split()}
    [told] = scan([tmp_path], facts=facts(resume_epoch="label+1", shuffle=False)).runs
    assert told.advice is not None
    assert ("", "identical") == (told.advice.reason, told.files[-1].resume)
