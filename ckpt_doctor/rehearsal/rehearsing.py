"""Run, kill, resume, compare: what a resume from a checkpoint really does, on this machine, with the user's own script.

Everything happens in a scratch folder that mirrors the working folder (`scratch.mirror`). It has the same path in each
run, so that what a checkpoint says about paths holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ckpt_doctor import audit
from ckpt_doctor.errors import CkptDoctorError, UsageError
from ckpt_doctor.rehearsal.divergence import Comparison, compare, from_the_start
from ckpt_doctor.rehearsal.launching import environment, found
from ckpt_doctor.rehearsal.loop import Loop, describe
from ckpt_doctor.rehearsal.scratch import copied, mirror
from ckpt_doctor.rehearsal.traces import Event, Save, Step, Trace, read_traces
from ckpt_doctor.repair import migrate
from ckpt_doctor.trainers.facts import every_fact, facts
from ckpt_doctor.types import FileReport, Given, MigrationResult
from ckpt_doctor.writer.signals import orderly_exit

AFTER = 20
"""Steps that are compared after the kill, unless `steps` says otherwise."""
PATIENCE = 5.0
"""Seconds that a command has to end by itself."""
Outcome = Literal["identical", "restored", "differs"]
"""`restored`: what a checkpoint can restore is equal; batches, random state or loss are not."""


class RehearsalFailed(CkptDoctorError):
    """The rehearsal came to no result; the message says in which run, why, and what to do."""


@dataclass(frozen=True)
class Resumed:
    """One resume, beside the uninterrupted run."""

    flags: tuple[str, ...]
    """What the resume command carried beside its own arguments."""
    comparison: Comparison

    @property
    def outcome(self) -> Outcome:
        """What the resume did."""
        if self.comparison.identical:
            return "identical"
        at_once = [one for one in self.comparison.restored if one.quantity in ("rate", "beta") or self._is_first(one)]
        return "differs" if at_once else "restored"

    def _is_first(self, one: Any) -> bool:
        return bool(one.step == self.comparison.resumed_at.get(one.optimizer, 0) + 1)


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
        """Whether the prediction holds; None where there was none."""
        if self.predicted.resume in ("not judged", "open"):
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
        trainer, given: trainer and facts as for `check`.
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
    root = Path(tempfile.mkdtemp(prefix="ckpt-doctor-rehearsal-"))
    stage = _Stage(root, (folder or Path.cwd()).absolute(), tuple(command), timeout, traces or root / "traces", say)
    try:
        with orderly_exit():
            return _rehearsed(stage, shlex.split(resume), steps, kill_after, kill, trainer, given or {})
    finally:
        shutil.rmtree(root, ignore_errors=True)


def assert_resumes(command: Sequence[str] | str, *, resume: str, strict: bool = False, **options: Any) -> Rehearsal:
    """Assert in a test that a training command resumes correctly; see `rehearse` for the other arguments.

    Args:
        command: the training command, as a list or as one line.
        resume: the arguments that make it resume: `--resume {checkpoint}`.
        strict: ask for equal batches, random state and losses as well.

    Raises:
        AssertionError: the resume leaves the uninterrupted run's path; the message is the report.
        RehearsalFailed: the rehearsal came to no result.

    Example:
        >>> assert_resumes("python train.py --save_steps 10", resume="--resume {checkpoint}", kill_after=23)
    """
    from ckpt_doctor.rehearsal.text import rehearsal_text

    result = rehearse(shlex.split(command) if isinstance(command, str) else command, resume, **options)
    if not result.holds(strict=strict):
        raise AssertionError(rehearsal_text(result, strict=strict))
    return result


# --- the stages -------------------------------------------------------------------------------------------------------


def _rehearsed(
    stage: _Stage,
    resume: Sequence[str],
    steps: int | None,
    kill_after: int | None,
    kill: bool,
    trainer: str,
    given: Given,
) -> Rehearsal:
    reference, frozen, killed_after = _interrupted(stage, steps, kill_after, kill)
    saves = [event for event, made in _with_steps(reference) if type(event) is Save and made < killed_after]
    if not saves:
        advice = "; kill it later" if reference.all(Save) else ", or it saves without torch.save and safetensors"
        raise RehearsalFailed(f"the command saved no checkpoint in its first {killed_after} steps{advice}")
    loop = describe(reference)
    stage.say("judging what was saved")
    copied(frozen, stage.work)
    known = {**_facts_of(loop), **given}
    predicted = _judged(stage.work, saves, known, stage.output("reference"), trainer)
    checkpoint = predicted.checkpoint.path
    shutil.rmtree(stage.work)

    def resumed(name: str, flags: Sequence[str], prepare: Callable[[], object] = lambda: None) -> Resumed:
        copied(frozen, stage.work)
        prepare()
        extra = [word.replace("{checkpoint}", str(checkpoint)) for word in resume]
        done = _steps_behind(reference, saves, checkpoint)
        total = len(reference.steps.get(0, ()))
        traces = stage.run(name, [*extra, *flags], stop_at=max(1, total - done))
        shutil.rmtree(stage.work)
        try:
            return Resumed(tuple(flags), compare(reference, traces[0]))
        except UsageError as error:
            raise RehearsalFailed(
                f"the resume is no resume: {error}; is --resume {shlex.join(resume)!r} right?"
            ) from error

    stage.say(f"resuming from {checkpoint.relative_to(stage.work)} as it is")
    as_saved = resumed("as-saved", ())
    results: list[MigrationResult] = []

    def repair() -> None:
        results.extend(migrate([checkpoint], facts=known, logs=stage.logs("reference"), trainer=trainer))

    flags = predicted.plan.flags if predicted.plan is not None else ()
    repaired = None
    if predicted.verdict == "repairable" or flags:
        stage.say("resuming from it after migrate --all")
        repaired = resumed("repaired", flags, repair)
    if not all(one is None or one.comparison.identical for one in (as_saved, repaired)):
        stage.say("running the command once more, to see what it repeats")
        mirror(stage.folder, stage.work)
        again = stage.run("again", (), stop_at=len(reference.steps.get(0, ())))[0]
        varies = {one.quantity for one in from_the_start(reference, again).differences}
        as_saved = _repeatable(as_saved, varies)
        repaired = repaired and _repeatable(repaired, varies)
    return Rehearsal(
        stage.command,
        str(checkpoint.relative_to(stage.work)),
        killed_after,
        len(reference.steps.get(0, ())),
        predicted,
        as_saved,
        repaired,
        tuple(results),
        loop,
        stage.traces if not stage.traces.is_relative_to(stage.root) else None,
    )


def _repeatable(resumed: Resumed, varies: set[str]) -> Resumed:
    return Resumed(resumed.flags, resumed.comparison.only(resumed.comparison.repeats - varies))


def _interrupted(stage: _Stage, steps: int | None, kill_after: int | None, kill: bool) -> tuple[Trace, Path, int]:
    """The uninterrupted run, the folder as a kill left it, and after how many steps that was."""
    frozen = stage.root / "frozen"
    after = AFTER if steps is None else None
    mirror(stage.folder, stage.work)
    if kill:
        stage.say(f"running the command, to be killed after step {kill_after}")
        stage.run("killed", (), freeze_at=kill_after, kill=True)
        stage.work.rename(frozen)
        mirror(stage.folder, stage.work)
        stage.say("running it without a kill")
        total = steps if steps is not None else (kill_after or 0) + AFTER
        reference = stage.run("reference", (), stop_at=total)[0]
    else:
        stage.say("running the command")
        moments: dict[str, Any] = {"freeze_at": kill_after or "auto", "stop_at": steps, "stop_after": after}
        reference = stage.run("reference", (), frozen=lambda: copied(stage.work, frozen), **moments)[0]
    shutil.rmtree(stage.work)
    made = len(reference.steps.get(0, ()))
    killed_after = kill_after if kill_after is not None else stage.froze_at
    if killed_after is None:
        raise RehearsalFailed(f"the command saved nothing that it went on from: it ended after {made} steps")
    if made <= killed_after:
        raise RehearsalFailed(f"the command ended after {made} steps: no step is left to compare after {killed_after}")
    return reference, frozen, killed_after


def _with_steps(trace: Trace) -> Iterator[tuple[Event, int]]:
    """Each event with the steps that the first optimizer has made by then, the event's own included."""
    made = 0
    for event in trace.events:
        made += isinstance(event, Step) and event.optimizer == 0
        yield event, made


def _facts_of(loop: Loop) -> dict[str, Any]:
    """What the recorded loop settles, for trainers whose commands have such facts."""
    words = dict(zip(loop.options[::2], loop.options[1::2], strict=False))
    named = {option.removeprefix("--").replace("-", "_"): value for option, value in words.items()}
    table = every_fact()
    usable = {n: int(v) if v.isdigit() else v for n, v in named.items() if n in table}
    return dict(facts(source="the recorded run", **usable))


def _judged(work: Path, saves: Sequence[Save], given: Mapping[str, Any], log: Path, trainer: str) -> FileReport:
    """The checkpoint that was saved last, judged."""
    report = audit.scan([work], facts=dict(given), logs=[log] if log.stat().st_size else (), trainer=trainer)
    for save in reversed(saves):
        path = Path(save.path)
        for file in report.files:
            own = {file.checkpoint.path, *(part.checkpoint.path for part in file.parts)}
            if path in own or (file.parts and path.is_relative_to(file.checkpoint.path)):
                return audit.check(
                    file.checkpoint.path, facts=dict(given), logs=[log] if log.stat().st_size else (), trainer=trainer
                ).files[0]
    raise RehearsalFailed(f"the last saved checkpoint, {saves[-1].path}, is gone at the kill")


def _steps_behind(reference: Trace, saves: Sequence[Save], checkpoint: Path) -> int:
    """Steps of the first optimizer before the last save of a checkpoint."""
    return max(
        made for event, made in _with_steps(reference)
        if event in saves and isinstance(event, Save) and Path(event.path).is_relative_to(checkpoint)
    )  # fmt: skip


class _Stage:
    """The scratch folder, and the runs of the command in it."""

    def __init__(
        self, root: Path, folder: Path, command: tuple[str, ...], timeout: float, traces: Path,
        say: Callable[[str], object],
    ) -> None:  # fmt: skip
        self.root, self.folder, self.command, self.timeout, self.traces = root, folder, command, timeout, traces
        self.say = say
        self.work = root / "work"
        self.froze_at: int | None = None

    def output(self, name: str) -> Path:
        """What a run printed."""
        return self.root / f"{name}.log"

    def logs(self, name: str) -> list[Path]:
        """The same as evidence, where there is any."""
        return [self.output(name)] if self.output(name).stat().st_size else []

    def run(
        self, name: str, extra: Sequence[str], *, kill: bool = False, frozen: Callable[[], object] | None = None,
        **settings: Any,
    ) -> list[Trace]:  # fmt: skip
        """One recorded run in the scratch folder; `frozen` is called while every rank waits."""
        control = self.root / f"control-{name}"
        control.mkdir()
        told = {
            "folder": str(self.traces / name),
            "control": str(control),
            "inside": str(self.root),
            "spare": str(self.folder),
            "kill": kill,
            **settings,
        }
        command = [word.replace("{workdir}", str(self.work)) for word in (*self.command, *extra)]
        with self.output(name).open("wb") as output:
            process = subprocess.Popen(  # noqa: S603
                command,
                cwd=self.work,
                env=environment(told) | {"PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                self._watch(name, process, control, frozen)
            finally:
                _end(process, control)
        self._must_be_inside(control)
        code = process.returncode
        if code != 0 and not kill:
            raise RehearsalFailed(f"the {name} run failed with exit code {code}: {self._last_words(name)}")
        try:
            return read_traces(self.traces / name)
        except UsageError:
            raise RehearsalFailed(
                "no optimizer of torch made a step in the command, or its Python starts without site packages "
                "(python -I, -E, a replaced PYTHONPATH)"
            ) from None

    def _watch(
        self, name: str, process: subprocess.Popen[bytes], control: Path, frozen: Callable[[], object] | None
    ) -> None:
        """Until the process ends: take the copy when all ranks are frozen, and keep the time."""
        latest = time.monotonic() + self.timeout
        while process.poll() is None:
            if time.monotonic() > latest:
                raise RehearsalFailed(f"the {name} run was not done in {self.timeout:.0f} s; give --timeout SECONDS")
            self._must_be_inside(control)
            waiting = [json.loads(path.read_text()) for path in control.glob("frozen-*") if path.suffix == ""]
            if waiting and frozen is not None and len(waiting) == waiting[0][0] and not (control / "go").exists():
                self.froze_at = waiting[0][1]
                frozen()
                (control / "go").touch()
            time.sleep(0.02)

    def _must_be_inside(self, control: Path) -> None:
        """A UsageError where a process was about to write elsewhere: it ended itself before."""
        if (control / "outside").exists():
            what, path = json.loads((control / "outside").read_text())
            verb = "save a checkpoint to" if what == "save" else "write to"
            raise RehearsalFailed(
                f"the command was about to {verb} {path}, outside the rehearsal's folder, and was stopped; nothing was "
                "written. Have its outputs go to a relative path, or put {workdir} into the command where they go"
            )

    def _last_words(self, name: str) -> str:
        lines = self.output(name).read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) if lines else "it printed nothing"


def _end(process: subprocess.Popen[bytes], control: Path) -> None:
    """End what a command left running: its group, and every Python process that has announced itself."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for announced in control.glob("pid-*"):
        number = int(announced.name.removeprefix("pid-"))
        if _is_of(number, control):
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGKILL)


def _is_of(number: int, control: Path) -> bool:
    """Whether a process is the one that announced itself: numbers are given anew."""
    try:
        return os.fsencode(str(control)) in Path(f"/proc/{number}/environ").read_bytes()
    except FileNotFoundError:
        return not Path("/proc").exists()
    except OSError:
        return False
