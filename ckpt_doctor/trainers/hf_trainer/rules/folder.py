"""An output folder as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from ckpt_doctor.trainers.hf_trainer.lineages import mixed_in
from ckpt_doctor.types import Run
from ckpt_doctor.validators.rule import Problem, listing, rule


@rule("P407", "steps-out-of-order", "warning", "run")
def several_runs(run: Run) -> Iterator[Problem]:
    """Checkpoints of several runs lie in one output folder, because their histories differ.

    `resume_from_checkpoint=True` takes the highest number, whichever run it is of.

    Example: `checkpoint-2000` of last week's run beside the `checkpoint-500` of today's.

    Cure: move the other run's folders away.

    Source: transformers, `TrainerState.log_history`, `get_last_checkpoint`.
    """
    mixed = mixed_in(run)
    if mixed is None:
        return
    groups = "; ".join(listing(labels, 4) for labels in mixed.runs)
    one, other = ("nothing" if loss is None else f"{loss:.6g}" for loss in mixed.losses)
    yield Problem(
        f"the checkpoints are of {len(mixed.runs)} runs ({groups}): at step {mixed.step:,} one has logged "
        f"the loss {one} and another {other}. A resume takes the highest number; {mixed.last} was written last. Move "
        "the other run's away",
        where=mixed.last,
    )


RULES = (several_runs,)
