"""What an export says: counts, shared names, what was left out; never more lines than one looks at."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor.reports.exporting import MOST_NAMES, exported
from ckpt_doctor.types import ExportResult


def test_shared_names_and_what_is_no_tensor_are_told() -> None:
    result = ExportResult(
        Path("a"), Path("w.safetensors"), ("embed", "bias"), {"head": "embed"}, ("_extra_state",), 2048
    )
    lines = exported(result).splitlines()
    assert lines[0].startswith("w.safetensors: 2 tensors, ")
    assert "    head = embed" in lines
    assert "    _extra_state" in lines


def test_a_long_list_is_cut_and_names_fit_the_width() -> None:
    names = tuple(f"{'x' * 90}.{number}\x1b[2J" for number in range(2 * MOST_NAMES))
    lines = exported(ExportResult(Path("a"), Path("w"), ("b",), {}, names, 1), width=40).splitlines()
    assert f"    ... and {MOST_NAMES} more" == lines[-1]
    assert all(len(line) <= 40 and line.isprintable() for line in lines)
