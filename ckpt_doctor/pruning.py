"""Prune a run's step checkpoints: what its checkpoints say decides, not the numbers in their folders' names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ckpt_doctor import audit, retention
from ckpt_doctor.errors import UsageError
from ckpt_doctor.locking import DEFAULT_TIMEOUT
from ckpt_doctor.trainers.time_llm.layout import STEP_FOLDER
from ckpt_doctor.types import Facts, FileReport


def prune(
    run_dir: Path | str,
    keep: int,
    *,
    protect: Iterable[Path | str] = (),
    dry_run: bool = False,
    facts: Facts | None = None,
    logs: Sequence[Path] = (),
    timeout: float = DEFAULT_TIMEOUT,
) -> retention.PruneResult:
    """Remove the step checkpoints of a run that are older than the `keep` newest ones the trainer can resume from.

    What the trainer's own `shutil.rmtree` loop does for `save_total_limit`, under the run's lock and without its
    accidents: age is `global_step` (the folder's number only where the file does not tell), a damaged checkpoint does
    not count and stays, the best checkpoint and whatever another process has open stay. Raises what
    `retention.keep_newest` raises.
    """

    def judged(folder: Path) -> FileReport | None:
        if not STEP_FOLDER.fullmatch(folder.name):
            return None
        try:
            return audit.check(folder, facts=facts, logs=logs).files[0]
        except UsageError:  # a step folder with no checkpoint in it
            return None

    def step_of(folder: Path) -> int | None:
        name = STEP_FOLDER.fullmatch(folder.name)
        file = judged(folder)
        step = file.member.state.global_step if file is not None else None
        return int(name[1]) if step is None and name is not None else step

    def is_resumable(folder: Path) -> bool:
        file = judged(folder)
        return file is not None and file.plan is not None and file.verdict != "broken"

    return retention.keep_newest(
        Path(run_dir),
        keep,
        step_of=step_of,
        is_resumable=is_resumable,
        protect=map(Path, protect),
        dry_run=dry_run,
        timeout=timeout,
    )
