"""Prune a run's step checkpoints: what its checkpoints say decides, not the numbers in their folders' names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ckpt_doctor import audit
from ckpt_doctor.audit import remembered
from ckpt_doctor.errors import not_written
from ckpt_doctor.remote import as_path, is_url
from ckpt_doctor.reports import outcomes
from ckpt_doctor.trainers import known
from ckpt_doctor.training import retention
from ckpt_doctor.types import FileReport, Given, PruneResult, Run, Uncounted
from ckpt_doctor.writer.locking import DEFAULT_TIMEOUT


def prune(
    run_dir: Path | str,
    keep: int,
    *,
    protect: Iterable[Path | str] = (),
    dry_run: bool = False,
    facts: Given | None = None,
    logs: Sequence[Path | str] = (),
    ignore: Sequence[str] = (),
    trust: Sequence[str] = (),
    trainer: str = "",
    deep: bool = True,
    timeout: float = DEFAULT_TIMEOUT,
) -> PruneResult:
    """Remove the step checkpoints of a run that are older than the newest ones that the trainer can resume from.

    Age is what `latest` goes by. A damaged checkpoint does not count and stays, and so does one from which a resume
    leaves the uninterrupted run's path for good while another keeps it. The step that `latest` prefers, the best
    checkpoint and whatever another process has open stay as well.

    Args:
        run_dir: the folder of one run.
        keep: how many resumable step checkpoints stay.
        protect: paths, and names within the run, that are never removed.
        dry_run: remove nothing.
        facts, logs, ignore, trust, trainer: as for `scan`.
        deep: read those that stay to the last byte first, once each, and keep an older one in the place of one with a
            corrupt record or with NaN weights. What was seen is remembered in the run folder.
        timeout: seconds to wait for the run folder's lock.

    Returns:
        What was kept, removed and spared, and why.

    Raises:
        UsageError: a folder of several runs.
        WriteRefused: the lock was not to be had, or a folder could not be removed.

    Example:
        >>> prune("checkpoints/run", keep=3, dry_run=True).removed
        ()
    """
    if is_url(run_dir):
        raise not_written(as_path(run_dir), "prune", "`latest` shows which checkpoint to keep")
    run = audit.one_run(run_dir)
    ignored = audit.codes(ignore)
    judged: dict[Path, tuple[FileReport, Run]] = {}
    """Folder -> its checkpoint: the folder itself, or a file in it."""
    seen: remembered.Remembered = {}

    def preferred_folder() -> Path | None:
        newest_first = sorted(judged.values(), key=audit.progress, reverse=True)
        safe = [file for file, _ in newest_first if file.plan is not None and file.verdict == "ok"]
        preferred = audit.preferred(safe)
        return next((folder for folder, (file, _) in judged.items() if file is preferred), None)

    def find_steps() -> Iterable[retention.Step]:
        found = [(folder, number, t.resume_target(folder)) for t in known() for folder, number in t.prunable(run)]
        held = {folder: retention.contents(folder) for folder, _, _ in found}
        folders = {path: folder for folder, _, path in found if path}
        report = audit.check_all(list(folders), facts=facts, logs=logs, ignore=ignore, trust=trust, trainer=trainer)
        judged.update({folders[file.checkpoint.path]: (file, one.run) for one in report for file in one.files})
        seen.update(remembered.load(run))
        preferred = preferred_folder()
        for folder, number, _ in found:
            if folder not in judged:
                yield retention.Step((number,), folder, False, held[folder])
                continue
            file, _ = judged[folder]
            resumable = file.plan is not None and file.verdict != "broken"
            spare = "`latest` resumes from it" if folder == preferred else ""
            if file.checkpoint.path == folder and file.member.role == "best":
                spare = spare or "it is the best checkpoint of the run"
            departs = bool(audit.departs(file))
            yield retention.Step(audit.progress(judged[folder]), folder, resumable, held[folder], departs, spare)

    def is_sound(step: retention.Step) -> bool:
        file, within = judged[step.folder]
        name = remembered.identity(file.checkpoint)
        if name not in seen:
            whole = audit.read_through(file, within, trust=trust, gate=True)
            if retention.contents(step.folder) != step.contents:
                return False  # its trainer is at work on it
            seen[name] = remembered.shown_by_reading(file, whole)
            if not dry_run:
                there = [remembered.identity(file.checkpoint) for file, _ in judged.values()]
                remembered.store(run, seen, there)
        return ignored.issuperset(seen[name])

    def reason(folder: Path) -> Uncounted:
        if folder not in judged:
            return Uncounted(folder, ())
        file, _ = judged[folder]
        read = seen.get(remembered.identity(file.checkpoint), ())
        errors = {f.code for f in file.findings if f.severity == "error" and f.migration is None}
        return Uncounted(folder, tuple(sorted(errors.union(read, audit.departs(file)) - set(ignored))))

    result = retention.keep_newest(
        run,
        keep,
        find_steps=find_steps,
        is_sound=is_sound if deep else None,
        protect=map(Path, protect),
        dry_run=dry_run,
        timeout=timeout,
    )
    reasons = tuple(map(reason, (*result.departing, *result.uncounted)))
    return replace(result, reasons=reasons, preferred=preferred_folder(), display=outcomes.pruned)
