"""Prune a run's step checkpoints: what its checkpoints say decides, not the numbers in their folders' names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ckpt_doctor.audit import auditing as audit
from ckpt_doctor.trainers.time_llm.layout import STEP_FOLDER
from ckpt_doctor.training import retention
from ckpt_doctor.types import Facts, PruneResult
from ckpt_doctor.writer.locking import DEFAULT_TIMEOUT


def prune(
    run_dir: Path | str,
    keep: int,
    *,
    protect: Iterable[Path | str] = (),
    dry_run: bool = False,
    facts: Facts | None = None,
    logs: Sequence[Path | str] = (),
    ignore: Sequence[str] = (),
    timeout: float = DEFAULT_TIMEOUT,
) -> PruneResult:
    """Remove the step checkpoints of a run that are older than the `keep` newest ones the trainer can resume from.

    What the trainer's own `shutil.rmtree` loop does for `save_total_limit`, under the run's lock and without its
    accidents: age is `global_step` (the folder's number only where the file does not tell), a damaged checkpoint does
    not count and stays, the best checkpoint and whatever another process has open stay. `protect` takes paths, and
    names within the run. Raises what `retention.keep_newest` raises, and UsageError for a folder of several runs.
    """
    run = audit.one_run(run_dir)

    def find_steps() -> Iterable[retention.Step]:
        folders = [path for path in run.iterdir() if STEP_FOLDER.fullmatch(path.name) and path.is_dir()]
        files = {folder: audit.trainers_file(folder) for folder in folders}
        report = audit.check_all([file for file in files.values() if file], facts=facts, logs=logs, ignore=ignore)
        judged = {file.checkpoint.path: file for file in report}
        for folder, path in files.items():
            file = judged[path] if path else None
            step = file.member.state.global_step if file else None
            named = STEP_FOLDER.fullmatch(folder.name)
            resumable = file is not None and file.plan is not None and file.verdict != "broken"
            yield retention.Step(int(named[1]) if step is None and named else step or 0, folder, resumable)

    return retention.keep_newest(
        run, keep, find_steps=find_steps, protect=map(Path, protect), dry_run=dry_run, timeout=timeout
    )
