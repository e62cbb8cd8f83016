"""`--sync-scheduler`: schedule, rate and momentum of the resume point into the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckpt_doctor.migrators.fix import Fix, Plan, refused
from ckpt_doctor.types import Case, Edit, TensorRef, holds_rate

NAME = "sync-scheduler"


def _plan(case: Case) -> Plan:
    """Bring the scheduler's state and the optimizer's rate and betas in step with the resume point.

    All of it moves together: `last_epoch`, `_step_count` and `_last_lr` of the scheduler, `lr` and `betas` of every
    param group; leaving out one of them diverges. The position is counted in what the schedule is stepped with: steps
    (times the number of processes) or finished epochs; where nothing steps the scheduler, only the optimizer's rate is
    set. Rates are computed from the file's own phases and base rates, equal to PyTorch's to the last bit.

    Where the rate is a tensor the repair is refused: its value is among the bytes, which no repair writes, and a number
    in its place is another kind of rate (CUDA graphs would not see it move)."""
    resume = case.resume
    if case.checkpoint.layout != "training":
        return refused(NAME, "a bare state_dict has no schedule", "add --upgrade")
    if not isinstance(case.at("scheduler"), dict) or case.state.last_epoch is None:
        return refused(NAME, "the file has no scheduler state", "another checkpoint of the run")
    if resume.finished_epochs is None and resume.last_epoch is None:
        reason, settle = _why_nowhere(case)
        return refused(NAME, f"the run's position is not known ({reason})", settle)
    if resume.last_epoch is None or resume.lr is None:
        option = resume.unsettled.get("last_epoch") or resume.unsettled.get("lr")
        if option:
            return refused(NAME, case.why_open.get(option, f"{option.removeprefix('--')} is not known"), option)
        return refused(NAME, "the position lies past the end of the schedule, or its phases are not in the file", "")
    return planned(_edits(case))


def planned(edits: Iterable[Edit]) -> Plan:
    """The plan of these edits; a refusal where one of them would replace a tensor."""
    edits = tuple(edits)
    tensor = next((edit.key for edit in edits if _has_tensor(edit.before)), None)
    if tensor is None:
        return Plan(edits)
    return refused(NAME, f"{tensor} is a tensor, and no repair writes the bytes of one", "torch.load and torch.save")


def joined(plans: Iterable[Plan]) -> Plan:
    """The plans of a file's optimizers as one."""
    plans = list(plans)
    return Plan(
        tuple(edit for plan in plans for edit in plan.edits),
        tuple(dict.fromkeys(refusal for plan in plans for refusal in plan.refusals)),
        tuple(dict.fromkeys(note for plan in plans for note in plan.notes)),
    )


def _why_nowhere(case: Case) -> tuple[str, str]:
    """Why the position of the file in its run is not known, and what would show it."""
    state = case.state
    if state.global_step is None:
        return "no global_step", "another checkpoint of the run"
    if state.optimizer_step not in (None, state.global_step):
        return "global_step and Adam's step disagree", "another checkpoint of the run"
    return "how many steps an epoch has is not known", "--steps-per-epoch"


def _edits(case: Case) -> Iterator[Edit]:
    resume, state, source = case.resume, case.state, case.schedule.evidence
    assert resume.last_epoch is not None and resume.lr is not None, "_plan() refused otherwise"
    if case.changes is not None:
        for slot, path, after in case.changes:
            yield case.edit(slot, *path, after=after, evidence=source)
        return
    if state.last_epoch != resume.last_epoch:
        yield case.edit("scheduler", "last_epoch", after=resume.last_epoch, evidence=source, before=state.last_epoch)
    if state.step_count is not None and state.step_count != resume.last_epoch + 1:
        count = resume.last_epoch + 1
        yield case.edit("scheduler", "_step_count", after=count, evidence="last_epoch + 1", before=state.step_count)
    last_lr = case.at("scheduler", "_last_lr")
    if resume.last_lr and isinstance(last_lr, list) and not _close(last_lr, resume.last_lr):
        yield case.edit("scheduler", "_last_lr", after=list(resume.last_lr), evidence=source)
    for index, rate in enumerate(resume.lr):
        group = ("param_groups", index)
        if not _close([case.at("optimizer", *group, "lr")], [rate]):
            yield case.edit("optimizer", *group, "lr", after=rate, evidence=source)
        if resume.beta1 is None:
            continue
        beta1 = resume.beta1[index]
        betas = case.at("optimizer", *group, "betas")
        if isinstance(betas, (list, tuple)) and betas:
            if not _close([betas[0]], [beta1]):
                yield case.edit("optimizer", *group, "betas", after=type(betas)((beta1, *betas[1:])), evidence=source)
        elif not _close([case.at("optimizer", *group, "momentum")], [beta1]):
            yield case.edit("optimizer", *group, "momentum", after=beta1, evidence=source)


def _has_tensor(value: object) -> bool:
    return any(isinstance(part, TensorRef) for part in (value if isinstance(value, (list, tuple)) else [value]))


def _close(found: object, expected: object) -> bool:
    """Whether rates are equal but for rounding; the file's own digits are kept then."""
    if not isinstance(found, (list, tuple)) or not isinstance(expected, (list, tuple)) or len(found) != len(expected):
        return False
    return all(
        isinstance(f, (int, float, TensorRef)) and holds_rate(f, e) for f, e in zip(found, expected, strict=True)
    )


FIX = Fix(NAME, _plan, cures=("R501", "R502", "R503", "R504"))
