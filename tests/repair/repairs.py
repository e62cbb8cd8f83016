"""Where the sample runs are, and what a folder contains."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor import migrate

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "fixtures" / "sample-runs"


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below a folder, with its bytes and its time."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def assert_refused(step: Path, said: str, **options) -> None:
    """The migration fails for this reason, and leaves the file and its folder as they were."""
    before = contents(step.parent)
    (result,) = migrate([step], **{"fixes": ["sync-scheduler"], **options})
    assert ("failed", True) == (result.status, said in result.message), result.message
    assert ((), result.before) == (result.edits, result.after)
    assert before == contents(step.parent)
