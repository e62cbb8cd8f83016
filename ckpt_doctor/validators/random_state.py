"""The random generators: whether the resumed run draws what the uninterrupted one would have drawn."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.types import Case
from ckpt_doctor.validators.rule import Problem, rule


@rule("L306", "no-rng-state", "info")
def no_rng_state(case: Case) -> Iterator[Problem]:
    """The random generators' states are not in the file.

    After the resume, shuffling and dropout draw other numbers than the uninterrupted run would have drawn: a sound
    continuation, but not bit for bit the same. In the first epoch the script's own seed deals the same batches again,
    and only dropout differs.

    Example: a checkpoint of model, optimizer, scheduler and counters alone.

    Cure: none in the file; save the generators' states with the next one.

    Source: trainer contract, section 9 (what no file edit cures).
    """
    if case.checkpoint.layout != "training" or "rng" not in case.member.places or case.at("rng") is not None:
        return
    if case.resume.finished_epochs == 0:
        yield Problem(
            f"no `{case.where('rng')}`: dropout, where the model has any, goes on with other random numbers", fix=""
        )
    else:
        yield Problem(
            f"no `{case.where('rng')}`: shuffling and dropout go on with other random numbers, so not bit for bit",
            fix="",
        )


@rule("R510", "late-rng-state", "warning", migration="sync-rng")
def late_rng_state(case: Case) -> Iterator[Problem]:
    """The random generators' states were saved too late for this epoch's order of the data.

    A shuffling loader draws the order when the epoch begins. A step file is saved after that: restored from it, the
    trainer draws another order, skips as many batches of that one, and so sees some data twice and some not at all in
    this epoch. At an epoch's last step it is the validation that has not drawn yet. For a loader that does not
    shuffle, which deals the same batches whatever the state, give `--no-shuffle`. A trainer that keeps
    the state of the epoch's beginning for its step files says so with `rng_state_at: "epoch-begin"`, and is right.

    Of Accelerate it is a folder `step_N`. On several processes its loader draws from a generator that no file holds,
    and begins with the order of epoch 0.

    Example: any file of a step in the middle of an epoch, from a trainer that saves the generators' present state.

    Cure: `ckpt-doctor migrate --sync-rng` puts in the state of the epoch's beginning: that of EarlyStopping's
    `checkpoint`, where it was saved right before this epoch; none in the first epoch, which the script's own seed
    deals again. Noise of dropout within the epoch comes back from neither.

    Source: trainer contract, section 9 (what a file edit cures) and facts 16 and 20;
    torch/utils/data/sampler.py, `RandomSampler.__iter__`.
    """
    late, shuffle = case.late_random_state, case.run.facts.shuffle
    if late is None or shuffle is None or not shuffle.value:
        return
    follows = "is shuffled otherwise" if case.resume.skip_batches == 0 else "sees some batches twice, others not at all"
    yield Problem(
        f"`{case.where('rng')}` was saved {late.why}: the resumed epoch {follows}",
        where=case.where("rng"),
        fix=None if late.cure else "",
    )


RULES = (no_rng_state, late_rng_state)
