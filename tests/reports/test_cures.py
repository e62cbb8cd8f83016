"""What to type: a cure is a command that works from where the scan was made."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ckpt_doctor.reports import cures
from ckpt_doctor.reports import judged as table
from ckpt_doctor.reports.groups import grouped
from ckpt_doctor.reports.text import quoted
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts
from ckpt_doctor.types import Evidence, Finding
from tests.reports.report_samples import NO_BEST_SCORE, RUN, example, file, report


def test_each_cure_stands_on_its_own_line() -> None:
    lines = [line.strip() for line in table(example()).splitlines()]
    assert "cure: ckpt-doctor migrate --add-best-score" in lines
    assert "cure: add --learning_rate 4e-06 to the resume command" in lines


def test_a_migration_is_told_the_path_that_the_scan_was_given() -> None:
    elsewhere = replace(example(), paths=(Path("/my drive/checkpoints"),))
    assert "cure: ckpt-doctor migrate --add-best-score '/my drive/checkpoints'" in table(elsewhere)


def test_a_cure_of_one_file_names_it() -> None:
    cut = Finding("F101", "truncated-archive", "error", "the end is missing.", fix="ckpt-doctor salvage FILE -o OUT")
    for path, word in ((Path("a b/checkpoint.pt"), "'a b/checkpoint.pt'"), (Path("-last.pt"), "./-last.pt")):
        printed = table(report(file(path, cut), path=path.parent))
        assert f"cure: ckpt-doctor salvage {word} -o OUT" in printed


def test_a_cure_of_several_files_is_written_out_for_the_first_and_counts_the_rest() -> None:
    cut = Finding("F101", "truncated-archive", "error", "the end is missing.", fix="ckpt-doctor salvage FILE -o OUT")
    printed = table(report(*[file(RUN / f"c{i}", cut) for i in range(5)]))
    assert f"cure: ckpt-doctor salvage {RUN}/c2 -o OUT\n" in printed
    assert "cure: and so on for 2 more" in printed


def test_a_migration_is_told_the_facts_that_the_scan_was_given_but_not_those_of_the_settings() -> None:
    facts = TimeLLMFacts(
        lradj=Evidence("TST", "--lradj", given=True),
        learning_rate=Evidence(4e-6, "learning_rate of the script", given=True),
        patience=Evidence(5, "pyproject.toml", given=True),
        steps_per_epoch=Evidence(45, "the log"),
    )
    printed = table(report(file(RUN / "checkpoint", NO_BEST_SCORE), facts=facts))
    assert "cure: ckpt-doctor migrate --add-best-score --lradj TST --learning-rate 4e-06\n" in printed


FILE_NAMES = st.one_of(st.binary(min_size=1), st.text(min_size=1).map(str.encode))


@given(FILE_NAMES.map(lambda name: os.fsdecode(name.replace(b"\0", b"x"))))
def test_a_path_in_a_cure_is_one_word_for_the_shell(name: str) -> None:
    word = quoted(name)
    if word.startswith("$'"):
        assert re.fullmatch(r"\$'(?:[^'\\]|\\x[0-9a-f]{2})*'", word)
        back = re.sub(rb"\\x(..)", lambda m: bytes.fromhex(m[1].decode()), word[2:-1].encode())
        assert os.fsencode(name) == back
    else:
        assert [name] == shlex.split(word)


def test_the_name_of_a_salvaged_file_lies_in_the_working_folder() -> None:
    """With the suffix of the old one; an index names no result."""
    inner = file(RUN / "checkpoint_step_9/checkpoint.pt", role=None)
    assert "checkpoint_step_9-checkpoint-salvaged.pt" == cures.output_name(inner, RUN)
    assert "checkpoint-salvaged.pt" == cures.output_name(file(RUN / "checkpoint", role=None), RUN)
    assert "model-salvaged.pt" == cures.output_name(file(RUN / "model.json", role=None), RUN)


def test_several_repairs_are_one_command() -> None:
    """Not one repair, nor notes; and no command where nothing is called for."""
    other = replace(NO_BEST_SCORE, code="R501", migration="sync-scheduler", fix="ckpt-doctor migrate --sync-scheduler")
    note = replace(other, code="L305", severity="info", migration="to-cpu")

    def told(*findings: Finding) -> str:
        run = report(file(RUN / "checkpoint", *findings)).runs[0]
        return cures.all_repairs(run, grouped(run), [RUN])

    assert f"ckpt-doctor migrate --all {RUN}" == told(NO_BEST_SCORE, other)
    assert "" == told(NO_BEST_SCORE, NO_BEST_SCORE) == told(NO_BEST_SCORE, note) == told()


def test_a_repair_that_asks_for_no_fact_is_told_none() -> None:
    facts = TimeLLMFacts(lradj=Evidence("TST", "--lradj", given=True))
    run = report(file(RUN / "checkpoint"), facts=facts).runs[0]
    claimed = replace(run, run=replace(run.run, claimed="time-llm", logs=(Path("a b.log"),)))
    assert cures.repair("ckpt-doctor migrate --to-cpu", claimed, cures.DEFAULT_PATHS).endswith(
        "--to-cpu --trainer time-llm"
    )
    told = cures.repair("ckpt-doctor migrate --all", claimed, cures.DEFAULT_PATHS)
    assert told.endswith("--trainer time-llm --lradj TST --log 'a b.log'")
    assert "salvage a -o b" == cures.repair("salvage a -o b", claimed, ()), "no other command takes them"


def test_a_sentence_is_no_command() -> None:
    assert cures.is_command("ckpt-doctor undo a.pt")
    assert not cures.is_command("rename the folder")
