"""Where output goes: whole files or none, colour and progress on terminals only."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckpt_doctor.cli import output
from ckpt_doctor.types import MigrationResult, Refusal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "report.md"
    target.write_text("old")
    output.emit("长期 new\n", target)
    assert target.read_text(encoding="utf-8") == "长期 new\n"
    assert list(tmp_path.iterdir()) == [target]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "report.md"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        output.emit("new \udcff", target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", Terminal())
    assert output.color() is expected
    assert output.color(Path("file")) is False
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert output.color() is (expected and "FORCE_COLOR" in variables)


def test_a_report_in_pieces_is_written_whole(tmp_path: Path) -> None:
    output.emit(iter(["te", "xt\n"]), tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text() == "text\n"


def test_a_report_that_fails_on_the_way_leaves_no_file(tmp_path: Path) -> None:
    def pieces() -> Iterator[str]:
        yield "te"
        raise ValueError

    with pytest.raises(ValueError):
        output.emit(pieces(), tmp_path / "report.md")
    assert [] == [*tmp_path.iterdir()]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "report.md")
    output.emit("text\n", tmp_path / "link")
    assert (tmp_path / "report.md").read_text() == "text\n"
    assert (tmp_path / "link").is_symlink()


def test_what_is_no_plain_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    """`-o /dev/null` as root must not make a file of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    output.emit("text\n", pipe)
    assert os.read(reader, 100) == b"text\n"
    os.close(reader)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_the_width_follows_the_terminal_and_is_80_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "132")
    assert output.width() == 132
    monkeypatch.setenv("COLUMNS", "7")
    assert output.width() == 40


@pytest.mark.parametrize(
    ("severities", "fail_on", "expected"),
    [
        ([], "warning", 0),
        (["info"], "warning", 0),
        (["warning"], "warning", 1),
        (["warning"], "error", 0),
        (["warning", "error"], "error", 1),
        (["error"], "never", 0),
    ],
)
def test_the_exit_code_is_1_from_the_asked_severity_on(severities: list[str], fail_on: str, expected: int) -> None:
    assert output.exit_code(severities, fail_on) == expected


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([], 0),
        ([MigrationResult(Path("a"), "migrated"), MigrationResult(Path("b"), "unchanged")], 0),
        ([MigrationResult(Path("a"), "undone"), MigrationResult(Path("b"), "planned")], 0),
        ([MigrationResult(Path("a"), "migrated"), MigrationResult(Path("b"), "failed")], 1),
        ([MigrationResult(Path("a"), "refused")], 1),
        ([MigrationResult(Path("a"), "migrated", refusals=(Refusal("sync-rng", "no evidence", "--log FILE"),))], 1),
    ],
)
def test_the_exit_code_is_1_where_anything_was_refused_or_failed(results: list[MigrationResult], expected: int) -> None:
    assert output.unfinished(results) == expected


def test_progress_is_silent_where_no_terminal_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with output.Progress() as progress:
        progress.drawn = float("-inf")
        progress(tmp_path, 10)
    assert stream.getvalue() == ""


def test_progress_shows_file_bytes_and_rate_and_wipes_its_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "90")
    file = tmp_path / "checkpoint_step_5" / "checkpoint.pt"
    file.parent.mkdir()
    file.write_bytes(b"x" * 4000)
    with output.Progress() as progress:
        progress.drawn = float("-inf")
        progress(file, 2000)
    drawn = stream.getvalue()
    assert re.search(r"checkpoint_step_5/checkpoint\.pt  \[#####\.\.\.\.\.\]  2 KB of 4 KB, .+/s", drawn)
    assert drawn.endswith("\r\x1b[K")


def test_files_are_counted_while_none_is_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Other processes tell of a file when it is done."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(output, "EVERY", 0.0)
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(b"x" * 4000)
    with output.Progress() as progress:
        progress.count(3, 1_200)
        progress(file, 1000)
        progress(file, 3000)
        progress.count(600, 1_200)
    counted, at_hand, done, half = [line.removesuffix("\x1b[K") for line in stream.getvalue().split("\r")[1:-1]]
    assert "[..........]  3 of 1,200 files" == counted
    assert "checkpoint.pt  [##........]  1 KB of 4 KB" in at_hand
    assert "3 of 1,200 files" in done
    assert half.startswith("[#####.....]  600 of 1,200 files, ")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_progress_line_fits_the_terminal(tmp_path: Path, columns: int) -> None:
    progress = output.Progress()
    progress.path, progress.done, progress.of, progress.all = tmp_path / ("长" * 300) / "checkpoint.pt", 1, 10**10, 1
    assert len(progress.line(progress.begun + 1, columns).encode("gbk")) <= max(columns, 50)
