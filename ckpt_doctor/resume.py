"""The pre-resume check inside a training script. The only module that looks at live torch objects.

It never imports torch: objects that are handed in bring it with them, and a running process group is found in
`sys.modules`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckpt_doctor import audit
from ckpt_doctor.errors import ResumeError, UsageError
from ckpt_doctor.types import (
    Checkpoint,
    Evidence,
    Facts,
    FileReport,
    Finding,
    Report,
    ResumePlan,
    Severity,
    TensorRef,
    Verdict,
)

RANKS: dict[Severity, int] = {"info": 0, "warning": 1, "error": 2}


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

    def raise_for_errors(self, at: Severity = "error") -> ResumeCheck:
        """Raise ResumeError, whose message is the plan and the findings, for a finding at or above `at`.

        `at="warning"` also stops a resume that would differ from the uninterrupted run. Returns the check itself.
        """
        if any(RANKS[finding.severity] >= RANKS[at] for finding in self.findings):
            raise ResumeError("\n" + str(self), self.plan)
        return self

    def __str__(self) -> str:
        from ckpt_doctor.reports.plan import plan

        return plan(self.report) if self.report else "First start: there is nothing to resume from.\n"

    def _repr_html_(self) -> str:
        from ckpt_doctor.reports.notebook import plan_fragment

        return plan_fragment(self.report) if self.report else "<p>First start: there is nothing to resume from.</p>"


def check_resume(
    path: Path | str | None,
    *,
    steps_per_epoch: int | None = None,
    train_epochs: int | None = None,
    lradj: str | None = None,
    learning_rate: float | None = None,
    pct_start: float | None = None,
    patience: int | None = None,
    world_size: int | None = None,
    log: Path | str | None = None,
    model: Any = None,
    optimizer: Any = None,
    scheduler: Any = None,
) -> ResumeCheck:
    """Judge the checkpoint that the script is about to resume from. Reads metadata only and executes nothing of it.

    An empty path or None is a first start and fine. `model`, `optimizer` and `scheduler` are compared with the file key
    by key and shape by shape, as their `load_state_dict` will. With several processes the first one reads the file and
    the others get its answer. Raises UsageError when the path does not exist; call `raise_for_errors()` on the result.
    """
    if path is None or not str(path):
        return ResumeCheck(None)
    given = {
        "steps_per_epoch": steps_per_epoch,
        "train_epochs": train_epochs,
        "lradj": lradj,
        "learning_rate": learning_rate,
        "pct_start": pct_start,
        "patience": patience,
        "world_size": world_size,
    }
    stated: dict[str, Any] = {
        name: Evidence(value, f"{name} of the script", given=True) for name, value in given.items() if value is not None
    }
    logs = [Path(log)] if log else []

    def decide() -> ResumeCheck:
        report = audit.check(path, facts=Facts(**stated), logs=logs)
        live = list(_live_findings(report.files[0].checkpoint, model, optimizer, scheduler))
        return ResumeCheck(_with_findings(report, live) if live else report)

    return _once(decide)


def _once(decide: Any) -> ResumeCheck:
    """Run on the first process; the others wait for what it found, an error included."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return decide()  # type: ignore[no-any-return]
    answer: list[Any] = [None, None]
    if distributed.get_rank() == 0:
        try:
            answer[0] = decide()
        except UsageError as error:
            answer[1] = error
    distributed.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise answer[1]
    result: ResumeCheck = answer[0]
    return result


def _with_findings(report: Report, live: Sequence[Finding]) -> Report:
    run = report.runs[0]
    file = run.files[0]
    findings = (*file.findings, *live)
    judged = replace(file, findings=findings, verdict=audit.verdict_of(findings))
    return replace(report, runs=(replace(run, files=(judged,)),))


# --- live objects ----------------------------------------------------------------------------------------------------


def _live_findings(checkpoint: Checkpoint, model: Any, optimizer: Any, scheduler: Any) -> list[Finding]:
    """What `load_state_dict` of the live objects will refuse."""
    if checkpoint.layout == "training":
        weights = checkpoint.get("model")
    else:
        weights = checkpoint.root if checkpoint.layout == "state-dict" else None
    findings: list[Finding] = []
    if model is not None and isinstance(weights, Mapping):
        findings += _model_findings(weights, model.state_dict())
    if optimizer is not None and isinstance(checkpoint.get("optimizer"), Mapping):
        findings += _optimizer_findings(checkpoint, optimizer)
    if scheduler is not None and isinstance(checkpoint.get("scheduler"), Mapping):
        findings += _scheduler_findings(checkpoint, scheduler)
    return findings


def _finding(code: str, name: str, message: str, where: str, found: object, expected: object) -> Finding:
    return Finding(code, name, "error", message, where, found, expected)


def _model_findings(saved: Mapping[Any, Any], live: Mapping[str, Any]) -> list[Finding]:
    """torch/nn/modules/module.py, `load_state_dict(strict=True)`: every key must match, and every shape."""
    missing = [key for key in live if key not in saved]
    unexpected = [str(key) for key in saved if key not in live]
    shapes = [
        (key, list(value.shape), list(live[key].shape))
        for key, value in saved.items()
        if key in live and isinstance(value, TensorRef) and tuple(value.shape) != tuple(live[key].shape)
    ]
    findings = []
    if missing or unexpected:
        parts = [f"{len(missing)} keys of the model are missing ({_some(missing)})"] if missing else []
        parts += [f"{len(unexpected)} keys are unexpected ({_some(unexpected)})"] if unexpected else []
        message = f"load_state_dict will refuse the model: {', '.join(parts)}"
        findings.append(_finding("L307", "model-keys-mismatch", message, "model", unexpected[:20], missing[:20]))
    if shapes:
        key, found, expected = shapes[0]
        more = f" and {len(shapes) - 1} more" if len(shapes) > 1 else ""
        message = f"load_state_dict will refuse the model: {key} is {found} in the file, {expected} in the model{more}"
        findings.append(_finding("L308", "model-shape-mismatch", message, f"model.{key}", found, expected))
    return findings


def _optimizer_findings(checkpoint: Checkpoint, optimizer: Any) -> list[Finding]:
    """torch/optim/optimizer.py, `load_state_dict`: as many groups and parameters; then Adam needs shapes."""
    saved = checkpoint.get("optimizer", "param_groups")
    live = optimizer.param_groups
    if not isinstance(saved, (list, tuple)):
        return []
    sizes = [len(group["params"]) if isinstance(group, dict) and "params" in group else 0 for group in saved]
    expected = [len(group["params"]) for group in live]
    if sizes != expected:
        message = (
            f"load_state_dict will refuse the optimizer: parameters per group are {sizes}, the script has {expected}"
        )
        return [_finding("O704", "optimizer-groups-mismatch", message, "optimizer.param_groups", sizes, expected)]
    indices = [index for group in saved for index in group["params"]]
    for index, parameter in zip(indices, (p for group in live for p in group["params"]), strict=True):
        moment = checkpoint.get("optimizer", "state", index, "exp_avg")
        if isinstance(moment, TensorRef) and tuple(moment.shape) != tuple(parameter.shape):
            found, wanted = list(moment.shape), list(parameter.shape)
            message = f"parameter {index} of the optimizer has moments of shape {found}, the script's is {wanted}"
            return [_finding("O704", "optimizer-groups-mismatch", message, f"optimizer.state.{index}", found, wanted)]
    return []


def _scheduler_findings(checkpoint: Checkpoint, scheduler: Any) -> list[Finding]:
    """A scheduler takes any dict as its state (torch/optim/lr_scheduler.py), and breaks at the first step."""
    scheduler = getattr(scheduler, "scheduler", scheduler)  # Accelerate's wrapper
    state = checkpoint.get("scheduler")
    own = type(scheduler).__name__
    keys = {"OneCycleLR": "total_steps", "CosineAnnealingLR": "T_max"}
    if own in keys and isinstance(state, Mapping) and keys[own] not in state:
        message = f"the script's scheduler is {own}, the file holds another one's state (no {keys[own]})"
        return [_finding("R507", "scheduler-class-mismatch", message, "scheduler", sorted(map(str, state))[:20], own)]
    return []


def _some(keys: Sequence[object]) -> str:
    return ", ".join(map(str, keys[:3])) + (" …" if len(keys) > 3 else "")
