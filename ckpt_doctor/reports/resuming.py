"""What a trainer does on a resume, in clauses that hold for every trainer; its own are in the run's `Terms`."""

from __future__ import annotations

from ckpt_doctor.reports import text
from ckpt_doctor.types import FileReport, ResumePlan, RunReport


def clauses(file: FileReport, run: RunReport) -> list[str]:
    """What the trainer will do; what the facts do not settle is said to be open."""
    plan = file.plan
    if plan is None or (file.member.state.epoch is None and not file.checkpoint.parts):
        return []
    facts = run.run.facts
    told = [
        run.terms.start(plan, facts),
        learning_rate(file, plan),
        run.terms.memory(file, plan, facts),
        f"has {text.integer(plan.steps_left)} steps left" if plan.steps_left is not None else "",
        exactness(file, plan, run.terms.within_epoch),
    ]
    return [clause for clause in told if clause]


def learning_rate(file: FileReport, plan: ResumePlan) -> str:
    """The first rate, and where in the schedule that is."""
    if plan.next_lr is None and any(finding.code == "O702" for finding in file.findings):
        return "takes the first learning rate of a new optimizer"
    if plan.next_lr is None:
        return "takes a first learning rate that the facts do not settle"
    if plan.next_lr_uninterrupted is None:
        beside = "; what the uninterrupted run has is open"
    elif plan.next_lr == plan.next_lr_uninterrupted:
        beside = ", as the uninterrupted run does"
    elif text.rate(plan.next_lr) == text.rate(plan.next_lr_uninterrupted):
        beside = f" ({plan.next_lr!r}), where the uninterrupted run has {plan.next_lr_uninterrupted!r}"
    else:
        beside = f", where the uninterrupted run has {text.rate(plan.next_lr_uninterrupted)}"
    state = file.member.state
    position = ""
    if state.last_epoch is not None and (state.last_epoch or file.resume_point.last_epoch):
        of = f" of {text.integer(state.total_steps)}" if state.total_steps is not None else ""
        position = f" (position {text.integer(state.last_epoch)}{of} in the schedule)"
    return f"uses learning rate {text.rate(plan.next_lr)}{beside}{position}"


def exactness(file: FileReport, plan: ResumePlan, within_epoch: str = "") -> str:
    """Whether the losses will be those of the uninterrupted run to the last bit."""
    if plan.why_not_exact:
        return f"does not continue bit for bit: {'; '.join(map(text.clean, plan.why_not_exact))}"
    if file.resume == "identical":
        inside = f" ({within_epoch})" if within_epoch and plan.skip_batches else ""
        return f"can continue bit for bit: nothing in the file speaks against it{inside}"
    if file.resume == "open":
        return "may continue bit for bit or not: that depends on what is open"
    return "does not continue bit for bit as it is: the findings below say why"


def landing(file: FileReport, plan: ResumePlan, run: RunReport) -> tuple[tuple[str, str, str], ...]:
    """What a resume begins with, from the file as it is and from the repaired one: `(name, now, repaired)`."""
    resume = file.resume_point
    rate = resume.lr[0] if resume.lr else None
    return (
        (
            "starts at step" if plan.begins_at_step else "starts in epoch",
            text.integer(plan.begins),
            text.integer(resume.begins),
        ),
        ("skips batches", text.integer(plan.skip_batches), text.integer(resume.skip_batches)),
        ("first learning rate", text.rate(plan.next_lr), text.rate(rate)),
        *run.terms.landing(file, plan),
    )
