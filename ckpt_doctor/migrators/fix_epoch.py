"""`--fix-epoch`: `epoch` and `global_step` that make the trainer start where the run was."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.migrators.fix import Fix, Plan, refused
from ckpt_doctor.types import Case, Edit

NAME = "fix-epoch"


def _plan(case: Case) -> Plan:
    """Make `epoch` consistent with `global_step`, as integers.

    A file saved exactly at an epoch's end gets the next epoch's number, so that the first patch's trainer does not
    repeat one. `global_step` itself changes only where Adam's counter and the folder's name prove it wrong, or on
    several processes, where it is shifted so that the trainer's skip count is right."""
    checkpoint, resume, plan = case.checkpoint, case.resume, case.plan
    if checkpoint.layout != "training":
        return refused(NAME, "a bare state_dict has no epoch", "add --upgrade")
    if resume.epoch is None or resume.global_step is None:
        if counter := tuple(edit for edit in _edits(case) if edit.after is not None):
            return Plan(counter)
        slots = [slot for slot in ("epoch", "step") if slot in case.member.places]
        told = "epoch" not in slots or (plan is not None and plan.start_epoch is None)
        if told and not any(_typed_wrongly(case, slot) for slot in slots):
            return Plan()
        settle = resume.unsettled.get("epoch", "--steps-per-epoch")
        return refused(NAME, "the number of steps per epoch is not known", settle)
    return Plan(tuple(_edits(case)), notes=_notes(case))


def _edits(case: Case) -> Iterator[Edit]:
    resume, plan = case.resume, case.plan
    due = (resume.start_epoch, resume.skip_batches)
    moved = plan is None or (plan.start_epoch, plan.skip_batches) != due or plan.start_elsewhere not in (None, due)
    steps = case.run.facts.steps_per_epoch
    for slot, found, wanted, source in (
        (
            "epoch",
            case.state.epoch,
            resume.epoch,
            f"{steps.value:,} steps per epoch ({steps.source})" if steps else "epoch",
        ),
        ("step", case.state.global_step, resume.global_step, _source_of_step(case)),
    ):
        if slot not in case.member.places:
            continue
        absent = not case.has(slot)
        wrong = slot == "step" and wanted == case.state.optimizer_step  # even where the trainer starts rightly
        if absent or _typed_wrongly(case, slot) or ((moved or wrong) and found != wanted):
            evidence = source if found != wanted else "the same number as an integer"
            yield case.edit(slot, after=wanted, evidence=evidence, before="absent" if absent else case.at(slot))


def _source_of_step(case: Case) -> str:
    world, batches = case.run.facts.processes, case.resume.skip_batches
    if world == 1:
        return "Adam's step counter"
    epochs = f"{case.resume.finished_epochs} epochs of {world} processes"
    return f"{epochs}, as the trainer counts them, and {batches} batches"


def _typed_wrongly(case: Case, slot: str) -> bool:
    """Whether the value is not a count."""
    value = case.at(slot)
    return isinstance(value, bool) or not isinstance(value, int) or value < 0


def _notes(case: Case) -> tuple[str, ...]:
    world = case.run.facts.processes
    if world == 1 or case.resume.global_step == case.state.global_step:
        return ()
    return (
        f"on {world} processes the trainer counts an epoch's steps before they are dealt out: global_step is "
        "shifted so that the right batches are skipped, and the names of later step folders are shifted with it",
    )


FIX = Fix(NAME, _plan, cures=("P402", "P403", "L302", "L303", "O707"), reveals=("P404", "P405"))
