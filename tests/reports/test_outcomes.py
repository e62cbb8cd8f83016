"""What a prune, a salvage and an export say: counts, names, what is lost; never more lines than one looks at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ckpt_doctor.reports.outcomes import GOOD_FOR, MOST_NAMES, exported, pruned, salvaged
from ckpt_doctor.types import ExportResult, PruneResult, SalvageResult, Spared, Uncounted
from tests.reports.report_samples import HOSTILE

RUN = Path("run")
PRUNED = PruneResult(
    kept=(RUN / "checkpoint_step_9", RUN / "checkpoint_step_8"),
    uncounted=(RUN / "checkpoint_step_7",),
    removed=(RUN / "checkpoint_step_1",),
    spared=(Spared(RUN / "checkpoint_step_2", "it is open in another process"),),
    freed=3 << 30,
    deep=True,
    reasons=(Uncounted(RUN / "checkpoint_step_7", ("F101", "F103")),),
)
SALVAGED = SalvageResult(Path("a.pt"), Path("b.pt"), ("w", "b"), ("head",), ("sparse",), ("args",), "parts", 2048)


def test_every_pruned_folder_has_its_line_and_the_end_says_what_it_comes_to() -> None:
    lines = pruned(PRUNED).splitlines()
    assert {"removed", "spared", "kept, not resumable", "kept"} == {line.strip().split("  ")[0] for line in lines[:-1]}
    assert any(line.endswith("checkpoint_step_2: it is open in another process") for line in lines)
    assert any(line.endswith("checkpoint_step_7: F101, F103") for line in lines)
    assert "1 checkpoint removed, 3.0 GiB freed; 2 resumable kept, read to the last byte." == lines[-1]


def test_a_dry_run_says_what_would_be_done() -> None:
    told = " ".join(pruned(replace(PRUNED, dry_run=True, deep=False)).split())
    assert "would be removed checkpoint_step_1" in told
    assert "would be freed" in told
    assert told.endswith("not read to the last byte.")
    nothing = pruned(replace(PRUNED, removed=(), deep=False))
    assert nothing.rstrip().endswith("2 resumable kept."), "what was not removed need not have been read"


def test_one_that_departs_does_not_count_and_the_preferred_one_is_marked() -> None:
    """Only where the newest is not the one that `latest` takes."""
    departing = replace(PRUNED, departing=(RUN / "checkpoint_step_10",), preferred=RUN / "checkpoint_step_8")
    told = pruned(departing)
    assert "kept, not identical" in told
    (marked,) = [line for line in told.splitlines() if "`latest` resumes from it" in line]
    assert "checkpoint_step_8:" in marked
    assert "`latest`" not in pruned(replace(departing, departing=()))


def test_no_pruned_name_acts_on_the_terminal() -> None:
    printed = pruned(replace(PRUNED, removed=(RUN / HOSTILE.replace("/", ""),), spared=(Spared(RUN / "a", HOSTILE),)))
    assert all(line.isprintable() for line in printed.splitlines())


def test_a_salvage_tells_counts_names_and_use() -> None:
    lines = salvaged(SALVAGED).splitlines()
    assert lines[0].startswith("b.pt: 2 of 3 tensors recovered, ")
    for title, name in (("lost", "head"), ("taken apart", "sparse"), ("left out", "args")):
        at = next(number for number, line in enumerate(lines) if line.strip().startswith(title))
        assert f"    {name}" == lines[at + 1]


@pytest.mark.parametrize("use", GOOD_FOR)
def test_what_the_new_file_is_good_for_is_the_last_sentence(use: str) -> None:
    told = " ".join(salvaged(replace(SALVAGED, good_for=use)).split())
    assert told.endswith(f"{GOOD_FOR[use]}.")


def test_what_a_salvage_has_none_of_is_not_mentioned() -> None:
    whole = salvaged(replace(SALVAGED, lost=(), taken_apart=(), left_out=(), good_for="resume"))
    assert "2 of 2 tensors recovered" in whole
    assert not any(word in whole for word in ("lost", "taken apart", "left out"))


def test_a_salvage_cuts_long_lists_and_its_names_fit_and_do_nothing() -> None:
    names = tuple(f"{'x' * 90}{number}{HOSTILE}" for number in range(MOST_NAMES + 5))
    lines = salvaged(replace(SALVAGED, lost=names), width=40).splitlines()
    assert "    ... and 5 more" in lines
    assert all(len(line) <= 40 and line.isprintable() for line in lines)


def test_an_export_tells_shared_names_and_what_is_no_tensor() -> None:
    result = ExportResult(
        Path("a"), Path("w.safetensors"), ("embed", "bias"), {"head": "embed"}, ("_extra_state",), 2048
    )
    lines = exported(result).splitlines()
    assert lines[0].startswith("w.safetensors: 2 tensors, ")
    assert "    head = embed" in lines
    assert "    _extra_state" in lines


def test_an_export_cuts_a_long_list_and_its_names_fit_the_width() -> None:
    names = tuple(f"{'x' * 90}.{number}\x1b[2J" for number in range(2 * MOST_NAMES))
    lines = exported(ExportResult(Path("a"), Path("w"), ("b",), {}, names, 1), width=40).splitlines()
    assert f"    ... and {MOST_NAMES} more" == lines[-1]
    assert all(len(line) <= 40 and line.isprintable() for line in lines)
