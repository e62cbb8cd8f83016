"""The resume point: the state that an uninterrupted run has when it begins the batch where the trainer will resume.

Everything that judges, repairs or prints asks `resume_point` and `plan`; nothing else knows where a resume must land.
Marks (A) to (E) are places in the trainer's loop: (A) step checkpoint, (B) TST's scheduler.step(), (C) EarlyStopping
and its best file, (D) COS's scheduler.step(), (E) adjust_learning_rate(epoch + 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from ckpt_doctor.trainers.time_llm import rates
from ckpt_doctor.trainers.time_llm.command import TimeLLMFacts, facts_of, real_steps
from ckpt_doctor.trainers.time_llm.evidence import disagreement, early_stopping_after, why_unknown
from ckpt_doctor.trainers.time_llm.facts import written_keys
from ckpt_doctor.trainers.time_llm.layout import uses_amp
from ckpt_doctor.trainers.time_llm.modes import IDLE, JUMPS, PER_EPOCH, PER_STEP
from ckpt_doctor.types import Evidence, LateRandomState, Member, Rates, ResumePlan, ResumePoint, Run, same_rate
from ckpt_doctor.types.record import record

NOT_READ = "the run's own trainer (first patch) does not read best_score, so resume with one that does"


@record(frozen=True)
class Position:
    """A place in training: so many epochs finished, so many batches of the next one done (None: unknown)."""

    finished_epochs: int
    batches: int | None


def true_step(member: Member, facts: TimeLLMFacts) -> Evidence[int] | None:
    """How many optimizer steps the weights have behind them; None where the file contradicts itself.

    `global_step` counts them, and so does Adam's `step` (trainer contract, fact 2), except under AMP, whose skipped
    steps Adam does not count. On several processes a repaired file carries a `global_step` shifted so that the skip
    count comes out right; Adam's step then is the true one.
    """
    step, adam = member.state.global_step, None if uses_amp(member) else member.state.optimizer_step
    if step is None or step < 0:  # absent, of a wrong type, or no count at all
        return None if adam is None else Evidence(adam, "Adam's step")
    if adam is None or adam == step:
        return Evidence(step, "global_step")
    if facts.processes > 1 and facts.steps_per_epoch is not None:
        steps = facts.steps_per_epoch.value
        length = real_steps(steps, facts.processes)
        if adam // length * steps + adam % length == step:
            return Evidence(adam, "Adam's step; global_step is shifted for the skip count")
    if adam == member.named_step:
        return Evidence(adam, "Adam's step and the folder's name")
    return None


def positions(member: Member, facts: TimeLLMFacts) -> tuple[Position, ...]:
    """Where training stands after this file's last step; several where the facts leave it open, none where unknown."""
    step = true_step(member, facts)
    if step is None:
        return ()
    if facts.real_steps is not None:
        return (Position(*divmod(step.value, facts.real_steps)),)
    epoch = member.state.epoch
    if epoch is None or epoch < 0:
        return ()
    total = member.state.total_steps

    def may_end(finished: int) -> bool:
        """Whether the file can stand exactly at the end of this many epochs."""
        if finished == 0 or step.value == 0 or step.value % finished:
            return False
        length = step.value // finished * facts.processes
        return length >= facts.least_steps and (not total or total % length == 0)

    if member.role == "best":
        ends = (epoch,) if facts.is_complete else (epoch, epoch + 1)
        return tuple(Position(end, 0) for end in ends if may_end(end))
    inside = (Position(epoch, None),)
    return (*inside, Position(epoch + 1, 0)) if may_end(epoch + 1) else inside


def resume_point(member: Member, run: Run) -> ResumePoint:
    """Where an uninterrupted run stands when it begins the batch at which this file must make the trainer resume.

    Where the facts leave several positions or modes, a field is set when all of them agree on it.
    """
    facts = facts_of(run)
    places = positions(member, facts)
    if member.checkpoint.layout != "training" or not places:
        return ResumePoint()
    if facts.world_size_open:
        return ResumePoint(unsettled=dict.fromkeys(("start_epoch", "epoch", "last_epoch", "lr"), "--world-size"))
    modes = facts.modes
    by_mode = [at(member, facts, places[0], mode) for mode in modes]
    by_place = [at(member, facts, place, mode) for place in places[1:] for mode in modes]
    by_world = [
        at(member, other, place, mode)
        for other in on_more_processes(facts)
        for place in positions(member, other)
        for mode in modes
    ]
    if len(modes) > 1 and set(modes) <= set(IDLE) and set(modes) & set(JUMPS):
        # The base that all but type2 need, which computes nothing from it
        by_mode, by_place, by_world = (
            [replace(p, flags=_flags(member, facts, p.finished_epochs or 0, JUMPS[0])) for p in points]
            for points in (by_mode, by_place, by_world)
        )
    merged = _merge({"--lradj": by_mode, "--steps-per-epoch": by_place, "--world-size": by_world})
    finished = merged.finished_epochs
    if finished is None:
        return merged
    step = true_step(member, facts) if facts.processes == 1 else None
    counted = step.value if step else None
    stopping = early_stopping_after(member, run, finished, counted)
    if stopping is not None:
        return replace(merged, early_stopping=stopping, disagreement=disagreement(member, run, finished, counted))
    if member.role == "step" and merged.skip_batches == 0 and finished > 0:
        # The validation of the epoch that the file ends is not known: what the run remembered before it still is.
        stopping = early_stopping_after(member, run, finished - 1, counted)
    return replace(
        merged,
        early_stopping=stopping,
        why_unknown=why_unknown(member, run, finished, counted),
        unsettled={**merged.unsettled, "early_stopping": "--log"},
    )


def on_more_processes(facts: TimeLLMFacts) -> list[TimeLLMFacts]:
    """The facts of the run with each number of processes above one that the evidence allows as well."""
    source = "the evidence allows it"
    return [
        replace(facts, steps_per_epoch=Evidence(length, source), world_size=Evidence(world, source), other_lengths=())
        for length, world in facts.other_lengths
    ]


def at(member: Member, facts: TimeLLMFacts, place: Position, mode: str | None) -> ResumePoint:
    """The resume point at one position in one mode (None: the mode is not known)."""
    step = true_step(member, facts)
    assert step is not None, "positions() found one"
    label = step.value if facts.processes == 1 else _label(member, facts, place, step.value)
    point = ResumePoint(
        start_epoch=place.finished_epochs,
        skip_batches=place.batches,
        global_step=label,
        finished_epochs=place.finished_epochs,
        epoch=place.finished_epochs,
    )
    if mode is None:
        return point
    last_epoch = rates.position(
        mode, global_step=step.value, finished_epochs=place.finished_epochs, world_size=facts.processes
    )
    point = replace(point, last_epoch=last_epoch, flags=_flags(member, facts, place.finished_epochs, mode))
    if mode in IDLE:
        point = replace(point, base_lr=_base_lr(member, facts))
    expected = rates.rates_at(member, mode, last_epoch, place.finished_epochs)
    if expected is None:
        return point
    return replace(point, lr=expected.lr, beta1=expected.beta1, last_lr=expected.last_lr)


def _label(member: Member, facts: TimeLLMFacts, place: Position, step: int) -> int | None:
    """The `global_step` with which the trainer skips the right batches on several processes.

    The true one where that does, else one that counts the finished epochs as the trainer does: unsharded.
    """
    if facts.steps_per_epoch is None or place.batches is None:
        return None
    steps, here = facts.steps_per_epoch.value, (place.finished_epochs, place.batches)
    shifted = place.finished_epochs * steps + place.batches
    own = facts.is_complete or step % steps == place.batches
    true_will_do = own and _complete_start(place.finished_epochs, step, steps) == here
    return step if true_will_do and member.state.global_step != shifted else shifted


def schedule_of(member: Member, run: Run, resume: ResumePoint) -> Rates | None:
    """What the file's own schedule calls for: OneCycleLR and CosineAnnealingLR at their `last_epoch`.

    An idle scheduler has no position; there the rate is the resume point's.
    """
    mode, last_epoch = facts_of(run).mode, member.state.last_epoch
    if last_epoch is None or last_epoch < 0:
        return None
    if mode in (PER_STEP, PER_EPOCH):
        return rates.rates_at(member, mode, last_epoch, 0)
    if resume.lr is None or resume.last_lr is None or resume.last_epoch is None:
        return None
    return Rates(resume.lr, resume.beta1, resume.last_lr)


def _flags(member: Member, facts: TimeLLMFacts, start_epoch: int, mode: str) -> tuple[str, ...]:
    """What the resume command must carry: in the idle modes, the base rate that only epoch 0 would have set.

    Nothing is needed inside epoch 0 (its end sets the base), nor in the last epoch (no rate is computed after it that
    a batch would use), nor with type2, whose table does not depend on the base.
    """
    base = _base_lr(member, facts)
    if mode not in JUMPS or start_epoch < 1 or base is None:
        return ()
    if facts.train_epochs is not None and start_epoch + 1 >= facts.train_epochs.value:
        return ()
    return ("--learning_rate", repr(base))


def _base_lr(member: Member, facts: TimeLLMFacts) -> float | None:
    """The initial rate: the file's own, else the log's."""
    initial = rates.initial_rates(member)
    return initial[0] if initial else facts.base_lr.value if facts.base_lr else None


def _merge(candidates: Mapping[str, Sequence[ResumePoint]]) -> ResumePoint:
    """The fields on which all points agree; the others are unsettled until the option is given that parts them."""
    first = merged = next(points[0] for points in candidates.values() if points)
    unsettled: dict[str, str] = {}
    for field in fields(ResumePoint):
        if field.name == "unsettled":
            continue
        values = {getattr(first, field.name)}
        for option, points in candidates.items():
            values |= {getattr(point, field.name) for point in points}
            if len(values) > 1:
                unsettled[field.name] = option
                nothing: Any = () if field.name == "flags" else None
                merged = replace(merged, **{field.name: nothing})
                break
        if values == {None} and field.name in ("last_epoch", "lr") and first.last_epoch is None:
            unsettled[field.name] = "--lradj"
        elif values == {None} and field.name == "skip_batches":
            unsettled[field.name] = "--steps-per-epoch"
    return replace(merged, unsettled=unsettled)


# --- what the trainer will do ----------------------------------------------------------------------------------------


def trainer_start(member: Member, facts: TimeLLMFacts) -> Position | None:
    """Where the trainer itself will start: its own formulas on the file's `epoch` and `global_step`.

    First patch: `start_epoch = epoch`, `skip = global_step % train_steps`. Complete trainer: the later of `epoch` and
    `global_step // train_steps`, and no skip where `epoch` is the later.
    """
    epoch, step = member.state.epoch, member.state.global_step
    if epoch is None or step is None:
        return None
    if facts.steps_per_epoch is None:
        # Inside the first epoch every length leaves as many batches to skip as there were steps.
        return Position(0, step) if epoch == 0 and positions(member, facts) == (Position(0, None),) else None
    steps = facts.steps_per_epoch.value
    if facts.is_complete:
        return Position(*_complete_start(epoch, step, steps))
    return Position(epoch, step % steps)


def _complete_start(epoch: int, step: int, steps: int) -> tuple[int, int]:
    expected = step // steps
    return max(epoch, expected), 0 if epoch > expected else step % steps


def _start_elsewhere(member: Member, facts: TimeLLMFacts, start: Position | None) -> tuple[int, int] | None:
    epoch, step = member.state.epoch, member.state.global_step
    if start is None or facts.steps_per_epoch is None or epoch is None or step is None:
        return None
    other = _complete_start(epoch, step, facts.steps_per_epoch.value)
    return other if other != (start.finished_epochs, start.batches) else None


def plan(
    member: Member, run: Run, resume: ResumePoint, random_state: LateRandomState | None = None
) -> ResumePlan | None:
    """What the trainer will do with this file; None for a file that it cannot resume from."""
    if member.checkpoint.layout != "training":
        return None
    facts, state = facts_of(run), member.state
    start = trainer_start(member, facts)
    length, left = facts.real_steps, None
    if start is not None and start.batches is not None and facts.train_epochs and length is not None:
        epochs_left = facts.train_epochs.value - start.finished_epochs
        left = max(0, epochs_left * length - min(start.batches, length))
    may_train_nothing = facts.processes > 1 and (start is None or length is None or (start.batches or 0) >= length)
    return ResumePlan(
        start_epoch=start.finished_epochs if start else _first_epoch(member, facts, resume),
        skip_batches=start.batches if start else None,
        global_step=state.global_step,
        # After an epoch of which every batch is skipped the first rate is the next epoch's.
        next_lr=state.lr if not may_train_nothing or facts.mode == PER_STEP else None,
        next_lr_uninterrupted=resume.lr[0] if resume.lr else None,
        best_score=state.best_score,
        counter=state.counter if "counter" in member.checkpoint.keys else 0,
        steps_left=left,
        flags=() if flag_is_given(facts, resume) else resume.flags,
        why_not_exact=tuple(_why_not_exact(member, facts, resume, random_state)),
        start_elsewhere=_start_elsewhere(member, facts, start),
    )


def _first_epoch(member: Member, facts: TimeLLMFacts, resume: ResumePoint) -> int | None:
    """Where the trainer starts while the steps per epoch are not known.

    At the file's `epoch`; only the complete trainer may go on from there, when the file stands at that epoch's end.
    """
    return None if facts.is_complete and resume.start_epoch is None else member.state.epoch


def flag_is_given(facts: TimeLLMFacts, resume: ResumePoint) -> bool:
    """Whether the given `--learning-rate` already is the one that `resume.flags` calls for."""
    given = facts.learning_rate
    return bool(given and given.given and resume.base_lr is not None and same_rate(given.value, resume.base_lr))


def _why_not_exact(
    member: Member, facts: TimeLLMFacts, resume: ResumePoint, late: LateRandomState | None
) -> Iterable[str]:
    if not isinstance(member.checkpoint.get("rng_state"), dict):
        if facts.shuffles and resume.finished_epochs != 0:  # in the first epoch the script's own seed deals the batches
            yield "the file has no rng_state, so a shuffling loader deals other batches"
    elif late is not None and facts.shuffles:
        cure = " (`migrate --sync-rng` sets it right)" if late.cure else ""
        yield f"rng_state was saved {late.why}, so a shuffling loader deals other batches{cure}"
    # An upgraded state_dict has its epoch from the upgrade: the first patch has not written it.
    if facts.is_first_patch and member.state.best_score is not None and "epoch" in written_keys(member.checkpoint):
        yield NOT_READ
