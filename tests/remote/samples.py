"""Files to serve."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from ckpt_doctor.types import Report

SAMPLES = Path(__file__).parents[2] / "fixtures" / "sample-runs"


def safetensors(numbers: int = 1 << 16) -> bytes:
    """A file of one tensor of so many float32."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<f", 0.5) * numbers


def of_many_tensors() -> bytes:
    """A file whose header takes more than the first look."""
    header = {f"layer.{n}": {"dtype": "U8", "shape": [1], "data_offsets": [n, n + 1]} for n in range(2_000)}
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(range(1, 251)) * 8


def sparse_safetensors(path: Path, size: int) -> Path:
    """A file of one tensor whose bytes are a hole of `size` bytes."""
    header = json.dumps({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    return path


def upload(fs: Any, folder: Path, name: str) -> str:
    """Put all files of a folder into the store; its URL."""
    for file in folder.rglob("*"):
        if file.is_file():
            fs.pipe(f"/{name}/{file.relative_to(folder).as_posix()}", file.read_bytes())
    return f"memory://{name}"


def told(report: Report, top: str) -> Any:
    """All that a report says, by names below a folder."""
    return [
        (
            str(run.run.path).removeprefix(top),
            {fact.name: getattr(run.run.facts.get(fact.name), "value", None) for fact in run.run.facts.table},
            [
                (
                    str(file.checkpoint.path).removeprefix(top),
                    (file.verdict, file.resume),
                    [(found.code, found.message) for found in file.findings],
                    file.plan,
                )
                for file in run.files
            ],
        )
        for run in report.runs
    ]


def asked_of(report: Report) -> tuple[int, int]:
    """Requests to servers, and bytes that came, as a report counts them."""
    return sum(run.requests for run in report.runs), sum(run.received for run in report.runs)
