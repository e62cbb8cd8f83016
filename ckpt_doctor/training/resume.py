"""The pre-resume check inside a training script. The only module that looks at live torch objects.

It never imports torch: objects that are handed in bring it with them, and a running process group is found in
`sys.modules`.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckpt_doctor import advice, audit, reports
from ckpt_doctor.errors import CkptDoctorError, ResumeError, UsageError
from ckpt_doctor.remote import as_path
from ckpt_doctor.trainers.facts import facts
from ckpt_doctor.types import (
    RANKS,
    Checkpoint,
    FileReport,
    Finding,
    Report,
    Resume,
    ResumePlan,
    Severity,
    Verdict,
    reaches,
)
from ckpt_doctor.validators.live import RULES, LiveCase

FIRST_START = "First start: there is nothing to resume from."


@dataclass(frozen=True)
class ResumeCheck:
    """The answer: what the trainer will do with the file, and what is wrong with that."""

    report: Report | None
    """None for a first start: there is nothing to resume from."""

    @property
    def first_start(self) -> bool:
        """True when the path was empty."""
        return self.report is None

    @property
    def file(self) -> FileReport | None:
        """The judged file."""
        return self.report.files[0] if self.report else None

    @property
    def plan(self) -> ResumePlan | None:
        """What the trainer will do; None for a first start or a file that it cannot resume from."""
        return self.file.plan if self.file else None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings about the file and its run."""
        return tuple(self.report.findings) if self.report else ()

    @property
    def verdict(self) -> Verdict:
        """`ok`, `repairable` or `broken`; a first start is `ok`."""
        return self.file.verdict if self.file else "ok"

    @property
    def resume(self) -> Resume:
        """`identical`, `differs`, `open`, `not judged` or `impossible`; a first start is `identical`."""
        return self.file.resume if self.file else "identical"

    def raise_for_errors(self, at: Severity = "error") -> ResumeCheck:
        """Raise ResumeError, whose message is the plan and the findings, for a finding at or above `at`.

        `at="warning"` also stops a resume that would differ from the uninterrupted run. Returns the check itself.
        """
        if at not in RANKS:
            raise UsageError(f"at={at!r}: it must be one of {', '.join(RANKS)}")
        if reaches(self.findings, at):
            raise ResumeError("\n" + str(self), self.plan)
        return self

    def __repr__(self) -> str:
        return f"ResumeCheck({self.file!r})" if self.file else "ResumeCheck(first start)"

    def __str__(self) -> str:
        return reports.judged(self.report, plan=True) if self.report else f"{FIRST_START}\n"

    def _repr_html_(self) -> str:
        return self.report._repr_html_() or "" if self.report else f"<p>{FIRST_START}</p>"


def check_resume(
    path: Path | str | None,
    *,
    log: Path | str | None = None,
    trainer: str = "",
    trust: Sequence[str] = (),
    model: Any = None,
    optimizer: Any = None,
    scheduler: Any = None,
    **command: object,
) -> ResumeCheck:
    """Judge the checkpoint that a script is about to resume from, reading metadata only and executing nothing of it.

    With several processes all must call it: the first one reads the file, and the other ranks receive its result or
    its exception.

    Args:
        path: a file, a unit or a folder; empty or None is a first start, and fine.
        log: the run's log, instead of the one that is found.
        trainer: as for `scan`.
        trust: packages that loading the file may call into (S204).
        model, optimizer, scheduler: the script's own objects, compared with the file key by key and shape by shape, as
            their `load_state_dict` will.
        **command: facts of the training command, by the names of `ckpt_doctor.facts`: `steps_per_epoch`, `world_size`.

    Returns:
        The result; `raise_for_errors()` on it stops a script that must not go on.

    Raises:
        UsageError: the path does not exist; a fact that no training command has.

    Example:
        >>> check_resume("checkpoints/run/checkpoint", steps_per_epoch=45, model=model).raise_for_errors()
    """
    stated = facts(source="the script", **command)
    if path is None or not str(path):
        return ResumeCheck(None)
    logs = [as_path(log)] if log else []

    # By every process, for the state_dict of a sharded model is put together by all of them.
    shapes = None if model is None else _shapes(model)

    def decide() -> ResumeCheck:
        report = advice.check(path, facts=stated, logs=logs, trainer=trainer, trust=trust)
        case = _described(report.files[0].checkpoint, shapes, optimizer, scheduler)
        faults = [found for rule in RULES for found in rule(case) if isinstance(found, Finding)]
        return ResumeCheck(_with_findings(report, faults) if faults else report)

    return _once(decide)


def _once(decide: Callable[[], ResumeCheck]) -> ResumeCheck:
    """Run on the first process; the others wait for what it found. Whatever it raises, all raise, and nobody waits."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return decide()
    if distributed.get_rank() != 0:
        answer: list[Any] = [None]
        distributed.broadcast_object_list(answer, src=0)
        answer = pickle.loads(answer[0])
        if isinstance(answer[0], Exception):
            raise answer[0]
        result: ResumeCheck = answer[0]
        return result
    message = pickle.dumps([CkptDoctorError("the first process could not check the checkpoint; its output says why")])
    try:
        result = decide()
        message = pickle.dumps([result])
    except UsageError as error:
        message = pickle.dumps([error])
        raise
    finally:
        distributed.broadcast_object_list([message], src=0)
    return result


def _with_findings(report: Report, faults: Sequence[Finding]) -> Report:
    run = report.runs[0]
    file = run.files[0]
    findings = (*file.findings, *faults)
    verdict, outlook = audit.verdict_of(findings), audit.resume_of(faults, file.resume)
    judged = replace(file, findings=findings, verdict=verdict, resume=outlook)
    return replace(report, runs=(replace(run, files=(judged,), advice=None),))  # which was of the file alone


# --- live objects ----------------------------------------------------------------------------------------------------


Shapes = dict[str, "tuple[int, ...] | None"]


def _described(checkpoint: Checkpoint, model: Shapes | None, optimizer: Any, scheduler: Any) -> LiveCase:
    """The objects as names and shapes; no tensor is read, and nothing is asked of them but their state_dict."""
    return LiveCase(
        checkpoint,
        model,
        None if optimizer is None else [[tuple(p.shape) for p in g["params"]] for g in optimizer.param_groups],
        # Accelerate's wrapper holds the scheduler under this name.
        None if scheduler is None else type(getattr(scheduler, "scheduler", scheduler)).__name__,
    )


def _shapes(model: Any) -> Shapes:
    """Of a wrapped model (DistributedDataParallel, `torch.compile`), those inside: the trainer unwraps it to load."""
    while (inner := getattr(model, "_orig_mod", None) or _wrapped(model)) is not None:
        model = inner
    return {key: tuple(v.shape) if hasattr(v, "shape") else None for key, v in model.state_dict().items()}


def _wrapped(model: Any) -> Any:
    """The model inside DataParallel or DistributedDataParallel (torch/nn/parallel), whose keys begin with `module.`."""
    return model.module if type(model).__name__ in ("DataParallel", "DistributedDataParallel") else None
