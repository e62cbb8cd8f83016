"""Loops, comparisons and rehearsals -> JSON. Fields are added, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckpt_doctor.rehearsal.divergence import Comparison
from ckpt_doctor.rehearsal.loop import Loop
from ckpt_doctor.rehearsal.rehearsing import Rehearsal, Resumed
from ckpt_doctor.rehearsal.traces import Trace
from ckpt_doctor.reports.json_v1 import HEAD, dumps


def loops_json(traces: Sequence[Trace], loops: Sequence[Loop]) -> str:
    """What each trace shows of its loop."""
    return dumps({**HEAD, "traces": [_trace(*pair) for pair in zip(traces, loops, strict=True)], "comparison": None})


def comparison_json(comparison: Comparison) -> str:
    """Where a resumed run leaves the uninterrupted one."""
    return dumps({**HEAD, "traces": [], "comparison": _comparison(comparison)})


def rehearsal_json(result: Rehearsal, *, strict: bool = False) -> str:
    """Prediction and outcome side by side."""
    return dumps(
        {
            **HEAD,
            "command": list(result.command),
            "checkpoint": result.checkpoint,
            "killed_after": result.killed_after,
            "steps": result.steps,
            "holds": result.holds(strict=strict),
            "predicted": {
                "resume": result.predicted.resume,
                "verdict": result.predicted.verdict,
                "findings": [finding.code for finding in result.predicted.serious],
            },
            "was_right": result.was_right,
            "as_saved": _resumed(result.as_saved),
            "repaired": None if result.repaired is None else _resumed(result.repaired),
            "options": list(result.loop.options),
        }
    )


def _trace(trace: Trace, loop: Loop) -> dict[str, Any]:
    return {
        "path": str(trace.path),
        "command": list(trace.command),
        "rank": trace.rank,
        "world_size": trace.world,
        "ended": trace.ended or "killed",
        "optimizers": [one.name for one in loop.optimizers],
        "steps": loop.steps,
        "skipped": loop.skipped,
        "epochs": loop.epochs,
        "steps_per_epoch": loop.steps_per_epoch,
        "schedules": [{"name": one.name, "every": one.every, "count": one.count} for one in loop.schedules],
        "saves": loop.saves,
        "save_moments": sorted(loop.save_moments),
        "save_order": sorted(loop.save_order),
        "loaded": list(loop.loaded),
        "restored": list(loop.restored),
        "own_order": loop.own_order,
        "options": list(loop.options),
        "open": list(loop.open),
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "checkpoint": comparison.checkpoint,
        "first_step": comparison.resumed_at.get(0, 0) + 1,
        "compared": comparison.compared,
        "identical": comparison.identical,
        "differences": [
            {"quantity": one.quantity, "optimizer": one.optimizer, "step": one.step, "says": one.says, "code": one.code}
            for one in comparison.differences
        ],
        "not_compared": sorted(comparison.unrepeated),
    }


def _resumed(resumed: Resumed) -> dict[str, Any]:
    return {"outcome": resumed.outcome, "flags": list(resumed.flags), **_comparison(resumed.comparison)}
