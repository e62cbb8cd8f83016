"""`--sync-scheduler`: schedule, rate and momentum of the resume point into the file."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.migrators.migration import Migration, Plan, refused
from ckpt_doctor.types import Case, Edit, TensorRef, holds_rate

NAME = "sync-scheduler"


def _plan(case: Case) -> Plan:
    """Bring the scheduler's state and the optimizer's rate and betas in step with the resume point.

    All of it moves together: `last_epoch`, `_step_count` and `_last_lr` of the scheduler, `lr` and `betas` of every
    param group; leaving out one of them diverges. In TST the position is `global_step` (times the number of
    processes), in COS the finished epochs; in the other modes the scheduler is idle and only the optimizer's rate is
    set. Rates are computed from the file's own phases and base rates, equal to PyTorch's to the last bit.

    Where the rate is a tensor the repair is refused: its value is among the bytes, which no repair writes, and a number
    in its place is another kind of rate (CUDA graphs would not see it move)."""
    checkpoint, resume = case.checkpoint, case.resume
    if checkpoint.layout != "training":
        return refused(NAME, "a bare state_dict has no schedule", "add --upgrade")
    if not isinstance(checkpoint.get("scheduler"), dict) or case.state.last_epoch is None:
        return refused(NAME, "the file has no scheduler state", "another checkpoint of the run")
    if resume.finished_epochs is None and resume.last_epoch is None:
        reason, settle = _why_nowhere(case)
        return refused(NAME, f"where training stood is not known ({reason})", settle)
    if resume.last_epoch is None or resume.lr is None:
        modes = case.run.facts.lradj_candidates
        if "last_epoch" in resume.unsettled or "lr" in resume.unsettled:
            settle = resume.unsettled.get("last_epoch") or resume.unsettled["lr"]
            reason = (
                f"lradj may be {' or '.join(modes)}" if settle == "--lradj" and modes else f"{settle[2:]} is not known"
            )
            return refused(NAME, reason, settle)
        return refused(NAME, "the position lies past the end of the schedule, or its phases are not in the file", "")
    edits = tuple(_edits(case))
    tensor = next((edit.key for edit in edits if _has_tensor(edit.before)), None)
    if tensor is not None:
        return refused(
            NAME, f"{tensor} is a tensor, and no repair writes the bytes of one", "torch.load and torch.save"
        )
    return Plan(edits)


def _why_nowhere(case: Case) -> tuple[str, str]:
    """Why the file stands at no known place of its run, and what would tell."""
    state = case.state
    if state.global_step is None:
        return "no global_step", "another checkpoint of the run"
    if state.optimizer_step not in (None, state.global_step):
        return "global_step and Adam's step disagree", "another checkpoint of the run"
    return "how many steps an epoch has is not known", "--steps-per-epoch"


def _edits(case: Case) -> Iterator[Edit]:
    checkpoint, resume, state = case.checkpoint, case.resume, case.state
    assert resume.last_epoch is not None and resume.lr is not None, "_plan() refused otherwise"
    source = _source(case)
    if state.last_epoch != resume.last_epoch:
        yield Edit(("scheduler", "last_epoch"), state.last_epoch, resume.last_epoch, source)
    if state.step_count is not None and state.step_count != resume.last_epoch + 1:
        yield Edit(("scheduler", "_step_count"), state.step_count, resume.last_epoch + 1, "last_epoch + 1")
    last_lr = checkpoint.get("scheduler", "_last_lr")
    if resume.last_lr and isinstance(last_lr, list) and not _close(last_lr, resume.last_lr):
        yield Edit(("scheduler", "_last_lr"), last_lr, list(resume.last_lr), source)
    for index, rate in enumerate(resume.lr):
        group = ("optimizer", "param_groups", index)
        before = checkpoint.get(*group, "lr")
        if not _close([before], [rate]):
            yield Edit((*group, "lr"), before, rate, source)
        if resume.beta1 is None:
            continue
        beta1 = resume.beta1[index]
        betas = checkpoint.get(*group, "betas")
        if isinstance(betas, (list, tuple)) and betas:
            if not _close([betas[0]], [beta1]):
                yield Edit((*group, "betas"), betas, type(betas)((beta1, *betas[1:])), source)
        elif not _close([checkpoint.get(*group, "momentum")], [beta1]):
            yield Edit((*group, "momentum"), checkpoint.get(*group, "momentum"), beta1, source)


def _source(case: Case) -> str:
    mode = case.run.facts.lradj
    resume = case.resume
    if mode is not None and mode.value == "TST":
        world = case.run.facts.world_size
        times = f" x {world.value} processes" if world and world.value > 1 else ""
        step = (resume.last_epoch or 0) // (world.value if world else 1)
        return f"TST: OneCycleLR at global_step {step:,}{times}"
    if mode is not None and mode.value == "COS":
        return f"COS: CosineAnnealingLR after {resume.finished_epochs} finished epochs"
    name = mode.value if mode else " or ".join(case.run.facts.lradj_candidates)
    return f"{name}: rate after {resume.finished_epochs} finished epochs"


def _has_tensor(value: object) -> bool:
    return any(isinstance(part, TensorRef) for part in (value if isinstance(value, (list, tuple)) else [value]))


def _close(found: object, expected: object) -> bool:
    """Whether rates are equal but for rounding; the file's own digits are kept then."""
    if not isinstance(found, (list, tuple)) or not isinstance(expected, (list, tuple)) or len(found) != len(expected):
        return False
    return all(
        isinstance(f, (int, float, TensorRef)) and holds_rate(f, e) for f, e in zip(found, expected, strict=True)
    )


MIGRATION = Migration(NAME, _plan, cures=("R501", "R502", "R503", "R504"))
