"""A run of the Trainer as lines to draw: the saved command's schedule, the logged rates, the evaluations."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.trainers import drawing
from ckpt_doctor.trainers.hf_trainer.best import evaluations, history, replayed, step_of
from ckpt_doctor.trainers.hf_trainer.command import command_in
from ckpt_doctor.trainers.hf_trainer.known import follows_formula
from ckpt_doctor.trainers.hf_trainer.progress import total_steps
from ckpt_doctor.trainers.schedules import hf_lambda
from ckpt_doctor.types import Curve, Member, RunReport, real

LOSS = "eval_loss"


def curve(run: RunReport) -> Curve:
    """What there is to draw: `log_history` of the furthest checkpoint has what the whole run logged."""
    members = [file.member for file in run.files if file.plan is not None]
    if not members:
        return Curve(run.run.path)
    last = max(members, key=lambda member: member.state.global_step or 0)
    command, entries = command_in(last.checkpoint), history(last.checkpoint)
    total = total_steps(last.checkpoint)
    found = drawing.curve(run, total=total, factor=_factor(last, total) if follows_formula(run.run, last) else None)
    metric = command.metric or LOSS
    best = replayed(last)
    logged = ((step_of(entry), real(entry.get("learning_rate"))) for entry in entries)
    # a logged rate is the one that the step before it was made with
    rates = {float(step - 1): rate for step, rate in logged if rate is not None and step > 0}
    return replace(
        found,
        recorded=tuple(sorted({**rates, **dict(found.recorded)}.items())),
        losses=tuple(sorted((float(step), value) for step, value in evaluations(entries, metric))),
        losses_by="step",
        loss="validation loss" if metric == LOSS else metric,
        best=float(best.step) if best is not None and best.step is not None else None,
        batches_per_step=command.accumulation,
    )


def _factor(member: Member, total: int | None) -> drawing.Factor | None:
    command = command_in(member.checkpoint)
    warmup = command.warmup(total) if total is not None else None
    if total is None or warmup is None:
        return None
    name, rate, kwargs = command.text("lr_scheduler_type"), command.number("learning_rate"), command.kwargs
    return lambda step: hf_lambda(name, step=step, warmup=warmup, total=total, rate=rate, kwargs=kwargs)
