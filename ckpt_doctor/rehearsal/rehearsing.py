"""Run, kill, resume, compare: what a resume from a checkpoint really does, on this machine, with the user's own script.

Everything happens in a scratch folder that mirrors the working folder (`stage.mirror`).
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ckpt_doctor import audit
from ckpt_doctor.errors import UsageError
from ckpt_doctor.rehearsal.divergence import Comparison, Difference, compare, varying
from ckpt_doctor.rehearsal.loop import Loop, describe
from ckpt_doctor.rehearsal.recording import found
from ckpt_doctor.rehearsal.stage import RehearsalFailed, Stage, copied, mirror
from ckpt_doctor.rehearsal.traces import Restore, Save, Step, Trace
from ckpt_doctor.repair import migrate
from ckpt_doctor.trainers.facts import every_fact, facts
from ckpt_doctor.types import FileReport, Given, MigrationResult
from ckpt_doctor.writer.signals import orderly_exit

AFTER = 20
"""Steps that are compared after the kill, unless `steps` says otherwise."""
HELD_BY = {"weights": "model", "optimizer": "optimizer", "schedule": "scheduler", "scaler": "scaler"}
"""Quantity -> whose `load_state_dict` restores it."""
Outcome = Literal["identical", "restored", "differs"]
"""`restored`: what a checkpoint can restore is equal; batches, random state or loss are not."""


@dataclass(frozen=True)
class Resumed:
    """One resume, beside the uninterrupted run."""

    flags: tuple[str, ...]
    """What the resume command carried beside its own arguments."""
    comparison: Comparison
    loaded: frozenset[str]
    """What `load_state_dict` was called for: `model`, `optimizer`, `scheduler`, `scaler`."""

    def without(self, unrepeated: frozenset[str]) -> Resumed:
        """The same resume, compared without what the command does not repeat."""
        return replace(self, comparison=self.comparison.without(unrepeated))

    @property
    def forgotten(self) -> tuple[str, ...]:
        """What differs because the script never loads its state, whatever the file has."""
        differ = {HELD_BY[one.quantity] for one in self.comparison.restored if one.quantity in HELD_BY}
        return tuple(sorted(differ - self.loaded))

    @property
    def outcome(self) -> Outcome:
        """What the resume did."""
        if self.comparison.identical:
            return "identical"
        return "differs" if any(map(self._is_not_restored, self.comparison.restored)) else "restored"

    def _is_not_restored(self, one: Difference) -> bool:
        """Rates must stay equal; the rest follows batches and random state after the first step."""
        begins = self.comparison.resumed_at.get(one.optimizer, 0) + 1
        return one.quantity in ("rate", "beta") or one.step == begins


@dataclass(frozen=True)
class Rehearsal:
    """What was predicted, and what was seen."""

    command: tuple[str, ...]
    checkpoint: str
    """Relative to the working folder of the command."""
    killed_after: int
    steps: int
    predicted: FileReport
    as_saved: Resumed
    repaired: Resumed | None
    """None where there was nothing to repair."""
    migrations: tuple[MigrationResult, ...]
    loop: Loop
    traces: Path | None = None
    """Where the recorded traces are kept."""

    @property
    def final(self) -> Resumed:
        """The resume that counts: of the repaired checkpoint, where it was repaired."""
        return self.repaired or self.as_saved

    @property
    def was_right(self) -> bool | None:
        """Whether the prediction holds; None where there was none, or the script forgets to load what the file has."""
        if self.predicted.resume in ("not judged", "open") or self.as_saved.forgotten:
            return None
        restored = self.as_saved.outcome != "differs"
        return restored if self.predicted.resume == "identical" else not self.as_saved.comparison.identical

    def holds(self, *, strict: bool = False) -> bool:
        """Whether the resume continues the run; `strict` asks for batches, random state and loss as well."""
        return self.final.outcome == "identical" if strict else self.final.outcome != "differs"


def rehearse(
    command: Sequence[str],
    resume: str,
    *,
    steps: int | None = None,
    kill_after: int | None = None,
    kill: bool = False,
    timeout: float = 600.0,
    trainer: str = "",
    given: Given | None = None,
    traces: Path | None = None,
    folder: Path | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Rehearsal:
    """Run a training command, kill it, resume it as it is and repaired, and compare both with the uninterrupted run.

    Args:
        command: the training command. `{workdir}` in it is the scratch folder, which is also its working folder.
        resume: the arguments that make it resume; `{checkpoint}` is the checkpoint that was saved last before the kill.
        steps: optimizer steps of the uninterrupted run.
        kill_after: optimizer steps after which it is killed; without it, two after the first save.
        kill: kill every process with SIGKILL in a run of its own, instead of a copy of the folder while all are frozen.
        timeout: seconds for each run.
        trainer: the trainer's name, as for `check`.
        given: facts of the training command, as for `check`.
        traces: folder to keep the recorded traces in.
        folder: the working folder; the present one without it.
        say: called with a sentence as each stage begins.

    Returns:
        Prediction and outcome side by side.

    Raises:
        UsageError: no such command, or numbers that do not fit.
        RehearsalFailed: the command makes no steps, saves nothing, ends too early, fails, hangs, does not resume, or
            saves outside its folder.
    """
    found(command)
    if steps is not None and kill_after is not None and steps <= kill_after:
        raise UsageError(f"the kill after step {kill_after} leaves nothing to compare in {steps} steps")
    if kill and kill_after is None:
        raise UsageError("a real kill needs --kill-after STEP")
    root = Path(tempfile.mkdtemp(prefix="ckpt-doctor-rehearsal-")).resolve()
    stage = Stage(root, (folder or Path.cwd()).absolute(), tuple(command), timeout, traces or root / "traces")
    asked = _Asked(stage, tuple(shlex.split(resume)), steps, kill_after, kill, trainer, given or {}, say)
    try:
        with orderly_exit():
            return _rehearsed(asked)
    finally:
        shutil.rmtree(root, ignore_errors=True)


# --- the stages -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """What the user asks of a rehearsal, as `rehearse` takes it."""

    stage: Stage
    resume: tuple[str, ...]
    steps: int | None
    kill_after: int | None
    kill: bool
    trainer: str
    given: Given
    say: Callable[[str], object]


@dataclass(frozen=True)
class _Reference:
    """The uninterrupted run, and its folder as a kill leaves it."""

    traces: list[Trace]
    frozen: Path
    killed_after: int

    @property
    def steps(self) -> int:
        """Of the first optimizer."""
        return len(self.traces[0].steps.get(0, ()))

    @property
    def saves(self) -> list[tuple[Save, int]]:
        """The saves before the kill, each with the steps before it."""
        saves = _saves_with_steps(self.traces[0])
        return [(save, made) for save, made in saves if made < self.killed_after]


def _rehearsed(asked: _Asked) -> Rehearsal:
    stage = asked.stage
    reference = _interrupted(asked)
    if not reference.saves:
        late = any(_saves_with_steps(reference.traces[0]))
        advice = "; kill it later" if late else ", or it saves without torch.save and safetensors"
        raise RehearsalFailed(f"the command saved no checkpoint in its first {reference.killed_after} steps{advice}")
    loop = describe(reference.traces[0])
    known = {**_facts_of(loop), **asked.given}
    asked.say("judging what was saved")
    logs = [stage.log("reference")] if stage.log("reference").stat().st_size else []
    predicted = _predicted(asked, reference, known, logs)
    checkpoint = predicted.checkpoint.path
    name = str(checkpoint.relative_to(stage.work))

    asked.say(f"resuming from {name} as it is")
    as_saved = _resumed(asked, reference, checkpoint, "as-saved")
    flags = predicted.plan.flags if predicted.plan is not None else ()
    migrations: list[MigrationResult] = []

    def repair() -> None:
        migrations.extend(migrate([checkpoint], facts=known, logs=logs, trainer=asked.trainer))

    repaired = None
    if predicted.verdict == "repairable" or flags:
        asked.say("resuming from it after migrate --all")
        repaired = _resumed(asked, reference, checkpoint, "repaired", flags, repair)
    if not all(one is None or one.comparison.identical for one in (as_saved, repaired)):
        asked.say("running the command once more, to see what it repeats")
        mirror(stage.folder, stage.work)
        varies = varying(reference.traces, stage.run("again", stop_at=reference.steps))
        as_saved, repaired = as_saved.without(varies), repaired and repaired.without(varies)
    kept = None if stage.traces.is_relative_to(stage.root) else stage.traces
    return Rehearsal(
        stage.command, name, reference.killed_after, reference.steps, predicted, as_saved, repaired, tuple(migrations),
        loop, kept,
    )  # fmt: skip


def _interrupted(asked: _Asked) -> _Reference:
    """Run the command without end, and keep its folder as a kill leaves it."""
    stage = asked.stage
    frozen = stage.root / "frozen"
    after: list[int] = [] if asked.kill_after is None else [asked.kill_after]

    def freeze(step: int) -> None:
        after[:] = [step]
        copied(stage.work, frozen)

    mirror(stage.folder, stage.work)
    if asked.kill:
        asked.say(f"running the command, to be killed after step {asked.kill_after}")
        stage.run("killed", freeze_at=asked.kill_after, kill=True)
        stage.work.rename(frozen)
        mirror(stage.folder, stage.work)
        asked.say("running it without a kill")
        traces = stage.run("reference", stop_at=asked.steps or (asked.kill_after or 0) + AFTER)
    else:
        asked.say("running the command")
        freeze_at = asked.kill_after or "auto"
        stop_after = AFTER if asked.steps is None else None
        traces = stage.run("reference", (), freeze, freeze_at=freeze_at, stop_at=asked.steps, stop_after=stop_after)
    shutil.rmtree(stage.work)
    if not after:
        made = len(traces[0].steps.get(0, ()))
        raise RehearsalFailed(f"the command saved no checkpoint two steps or more before its end, after {made} steps")
    reference = _Reference(traces, frozen, after[0])
    if reference.steps <= reference.killed_after:
        raise RehearsalFailed(
            f"the command ended after {reference.steps} steps: no step is left to compare after {after[0]}"
        )
    return reference


def _saves_with_steps(trace: Trace) -> Iterator[tuple[Save, int]]:
    """Each save, with the steps that the first optimizer has made by then."""
    made = 0
    for event in trace.events:
        made += isinstance(event, Step) and event.optimizer == 0
        if type(event) is Save:
            yield event, made


def _facts_of(loop: Loop) -> dict[str, Any]:
    """What the recorded loop settles, for trainers whose commands have such facts."""
    known = every_fact()
    usable = {name: value for name, value in loop.facts.items() if name in known}
    return dict(facts(source="the recorded run", **usable))


def _predicted(asked: _Asked, reference: _Reference, known: Mapping[str, Any], logs: Sequence[Path]) -> FileReport:
    """What `check` says of the checkpoint that was saved last before the kill."""
    work = asked.stage.work
    copied(reference.frozen, work)
    try:
        files = audit.scan([work], facts=known, logs=logs, trainer=asked.trainer).files
        saved = [Path(save.path) for save, _ in reversed(reference.saves)]
        chosen = next((file for path in saved for file in files if _holds(file, path)), None)
        if chosen is None:
            raise RehearsalFailed(f"the checkpoint saved last, {saved[0]}, was removed before the kill")
        return audit.check(chosen.checkpoint.path, facts=known, logs=logs, trainer=asked.trainer).files[0]
    finally:
        shutil.rmtree(work)


def _holds(file: FileReport, path: Path) -> bool:
    """Whether a checkpoint is this file, or a folder with it."""
    own = {file.checkpoint.path, *(part.checkpoint.path for part in file.parts)}
    return path in own or bool(file.parts and path.is_relative_to(file.checkpoint.path))


def _resumed(
    asked: _Asked, reference: _Reference, checkpoint: Path, name: str, flags: Sequence[str] = (),
    prepare: Callable[[], object] = lambda: None,
) -> Resumed:  # fmt: skip
    """Resume from a copy of what the kill left, and compare."""
    stage = asked.stage
    copied(reference.frozen, stage.work)
    prepare()
    extra = [word.replace("{checkpoint}", str(checkpoint)) for word in asked.resume]
    done = max(made for save, made in reference.saves if Path(save.path).is_relative_to(checkpoint))
    traces = stage.run(name, [*extra, *flags], stop_at=reference.steps - done)
    shutil.rmtree(stage.work)
    try:
        loaded = frozenset(restore.what for trace in traces for restore in trace.all(Restore))
        return Resumed(tuple(flags), compare(reference.traces, traces), loaded)
    except UsageError as error:
        resume = shlex.join(asked.resume)
        raise RehearsalFailed(f"the command did not resume: {error}; is --resume {resume!r} right?") from error
