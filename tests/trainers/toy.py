"""A trainer that no one has: folders `snap-N`, other files, other keys. All that the stages know of it is here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from ckpt_doctor.migrators import fix_epoch, sync_scheduler
from ckpt_doctor.trainers import ByHand, Judging, Trainer
from ckpt_doctor.trainers.schedules import moved_to
from ckpt_doctor.trainers.state import training_state
from ckpt_doctor.types import (
    Case,
    Checkpoint,
    Count,
    Evidence,
    Fact,
    Facts,
    Given,
    Member,
    Rates,
    ReadScalars,
    ResumePlan,
    ResumePoint,
    Run,
    Schedule,
)
from ckpt_doctor.types.record import record
from ckpt_doctor.validators.rule import Problem, rule

PARTS = ("state.json", "opt.pt", "sched.pt", "weights.safetensors")
PLACES = {"step": ("state.json", "done"), "epoch": ("state.json", "round"), "best": ("state.json", "top")}
PLACES |= {"model": ("weights.safetensors",), "optimizer": ("opt.pt",), "scheduler": ("sched.pt",)}
ROUND = Fact("steps_per_round", Count(), "Batches that the toy trains in a round.", lambda n: f"{n} steps per round")


@record(frozen=True)
class ToyFacts(Facts):
    """One fact of its own, which is what others call the steps of an epoch."""

    table: ClassVar[tuple[Fact, ...]] = (ROUND,)
    steps_per_round: Evidence[int] | None = None


def snaps(run: Path) -> list[tuple[Path, int]]:
    return [(path, int(path.name[5:])) for path in run.glob("snap-*") if path.name[5:].isdigit()]


def member_of(checkpoint: Checkpoint, read_scalars: ReadScalars) -> Member:
    name, state = checkpoint.path.name, training_state(checkpoint, PLACES, read_scalars)
    number = int(name[5:]) if name[5:].isdigit() else None
    return Member(checkpoint, state, "step", number, f"snap-{state.global_step}", PLACES)


def understand(run: Run, given: Given, logs: Sequence[Path]) -> Run:
    length = given.get("steps_per_round")
    return replace(run, facts=ToyFacts(steps_per_epoch=length, steps_per_round=length))


def case(member: Member, run: Run, by_hand: ByHand) -> Case:
    """The toy goes on in the round that the file names, and skips what was done of it."""
    done, length, state = member.state.optimizer_step, run.facts.steps_per_epoch, member.state
    if done is None or state.global_step is None:
        return Case(member.checkpoint, member, run, ResumePoint())
    here = divmod(done, length.value) if length else (None, None)
    at = moved_to(member.at("scheduler"), member.at("optimizer", "param_groups"), done)  # type: ignore[arg-type]
    lr = tuple(at.rates) if at else None
    point = ResumePoint(
        start_epoch=here[0],
        skip_batches=here[1],
        global_step=done,
        last_epoch=done,
        lr=lr,
        last_lr=lr,
        finished_epochs=here[0],
        epoch=here[0],
    )
    skips = state.global_step % length.value if length else None
    plan = ResumePlan(state.epoch, skips, state.global_step, state.lr, lr and lr[0], None, None, None)
    schedule = Schedule(moves=True, evidence=f"{done} steps of Adam")
    return Case(member.checkpoint, member, run, point, plan, schedule, Rates(lr, None, lr) if lr else None)


@rule("P499", "toy-without-top", "info")
def no_top(case: Case) -> Iterator[Problem]:
    """The toy remembers no best value."""
    if case.state.best_score is None:
        yield Problem("the toy remembers no best value", where=case.where("best"))


TOY = Trainer(
    name="toy",
    run_of=lambda path: path.parent if path.name.startswith("snap-") else None,
    is_unit=lambda folder, names: folder.name.startswith("snap-") and {"opt.pt", "state.json"} <= set(names),
    reads_part=lambda name: name in PARTS,
    siblings=lambda run: [path for path, _ in snaps(run)],
    resume_target=lambda folder: folder if (folder / "state.json").is_file() else None,
    prunable=snaps,
    recognises=lambda _run, all_, _logs: {one.path for one in all_ if TOY.reads(one)},
    reads=lambda checkpoint: checkpoint.get("state.json", "done") is not None,
    member_of=member_of,
    judging=lambda: Judging(understand, case, rules=(no_top,)),
    fixes=lambda: (fix_epoch.FIX, sync_scheduler.FIX),
    facts=ToyFacts.table,
)
