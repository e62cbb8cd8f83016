"""What this trainer expects of a file in the place of its own: the keys that it reads, the schedule that it builds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts, facts_of
from ckpt_doctor.trainers.time_llm.layout import REQUIRED
from ckpt_doctor.trainers.time_llm.modes import PER_EPOCH, PER_STEP
from ckpt_doctor.trainers.trainer import Expectation
from ckpt_doctor.types import KeyPath, Member, ResumePoint, Run, Schedule
from ckpt_doctor.validators.contents import read_by_torch

_SCALER_KEYS = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
"""torch/amp/grad_scaler.py, `load_state_dict`."""


def expectation(member: Member, run: Run) -> Expectation:
    """What the trainer reads of a file without a default, and the schedule of the run's mode."""
    schedule = _schedule(facts_of(run))
    return Expectation(tuple(_reads(member, run, schedule.moves)), schedule)


def _reads(member: Member, run: Run, moves: bool | None) -> Iterator[KeyPath]:
    yield from ((key,) for key in REQUIRED)
    yield from read_by_torch(member, moves)
    if run.owns(member.checkpoint.path):
        yield from (member.path("rng", key) for key in ("python", "numpy", "torch"))
        if member.at("scaler", "growth_factor") is not None:  # one that is enabled, in torch's own form
            yield from (member.path("scaler", key) for key in _SCALER_KEYS)


def _schedule(facts: TimeLLMFacts) -> Schedule:
    modes = [mode for mode in facts.modes if mode is not None]
    moving = [mode in (PER_STEP, PER_EPOCH) for mode in modes]
    mode = facts.mode
    one, other = "OneCycleLR", "CosineAnnealingLR"
    return Schedule(
        builds=(one, other) if mode is None else (other,) if mode == PER_EPOCH else (one,),
        moves=True if mode is not None and all(moving) else None if any(moving) or not moving else False,
        unit="epoch" if mode == PER_EPOCH else "step",
        anew="in TST and COS the rate starts at its beginning again",
    )


def with_evidence(schedule: Schedule, facts: TimeLLMFacts, resume: ResumePoint) -> Schedule:
    """The schedule with the origin of the position and the rates at a resume point."""
    mode, modes = facts.mode, " or ".join(mode for mode in facts.modes if mode)
    if mode == PER_STEP:
        world = facts.processes
        times = f" x {world} processes" if world > 1 else ""
        told = f"TST: OneCycleLR at global_step {(resume.last_epoch or 0) // world:,}{times}"
    elif mode == PER_EPOCH:
        told = f"COS: CosineAnnealingLR after {resume.finished_epochs} finished epochs"
    else:
        told = f"{modes}: rate after {resume.finished_epochs} finished epochs"
    return replace(schedule, evidence=told)


def why_open(facts: TimeLLMFacts) -> Mapping[str, str]:
    """Option -> why what it settles is not known."""
    modes = facts.candidates.get("lradj")
    return {"--lradj": f"lradj may be {' or '.join(modes)}"} if modes else {}
