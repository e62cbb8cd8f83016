"""A run of Lightning as lines to draw: its schedule, and the value by which ModelCheckpoint chooses."""

from __future__ import annotations

from dataclasses import replace

from ckpt_doctor.trainers import drawing
from ckpt_doctor.trainers.lightning.callbacks import Saver, savers
from ckpt_doctor.trainers.lightning.command import facts_of
from ckpt_doctor.types import Curve, RunReport, TensorRef, real


def curve(run: RunReport) -> Curve:
    """What there is to draw; each file has the score with which it was saved."""
    facts, scores = facts_of(run.run), {}
    total = facts.train_epochs.value * facts.steps if facts.train_epochs and facts.steps else None
    found = drawing.curve(run, total=total)
    saver: Saver | None = None
    for file in run.files:
        at = found.places.get(file.checkpoint.path)
        chosen = next((one for one in savers(file.checkpoint) if one.monitor), None)
        score = chosen.state.get("current_score") if chosen is not None else None
        value = real(score.value if isinstance(score, TensorRef) else score)
        if chosen is not None and at is not None and value is not None:
            scores[at], saver = value, chosen
    if saver is None:
        return replace(found, steps_per_epoch=facts.steps or found.steps_per_epoch)
    choose = max if saver.mode == "max" else min
    return replace(
        found,
        losses=tuple(sorted(scores.items())),
        losses_by=found.unit,
        loss=saver.monitor,
        best=choose(scores, key=lambda at: scores[at]) if saver.mode else None,
        steps_per_epoch=facts.steps or found.steps_per_epoch,
    )
