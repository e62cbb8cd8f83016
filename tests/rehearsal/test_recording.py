"""Recording the process that calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ckpt_doctor.errors import UsageError
from ckpt_doctor.rehearsal import read_traces, record


def test_a_second_recording_in_one_process_is_refused(tmp_path: Path) -> None:
    with record(tmp_path / "one"), pytest.raises(RuntimeError, match="running"), record(tmp_path / "two"):
        pass


def test_a_block_without_steps_has_no_trace(tmp_path: Path) -> None:
    with record(tmp_path / "run.trace") as folder:
        torch.ones(1)
    with pytest.raises(UsageError, match="no trace"):
        read_traces(folder)
