"""What is foreseen without reading anything again is what a dry run plans, and what a migration leaves."""

from __future__ import annotations

from pathlib import Path

from ckpt_doctor import audit, migrate, repair

EVERY = repair.every_repair(audit.Ask())


def test_the_plans_are_those_of_a_dry_run(run: Path) -> None:
    (judged,) = audit.scan(run).runs
    paths = {file.checkpoint.path for file in judged.files}
    foreseen = {plan.checkpoint.path: plan for plan in repair.foresee(judged, paths, EVERY)}
    planned = {result.path: result for result in migrate([run], dry_run=True)}
    assert paths == foreseen.keys() == planned.keys()
    for path, plan in foreseen.items():
        assert [(e.key, e.evidence) for e in planned[path].edits] == [(e.key, e.evidence) for e in plan.edits]
        assert repair.is_complete(plan) == (planned[path].complete and bool(planned[path].edits))


def test_the_repaired_file_is_judged_before_it_is_written(run: Path, step: Path) -> None:
    (judged,) = audit.scan(run).runs
    plan = repair.foresee_one(judged, step, EVERY)
    foreseen = repair.repaired(judged, plan, EVERY)
    assert foreseen is not None
    migrate([run])
    after = audit.check(step).files[0]
    assert after.plan is not None
    assert foreseen.plan is not None
    for name in ("start_epoch", "skip_batches", "next_lr", "best_score", "steps_left", "flags"):
        assert getattr(after.plan, name) == getattr(foreseen.plan, name), name
